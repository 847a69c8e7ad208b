"""Minimal filtering gives the direct convolution, where it may be used and only there."""

import copy
import math
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from interpreter import run_alone

from flowgru.layers import Conv2d
from flowgru.layers import convolution as layer
from flowgru.layers import winograd as filtering
from flowgru.layers import winograd_matrices as filters
from flowgru.layers.convolution import KERNELS, pays
from flowgru.layers.winograd import filtered
from flowgru.layers.winograd_matrices import minimal_filter, transformed

EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS)
WIDTH = 96


def convolution(kernel: tuple[int, int] = (3, 3), inputs: int = WIDTH, outputs: int = WIDTH) -> Conv2d:
    """One that keeps the extent, laid out for inference."""
    made: Any = Conv2d(inputs, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    return made.to(memory_format=torch.channels_last)


def parameters(conv: Conv2d) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in conv.parameters()]


def picture(channels: int = WIDTH, height: int = 40, width: int = 60, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, height, width).contiguous(memory_format=torch.channels_last)


def direct(conv: Conv2d, input: torch.Tensor) -> torch.Tensor:
    """The convolution in float64."""
    bias = None if conv.bias is None else conv.bias.double()
    return F.conv2d(input.double(), conv.weight.double(), bias, padding=conv.padding).detach()


@pytest.fixture
def filterings(monkeypatch):
    """How often minimal filtering was used so far, as a list's length."""
    calls: list[None] = []

    def counted(*given):
        calls.append(None)
        return filtered(*given)

    monkeypatch.setattr(layer, "filtered", counted)
    return calls


@pytest.mark.parametrize("taps", filters.POINTS)
def test_a_minimal_filter_is_the_filter(taps):
    to_outputs, to_kernel, to_tile = (each.double() for each in minimal_filter(taps))
    outputs, size = to_outputs.shape
    assert size == outputs + taps - 1
    inputs, kernel = torch.randn(size, dtype=torch.float64), torch.randn(taps, dtype=torch.float64)
    expected = F.conv1d(inputs[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(to_outputs @ ((to_kernel @ kernel) * (to_tile @ inputs)), expected, rtol=0, atol=1e-6)


@EVERY_KERNEL
@pytest.mark.parametrize("height, width", [(55, 128), (40, 60), (12, 6), (7, 9), (5, 1), (1, 5), (1, 1)])
def test_every_extent_is_convolved_up_to_its_borders(kernel, height, width):
    conv, input = convolution(kernel, 6, 10), picture(6, height, width, batch=2)
    filtered(input, *parameters(conv))
    for left_over in vars(filtering.strip_buffers).values():
        left_over.fill(math.nan)
    found = filtered(input, *parameters(conv))
    assert found.shape == (2, 10, height, width) and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), direct(conv, input), rtol=0, atol=2e-5)


@EVERY_KERNEL
@pytest.mark.parametrize("strip_bytes", [1, 20_000, 60_000])
def test_strips_meet_without_a_seam(kernel, strip_bytes, monkeypatch):
    conv, input = convolution(kernel, 8, 5), picture(8, 37, 23)
    whole = filtered(input, conv.weight.detach(), None)
    monkeypatch.setattr(filtering, "STRIP_BYTES", strip_bytes)
    found = filtered(input, conv.weight.detach(), None)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    expected = F.conv2d(input.double(), conv.weight.double(), padding=conv.padding).detach()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kernel, times", [((3, 3), 2.5), ((1, 5), 6), ((5, 1), 6)])
def test_it_rounds_little_more_than_a_direct_convolution(kernel, times):
    conv, input = convolution(kernel, 128, 128), picture(128)
    exact = direct(conv, input)
    found, plain = (
        (values.double() - exact).std().item()
        for values in (
            filtered(input, *parameters(conv)),
            F.conv2d(input, *parameters(conv), padding=conv.padding),  # pyright: ignore
        )
    )
    assert found < times * plain


@EVERY_KERNEL
def test_the_layer_filters_without_a_gradient_and_convolves_with_one(kernel, filterings):
    conv, input = convolution(kernel, WIDTH, 104), picture()
    with torch.no_grad():
        found = conv(input)
    assert len(filterings) == 1
    torch.testing.assert_close(found.double(), direct(conv, input), rtol=0, atol=2e-5)
    assert conv(input.requires_grad_()).requires_grad and len(filterings) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"groups": 2},
        {"dilation": 2},
        {"padding": 2, "dilation": 2},
        {"padding": 0},
        {"padding_mode": "reflect"},
        {"kernel_size": 1, "padding": 0},
        {"kernel_size": 5, "padding": 2},
        {"out_channels": 16},
        {"in_channels": 16},
        {"lies": torch.contiguous_format},  # as it does for training
    ],
)
@torch.no_grad()
def test_what_it_is_not_for_is_convolved_as_ever(options, filterings):
    options = {"in_channels": 2 * WIDTH, "out_channels": WIDTH, "kernel_size": 3, "padding": 1} | options
    layout = options.pop("lies", torch.channels_last)
    conv: Any = Conv2d(**options)
    conv, input = conv.to(memory_format=layout), picture(options["in_channels"])
    torch.testing.assert_close(conv(input), torch.nn.Conv2d.forward(conv, input))
    assert not filterings


@torch.no_grad()
def test_inputs_that_it_is_not_for_are_convolved_as_ever(filterings):
    conv, input = convolution(), picture()
    assert pays(input, conv.weight)
    assert conv(picture(height=8, width=8)).shape == (1, WIDTH, 8, 8)
    assert copy.deepcopy(conv).double()(input.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(input).dtype == torch.bfloat16
    assert conv.to("meta")(input.to("meta")).shape == input.shape
    assert not filterings


@torch.no_grad()
def test_an_exported_graph_keeps_the_convolution():
    exported = torch.export.export(torch.nn.Sequential(convolution()), (picture(),))
    assert [node.target for node in exported.graph.nodes if node.op == "call_function"] == [
        torch.ops.aten.conv2d.default
    ]


@torch.no_grad()
def test_transformed_kernels_are_kept_until_the_weight_changes():
    conv, input = convolution(), picture()
    assert transformed(conv.weight) is transformed(conv.weight)
    assert transformed(conv.weight.clone()) is not transformed(conv.weight.clone())
    for change in (
        lambda: conv.weight.mul_(2),
        lambda: conv.load_state_dict({"weight": torch.randn_like(conv.weight) / 20, "bias": torch.zeros(WIDTH)}),
        lambda: torch.nn.init.normal_(conv.weight, std=0.05),
        lambda: conv.weight.data.mul_(3),  # of which PyTorch does not tell
        lambda: setattr(
            conv.weight, "data", torch.randn(WIDTH, WIDTH, 3, 3).contiguous(memory_format=torch.channels_last)
        ),
    ):
        before = conv(input)
        change()
        found = conv(input)
        assert (found - before).abs().max() > 0.1
        torch.testing.assert_close(found.double(), direct(conv, input), rtol=0, atol=1e-3)
    number = len(filters.kept_kernels)
    del conv
    assert len(filters.kept_kernels) == number - 1


def test_an_optimizers_step_is_seen():
    conv, input = convolution(), picture()
    optimizer = torch.optim.AdamW(conv.parameters(), lr=0.1)
    with torch.no_grad():
        conv(input)
    conv(input).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        torch.testing.assert_close(conv(input).double(), direct(conv, input), rtol=0, atol=1e-4)


def test_it_works_in_and_out_of_an_inference_mode():
    conv, input = convolution(), picture()
    expected = direct(conv, input)
    vars(filtering.strip_buffers).clear()
    minimal_filter.cache_clear()
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(conv(input).double(), expected, rtol=0, atol=2e-5)
    with torch.inference_mode():
        born_there, other = convolution(), picture()
        torch.testing.assert_close(born_there(other).double(), direct(born_there, other), rtol=0, atol=2e-5)


def test_threads_do_not_share_memory():
    convs = [convolution(kernel) for kernel in KERNELS]
    inputs = [picture() for _ in convs]
    expected = [direct(*pair) for pair in zip(convs, inputs, strict=True)]
    furthest = []

    def work(conv, input, wanted):
        with torch.no_grad():
            furthest.append(max((conv(input).double() - wanted).abs().max().item() for _ in range(20)))

    threads = [threading.Thread(target=work, args=args) for args in zip(convs, inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(furthest) == len(convs) and max(furthest) < 2e-5


IN_A_GRAPH = """
import sys, torch
from torch.library import opcheck
from flowgru.layers import Conv2d
from flowgru.layers import convolution as layer

calls = []
filtered = layer.filtered
layer.filtered = lambda *given: calls.append(1) or filtered(*given)
for kernel in layer.KERNELS:
    conv = Conv2d(96, 104, kernel, padding=(kernel[0] // 2, kernel[1] // 2)).to(memory_format=torch.channels_last)
    input = torch.randn(2, 96, 40, 60).contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(conv, backend="aot_eager", fullgraph=True)
    calls.clear()
    for _ in range(2):
        expected = torch.nn.Conv2d.forward(conv, input).detach()
        with torch.inference_mode():
            torch.testing.assert_close(compiled(input), expected, rtol=0, atol=3e-5)
        with torch.no_grad():
            conv.weight.mul_(1.5)
    assert len(calls) == 2, calls
    opcheck(layer.minimal_filtering, (input, conv.weight.detach(), None))
"""


@pytest.mark.slow
def test_a_compiled_graph_has_it_as_one_operation():
    # In a process of its own: PyTorch's compiler cannot trace the tests' type checks.
    done = run_alone(IN_A_GRAPH)
    assert done.returncode == 0, done.stderr

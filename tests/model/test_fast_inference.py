"""What is computed another way where no gradient is recorded gives what is computed with one."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flowgru.config import PRESETS, NetworkConfig
from flowgru.grid import sample, sample_windows, window_offsets
from flowgru.model import memory
from flowgru.model.buffers import idle_bytes, release
from flowgru.model.correlation.all_pairs import AllPairsCorrelation
from flowgru.model.correlation.choice import correlate
from flowgru.model.encoders import ConvNorm, InstanceNorm
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.heads import FlowHead
from flowgru.model.memory import free_memory, used_memory
from flowgru.operators import make_operator, operator_variants
from flowgru.operators.base import tanh

CPU = torch.device("cpu")
LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def move_statistics(network: nn.Module) -> None:
    """Takes the network's batch norms far from what they start as."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.3, 3.0)
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_network_made_for_inference_gives_the_flow_of_the_plain_one(preset):
    plain = FlowNetwork(NetworkConfig(preset, "seq_conv_gru", confidence=True)).eval()
    move_statistics(plain)
    fast = copy.deepcopy(plain).for_inference()
    first, second = torch.rand(2, 2, 3, 72, 88)
    expected = plain(first, second, iterations=4)
    assert expected.coarse.requires_grad and expected.flows[-1].abs().max() > 0.1
    with torch.no_grad():
        found = fast(first, second, iterations=4)
    for ours, theirs in zip(found.flows, expected.flows, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-4)
    assert found.confidence is not None and expected.confidence is not None
    torch.testing.assert_close(found.confidence, expected.confidence.detach(), rtol=1e-4, atol=1e-4)


@LAYOUTS
@pytest.mark.parametrize("variant", operator_variants())
def test_every_operator_steps_alike_and_leaves_its_inputs_alone(variant, layout):
    name, options = operator_variants()[variant]
    operator = make_operator(name, 24, 12, 8, **options).eval()
    fast: Any = copy.deepcopy(operator)
    fast.to(memory_format=layout)
    hidden, context, motion = (torch.randn(2, size, 9, 13).contiguous(memory_format=layout) for size in (24, 8, 12))
    kept = [values.clone() for values in (hidden, context, motion)]
    state = operator.begin(hidden, context)
    with torch.no_grad():
        fast_state = fast.begin(hidden, context)
    for _ in range(3):
        expected, state = operator.step(motion, state)
        with torch.no_grad():
            before = [values.clone() for values in leaves(fast_state)]
            found, after = fast.step(motion, fast_state)
            assert all(torch.equal(*pair) for pair in zip(leaves(fast_state), before, strict=True))
            fast_state = after
        torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=2e-6)
    assert all(torch.equal(*pair) for pair in zip((hidden, context, motion), kept, strict=True))


def leaves(state: object) -> list[torch.Tensor]:
    """All tensors of an operator's state."""
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in leaves(part)]  # pyright: ignore


@LAYOUTS
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_the_instance_norm_is_torchs(layout, mean):
    values = (torch.randn(2, 5, 37, 23) * torch.rand(5, 1, 1) + mean).contiguous(memory_format=layout)
    expected = F.instance_norm(values.double())
    torch.testing.assert_close(InstanceNorm()(values.requires_grad_()).double(), expected, rtol=0, atol=2e-4)
    with torch.no_grad():
        torch.testing.assert_close(InstanceNorm()(values.clone()).double(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("relu", [True, False])
def test_a_batch_norm_that_does_not_learn_is_part_of_the_convolution(relu):
    layer = ConvNorm(4, 6, 3, "batch", stride=2, relu=relu).eval()
    move_statistics(layer)
    values = torch.randn(2, 4, 9, 11, requires_grad=True)
    found, expected = layer(values), nn.Sequential.forward(layer, values)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    wanted = torch.randn_like(expected)
    leaves_of = [values, *layer.parameters()]
    for ours, theirs in zip(*(torch.autograd.grad(each, leaves_of, wanted) for each in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    layer.train()(values)
    assert layer[1].num_batches_tracked == 1


@LAYOUTS
def test_the_flow_heads_nine_taps_are_its_convolution(layout):
    head: Any = FlowHead(16, 24)
    head.to(memory_format=layout)
    nn.init.normal_(head[1].bias)
    hidden = torch.randn(2, 16, 7, 10).contiguous(memory_format=layout)
    expected = head(hidden)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), expected.detach(), rtol=1e-5, atol=1e-6)


def test_tanh_is_tanh_and_overwrites_only_without_a_gradient():
    values = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e30, 0.0, 1e30, float("nan")])])
    with torch.no_grad():
        torch.testing.assert_close(tanh(values.clone()), torch.tanh(values), rtol=0, atol=2e-7, equal_nan=True)
        torch.testing.assert_close(tanh(values.bfloat16()), torch.tanh(values.bfloat16()), equal_nan=True)
    kept = values.clone()
    torch.testing.assert_close(tanh(values), torch.tanh(kept), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("height, width", [(5, 7), (1, 7), (1, 1)])
def test_windows_are_samples_around_their_centres(height, width):
    values, centres, offsets = (
        torch.randn(6, 2, height, width),
        4 * torch.randn(6, 2),
        window_offsets(2, like=torch.ones(1)),
    )
    expected = sample(values, centres[:, None, None] + offsets)
    torch.testing.assert_close(sample_windows(values, centres, offsets), expected, rtol=1e-4, atol=1e-5)


def test_the_volume_is_the_same_with_and_without_a_gradient():
    features, centres = torch.randn(2, 2, 8, 13, 17), 10 * torch.rand(2, 2, 13, 17)
    expected = correlate(*features.requires_grad_(), levels=3, radius=2, method="all_pairs").lookup(centres)
    with torch.no_grad():
        found = correlate(*features, levels=3, radius=2, method="all_pairs").lookup(centres)
    assert expected.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_pyramid_takes_over_the_memory_of_the_last_one_unless_that_is_in_use():
    features, centres = torch.randn(4, 1, 8, 13, 17), 10 * torch.rand(1, 2, 13, 17)
    release()

    def pyramid(first: int, second: int) -> AllPairsCorrelation:
        return AllPairsCorrelation(features[first], features[second], 3, 2)

    old = pyramid(0, 1)
    expected, volumes = old.lookup(centres), old.pyramid
    assert idle_bytes() == 0
    del old  # but not its volumes
    assert not {volume.data_ptr() for volume in volumes} & {volume.data_ptr() for volume in pyramid(2, 3).pyramid}
    there, size = [volume.data_ptr() for volume in volumes], sum(4 * volume.numel() for volume in volumes)
    for volume in volumes:
        volume.fill_(math.nan)
    del volumes, volume
    assert idle_bytes() == size
    again = pyramid(0, 1)
    assert [volume.data_ptr() for volume in again.pyramid] == there and torch.equal(again.lookup(centres), expected)
    del again
    parts = features[0, ..., :9], features[1, ..., :9]
    smaller = AllPairsCorrelation(*parts, 3, 2)
    assert [volume.shape[2:] for volume in smaller.pyramid] == [(13, 9), (6, 4), (3, 2)] and idle_bytes() == 0
    on_demand = correlate(*parts, levels=3, radius=2, method="on_demand").lookup(centres[..., :9])
    torch.testing.assert_close(smaller.lookup(centres[..., :9]), on_demand, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pyramids_of_the_whole_and_of_half_the_size_take_turns_in_the_same_memory():
    whole, half, tiny = (torch.randn(2, 1, 8, *size) for size in ((24, 32), (12, 16), (6, 8)))
    release()
    places = []
    for features in (whole, half, whole, half):
        pyramid = AllPairsCorrelation(features[0], features[1], 2, 2)
        expected = torch.einsum("bchw,bcij->bhwij", features[0], features[1]) / 8**0.5
        torch.testing.assert_close(pyramid.pyramid[0].reshape(expected.shape), expected)
        places.append([volume.data_ptr() for volume in pyramid.pyramid])
        del pyramid
    assert places == 4 * places[:1] and idle_bytes() > 4 * (24 * 32) ** 2
    AllPairsCorrelation(tiny[0], tiny[1], 2, 2)
    assert idle_bytes() < 4 * (12 * 16) ** 2


@torch.no_grad()
def test_what_is_kept_counts_as_free_and_goes_where_it_is_not_needed(monkeypatch):
    monkeypatch.setattr(memory, "_left_of_groups", lambda: iter([2**20]))  # other processes take of the machine's
    features = torch.randn(2, 1, 8, 60, 80)
    release()
    pyramid = AllPairsCorrelation(features[0], features[1], 1, 2)
    used, free = used_memory(CPU), free_memory(CPU)
    del pyramid
    assert idle_bytes() == 4 * 4800**2
    assert used - used_memory(CPU) > 3 * 4800**2 and free_memory(CPU) - free == 4 * 4800**2
    correlate(features[0], features[1], levels=1, radius=2, method="on_demand")
    assert idle_bytes() == 0

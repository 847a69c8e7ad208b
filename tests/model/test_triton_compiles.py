"""Every Triton kernel compiles for an H100 (sm_90) as it is launched, and each launch is made on its tensors' device.

No GPU is needed: Triton gets a driver that only says what is to be compiled for. What the kernels compute is shown by
test_scan_triton.py, test_correlation_triton.py and test_channel_norm.py.
"""

from collections import defaultdict
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")

from flowgru.kernels import probe  # noqa: E402
from flowgru.layers import triton_norm  # noqa: E402
from flowgru.model.correlation import triton as correlation_triton  # noqa: E402
from flowgru.model.correlation import triton_all_pairs  # noqa: E402
from flowgru.scan import triton_kernels  # noqa: E402
from flowgru.scan.analytic import AnalyticScan  # noqa: E402

SHARED_MEMORY = 227 * 1024
"""Bytes that a program may have on an H100."""

KERNELS = [
    probe._add_one,
    triton_kernels.scan_kernel,
    triton_kernels.gradient_kernel,
    correlation_triton.match_kernel,
    correlation_triton.match_backward_kernel,
    triton_all_pairs.lookup_kernel,
    triton_all_pairs.lookup_backward_kernel,
    triton_norm.norm_kernel,
    triton_norm.norm_backward_kernel,
]


@pytest.fixture
def compiled(monkeypatch, tmp_path) -> list[Any]:
    """Instead of running, a launch compiles its kernel and puts it here."""
    if triton_kernels.INTERPRETED:
        pytest.skip("TRITON_INTERPRET is set, so nothing is compiled")
    found, devices_of = [], []
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    driver = SimpleNamespace(
        get_current_target=lambda: target,
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
        get_active_torch_device=lambda: torch.device("cuda", 0),
    )
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    for kernel in KERNELS:
        monkeypatch.setattr(kernel, "device_caches", defaultdict(kernel.create_binder))

    @contextmanager
    def device_of(tensor):
        devices_of.append(tensor)
        yield
        devices_of.pop()

    run = triton.JITFunction.run

    def compile_only(self, *arguments, grid, warmup, **options):
        (tensor,) = devices_of
        assert tensor is arguments[0] and options["enable_fp_fusion"]
        found.append(run(self, *arguments, grid=grid, warmup=True, **options))

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(triton.JITFunction, "run", compile_only)
    return found


def check(compiled: list[Any], names: list[str]) -> None:
    assert [kernel.metadata.name for kernel in compiled] == names
    for kernel in compiled:
        assert kernel.asm["cubin"] and kernel.metadata.target.arch == 90
        assert kernel.metadata.shared <= SHARED_MEMORY


def test_the_kernel_by_which_triton_is_tried_compiles(compiled):
    with pytest.raises(RuntimeError, match="wrong result"):  # for nothing was run
        probe.run_probe(torch.device("cpu"))
    check(compiled, ["_add_one"])


FOUR_WAYS = ((3, False, "triton"), (3, True, "triton"), (2, False, "triton"), (2, True, "triton"))


@pytest.mark.parametrize(
    "shape, dtype, layout, ways",
    [
        ((8, 80, 32, 40), torch.bfloat16, torch.channels_last, FOUR_WAYS),
        ((1, 128, 55, 128), torch.float32, torch.contiguous_format, FOUR_WAYS),
        ((2, 8, 9, 16), torch.float16, torch.channels_last, FOUR_WAYS[::2]),
        ((1, 4, 1, 5), torch.float64, torch.contiguous_format, FOUR_WAYS),
        ((512, 1024), torch.float32, torch.contiguous_format, ((1, False, "triton"),)),
    ],
)
def test_the_scan_and_its_gradient_compile(compiled, shape, dtype, layout, ways):
    decay, update = (torch.rand(shape).to(dtype).contiguous(memory_format=layout).requires_grad_() for _ in range(2))
    AnalyticScan.apply(decay, update, ways).sum().backward()  # the incoming gradient is one number, expanded
    check(compiled, ["scan_kernel", "gradient_kernel"])


@pytest.mark.parametrize(
    "batch, channels, height, width, levels, radius",
    [(1, 256, 55, 128, 4, 4), (2, 128, 32, 40, 4, 3), (1, 5, 1, 3, 1, 1)],
)
def test_the_look_up_on_demand_and_its_gradient_compile(compiled, batch, channels, height, width, levels, radius):
    first, second = torch.rand(2, batch, channels, height, width).requires_grad_()
    correlation = correlation_triton.TritonCorrelation(first, second, levels, radius)
    correlation.lookup(torch.zeros(batch, 2, height, width)).sum().backward()
    check(compiled, ["match_kernel", "lookup_kernel", "lookup_backward_kernel", "match_backward_kernel"])
    added = [line for line in compiled[3].asm["ptx"].splitlines() if "atom.global" in line or "red.global" in line]
    assert added and all(".relaxed." in line for line in added), added[:2]


@pytest.mark.parametrize("channels", [24, 80, 96])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [False, True])
def test_the_channel_norm_and_its_gradient_compile(compiled, channels, dtype, relu):
    maps = torch.rand(2, channels, 16, 20).to(dtype).requires_grad_()
    weight, bias = torch.rand(2, channels).requires_grad_()
    triton_norm.FusedChannelNorm.apply(maps, weight, bias, relu).float().sum().backward()
    check(compiled, ["norm_kernel", "norm_backward_kernel"])


@pytest.mark.parametrize("levels, radius", [(4, 4), (4, 3), (1, 1)])
@pytest.mark.parametrize("by_centres", [False, True])
def test_the_look_up_of_all_levels_and_its_gradient_compile(compiled, levels, radius, by_centres):
    first, second = torch.rand(2, 2, 16, 16, 20).requires_grad_()
    centres = torch.zeros(2, 2, 16, 20, requires_grad=by_centres)
    triton_all_pairs.TritonAllPairsCorrelation(first, second, levels, radius).lookup(centres).sum().backward()
    check(compiled, ["lookup_kernel", "lookup_backward_kernel"])
    assert not any("atom.global" in kernel.asm["ptx"] for kernel in compiled)

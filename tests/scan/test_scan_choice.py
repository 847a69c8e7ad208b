"""Which backend computes a scan where none is named, and what a scan refuses."""

import os

import pytest
import torch

import flowgru.scan as scan_module
from flowgru.operators.spatial_scan import DOWN, LEFT, RIGHT, UP
from flowgru.scan import linear_scan, preferred_backend, scan_directions

FOUR_WAYS = (RIGHT, LEFT, DOWN, UP)


def test_what_does_not_fit_is_refused():
    a = torch.rand(2, 3)
    with pytest.raises(ValueError, match="must have one shape"):
        linear_scan(a, torch.rand(2, 4))
    with pytest.raises(ValueError, match="shape of one slice"):
        linear_scan(a, a, torch.rand(3))
    with pytest.raises(ValueError, match="at least one step"):
        linear_scan(a[:, :0], a[:, :0])
    with pytest.raises(ValueError, match="unknown scan backend 'fast'"):
        linear_scan(a, a, backend="fast")
    maps = torch.rand(1, 6, 4, 4)
    with pytest.raises(ValueError, match="multiple of the 4 directions"):
        scan_directions(maps, maps, FOUR_WAYS)
    with pytest.raises(ValueError, match="multiple of the 0 directions"):
        scan_directions(maps, maps, ())
    with pytest.raises(ValueError, match="along axis 1: choose 2"):
        scan_directions(maps, maps, ((1, False), (2, False)))
    with pytest.raises(ValueError, match="must have one shape"):
        scan_directions(maps[..., 1:], maps, ((2, False),))


def test_a_backend_that_cannot_run_says_why_and_only_auto_falls_back(monkeypatch):
    a = torch.rand(2, 3)
    monkeypatch.setattr(scan_module, "associative_scan", None)
    with pytest.raises(ValueError, match=r"'associative_scan' cannot run: torch .* does not have it"):
        linear_scan(a, a, backend="associative_scan")
    if os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(ValueError, match=r"'triton' cannot run: (triton is not installed|the tensors are on cpu)"):
            linear_scan(a, a, backend="triton")
    monkeypatch.setattr(scan_module, "gpu_kernels", lambda: None)
    with pytest.raises(ValueError, match="'triton' cannot run: triton is not installed"):
        linear_scan(a, a, backend="triton")
    assert preferred_backend("auto", a) == "blelloch"


def test_auto_takes_triton_on_a_cuda_device_only_where_it_imports(monkeypatch):
    with torch._subclasses.FakeTensorMode():
        on_gpu = torch.empty(4, 128, 64, 64, device="cuda")
    monkeypatch.setattr(scan_module, "gpu_kernels", lambda: scan_module)  # anything but None: it is not run
    monkeypatch.setattr(scan_module, "why_not_triton", lambda device: None)
    assert preferred_backend("auto", on_gpu, 2) == preferred_backend("auto", on_gpu, 3) == "triton"
    monkeypatch.setattr(scan_module, "gpu_kernels", lambda: None)
    assert preferred_backend("auto", on_gpu, 2) == "blelloch"


def test_auto_loops_on_a_cpu_where_slices_are_long_and_neighbours_in_memory():
    maps = torch.rand(1, 64, 40, 48)
    assert preferred_backend("auto", maps, 2) == "in_place"
    assert preferred_backend("auto", maps, 3) == "blelloch"
    assert preferred_backend("auto", maps.to(memory_format=torch.channels_last), 3) == "in_place"
    assert preferred_backend("auto", torch.rand(4096, 8), 0) == "blelloch"
    weight, leaves = torch.randn(2, 128, 40, 48), [torch.rand(2, 128, 40, 48, requires_grad=True) for _ in range(2)]
    mixed = scan_directions(leaves[0], leaves[1], FOUR_WAYS)
    expected = scan_directions(leaves[0], leaves[1], FOUR_WAYS, backend="sequential")
    torch.testing.assert_close(mixed, expected)
    grads = [torch.autograd.grad(states, leaves, weight) for states in (mixed, expected)]
    torch.testing.assert_close(grads[0], grads[1])

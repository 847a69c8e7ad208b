"""The Triton look-ups are the look-up in the volume of all pairs, in values and gradients."""

import pytest
import torch
from interpreter import require_equal, runs_kernels

from flowgru import kernels
from flowgru.model.correlation import choice

PARITY = """
import torch
from flowgru.grid import pixel_grid
from flowgru.model.correlation.all_pairs import AllPairsCorrelation
from flowgru.model.correlation.triton import TritonCorrelation
from flowgru.model.correlation.triton_all_pairs import TritonAllPairsCorrelation

torch.use_deterministic_algorithms(True, warn_only=True)
torch.utils.deterministic.fill_uninitialized_memory = True  # what was never written shows
device = "cuda" if torch.cuda.is_available() else "cpu"
for batch, height, width, levels, radius, channels in [(2, 5, 7, 3, 2, 12), (1, 3, 5, 2, 4, 40), (1, 1, 3, 1, 1, 5)]:
    torch.manual_seed(0)
    features = torch.randn(2, batch, channels, height, width, device=device)
    centres = pixel_grid(height, width, like=features) + 3 * torch.randn(batch, 2, height, width, device=device)
    centres[:, :, 0] = 1e6
    centres[:, :, -1, ::2] = -1.25
    results = []
    for make in (AllPairsCorrelation, TritonCorrelation, TritonAllPairsCorrelation):
        leaves = [each.clone().requires_grad_() for each in (*features, centres)]
        with torch.autocast(device, dtype=torch.bfloat16):
            found = make(leaves[0], leaves[1], levels, radius).lookup(leaves[2])
        weights = torch.linspace(-1, 1, found.numel(), device=device).reshape_as(found)
        results.append([found, *torch.autograd.grad((found * weights).sum(), leaves)])
    for kernel in results[1:]:
        for name, expected, found in zip(("values", "first", "second", "centres"), results[0], kernel, strict=True):
            assert found.dtype == torch.float32 and found.shape == expected.shape, name
            error, scale = (found - expected).abs().max().item(), expected.abs().max().item()
            assert error <= 1e-4 * scale + 1e-6, (name, error, scale)
print("equal")
"""


@runs_kernels
def test_values_and_gradients_are_those_of_all_pairs():
    require_equal(PARITY)


@pytest.mark.parametrize(
    "device, installed, expected", [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_on_demand_takes_triton_on_cuda_where_it_is_installed(monkeypatch, device, installed, expected):
    monkeypatch.setattr(kernels, "_tried", lambda device: None if installed else "triton is not installed")
    assert choice.takes_triton(torch.device(device)) is expected

"""The look-up on demand is the look-up in the volume of all pairs, in values and gradients, without that volume."""

import re

import pytest
import torch
import torch.nn.functional as F
from interpreter import run_alone
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowgru import load_model
from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.grid import pixel_grid
from flowgru.model.correlation import choice
from flowgru.model.correlation.all_pairs import AllPairsCorrelation, pyramid_bytes
from flowgru.model.correlation.choice import correlate, preferred_method
from flowgru.model.correlation.on_demand import OnDemandCorrelation
from flowgru.model.flow_network import FlowNetwork

CPU = torch.device("cpu")


def smooth_flow(batch: int, height: int, width: int, strength: float) -> Tensor:
    return F.interpolate(strength * torch.randn(batch, 2, 3, 3), (height, width), mode="bilinear", align_corners=True)


def flows(batch: int, height: int, width: int) -> dict[str, Tensor]:
    """What look-ups meet: windows that overlap, that lie a motion boundary apart, anywhere, and outside."""
    smooth = smooth_flow(batch, height, width, 2.0)
    step = smooth.clone()
    step[..., width // 2 :] += 23.4
    far = 1e6 * torch.randn(batch, 2, height, width)
    far[:, :, ::2] = -3.25  # half of these windows see the edge
    return {"smooth": smooth, "step": step, "noise": 20 * torch.randn(batch, 2, height, width), "far": far}


@pytest.mark.parametrize("kind", ["smooth", "step", "noise", "far"])
@pytest.mark.parametrize(
    "batch, height, width, levels, radius",
    [(2, 17, 23, 4, 4), (1, 16, 33, 3, 3), (3, 9, 8, 4, 1), (1, 5, 40, 2, 4), (1, 1, 6, 1, 2)],
)
def test_values_and_gradients_are_those_of_all_pairs(
    batch, height, width, levels, radius, kind, uninitialised_memory_is_nan
):
    features = torch.randn(2, batch, 12, height, width)
    centres = pixel_grid(height, width, like=features) + flows(batch, height, width)[kind]
    results = []
    for make in (AllPairsCorrelation, OnDemandCorrelation):
        leaves = [each.clone().requires_grad_() for each in (*features, centres)]
        found = make(leaves[0], leaves[1], levels, radius).lookup(leaves[2])
        weights = torch.linspace(-1, 1, found.numel()).reshape_as(found)
        results.append([found, *torch.autograd.grad((found * weights).sum(), leaves)])
    for name, expected, found in zip(("values", "first", "second", "centres"), *results, strict=True):
        assert found.shape == expected.shape and found.isfinite().all(), name
        # The gradient of the centres jumps at whole pixels, where rounding decides the side.
        tolerance = 1e-4 * expected.abs().max().item()
        assert (found - expected).abs().quantile(0.995 if name == "centres" else 1.0) <= tolerance + 1e-6, name


def test_small_chunks_change_nothing():
    first, second = torch.randn(2, 2, 8, 19, 21)
    centres = pixel_grid(19, 21, like=first) + flows(2, 19, 21)["step"]
    whole = OnDemandCorrelation(first, second, 3, 3).lookup(centres)
    assert torch.equal(OnDemandCorrelation(first, second, 3, 3, working_bytes=1).lookup(centres), whole)


def test_flow_that_is_not_finite_is_looked_up_nowhere_else():
    first, second = torch.randn(2, 1, 8, 16, 16)
    centres = pixel_grid(16, 16, like=first)
    expected = OnDemandCorrelation(first, second, 2, 2).lookup(centres)
    centres = centres.clone()
    centres[0, :, 3, 4], centres[0, 0, 7, 7], centres[0, 1, 9, 9] = torch.nan, torch.inf, -torch.inf
    found = OnDemandCorrelation(first, second, 2, 2).lookup(centres)
    touched = ~centres.isfinite().all(1, keepdim=True)
    assert found.isfinite().all() and (found - expected)[~touched.expand_as(found)].abs().max() < 1e-5


def test_sixteen_bits_around_do_not_reach_the_matches():
    features = torch.randn(2, 1, 64, 16, 16).bfloat16()
    centres = pixel_grid(16, 16, like=features.float()) + smooth_flow(1, 16, 16, 3.0)
    expected = AllPairsCorrelation(*features.float(), levels=3, radius=3).lookup(centres)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        leaves = [each.clone().requires_grad_() for each in features]
        found = OnDemandCorrelation(leaves[0], leaves[1], 3, 3).lookup(centres)
        found.square().sum().backward()
    assert found.dtype == torch.float32 and (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest tensor had that any operation gave."""

    num_values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor):
                self.num_values = max(self.num_values, each.untyped_storage().nbytes() // 4)
        return result


def test_nothing_of_the_size_of_all_pairs_is_made_forwards_or_backwards():
    height, width, budget = 48, 64, 2**20
    first, second = torch.randn(2, 1, 8, height, width).unbind()
    second.requires_grad_()
    centres = pixel_grid(height, width, like=first) + smooth_flow(1, height, width, 3.0)
    with LargestTensor() as seen:
        correlate(first, second, levels=4, radius=3, method="on_demand", memory_budget=budget).lookup(
            centres
        ).sum().backward()
    assert seen.num_values < (height * width) ** 2 / 10
    assert seen.num_values <= max(budget / 4, 4 * 7**2 * height * width)  # a chunk, or the look-up's result itself


@pytest.mark.parametrize("preset, operator", [("large", "seq_conv_gru"), ("compact", "conv_min_gru")])
def test_a_network_gives_the_same_flow_and_gradients_either_way(preset, operator):
    network = FlowNetwork(NetworkConfig(preset, operator)).eval()
    frames = torch.rand(2, 1, 3, 136, 152)
    results = []
    for method in ("all_pairs", "on_demand"):
        network.plan = choice.MatchPlan(method)
        network.zero_grad()
        flow = network(*frames, iterations=2).flows[-1]
        flow.square().mean().backward()
        grads = [p.grad for p in network.feature_encoder.parameters() if p.grad is not None]
        results.append((flow.detach(), torch.cat([grad.flatten() for grad in grads])))
    for expected, found in zip(*results, strict=True):
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_auto_takes_all_pairs_only_within_the_budget(monkeypatch: pytest.MonkeyPatch):
    needed = pyramid_bytes(2, 17, 23, 4)
    pyramid = AllPairsCorrelation(*torch.randn(2, 2, 3, 17, 23), levels=4, radius=3).pyramid
    assert needed == sum(4 * level.numel() for level in pyramid)
    assert preferred_method(2, 17, 23, 4, CPU, needed) == "all_pairs"
    assert preferred_method(2, 17, 23, 4, CPU, needed - 1) == "on_demand"
    first, second = torch.randn(2, 2, 3, 17, 23)
    assert isinstance(correlate(first, second, levels=4, radius=3, memory_budget=needed), AllPairsCorrelation)
    assert isinstance(correlate(first, second, levels=4, radius=3, memory_budget=needed - 1), OnDemandCorrelation)
    monkeypatch.setattr(choice, "_first_free", {})
    with torch.no_grad():
        monkeypatch.setattr(choice, "free_memory", lambda device: 4 * needed)
        assert preferred_method(2, 17, 23, 4, CPU) == "all_pairs"
        monkeypatch.setattr(choice, "free_memory", lambda device: 4 * needed - 4)
        assert preferred_method(2, 17, 23, 4, CPU) == "on_demand"
        monkeypatch.setattr(choice, "free_memory", lambda device: 2**50)
        assert preferred_method(1, 55, 128, 4, CPU) == "all_pairs"
        assert preferred_method(1, 136, 240, 4, CPU) == "on_demand"  # 5 GiB
        assert preferred_method(1, 136, 240, 4, torch.device("cuda")) == "all_pairs"
        monkeypatch.setattr(choice, "free_memory", lambda device: 8 * 2**30)
        assert preferred_method(1, 136, 241, 4, torch.device("cuda")) == "on_demand"


def test_a_gpu_is_asked_once_for_each_size_what_is_free(monkeypatch: pytest.MonkeyPatch):
    asked: list[torch.device] = []
    monkeypatch.setattr(choice, "free_memory", lambda device: asked.append(device) or 2**40)
    monkeypatch.setattr(choice, "_first_free", {})
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    with torch.no_grad():
        for device, width in [(first, 20), (first, 20), (first, 21), (second, 20), (first, 20), (second, 20)]:
            assert preferred_method(1, 16, width, 4, device) == "all_pairs"
        assert asked == [first, first, second]
        preferred_method(1, 16, 20, 4, CPU)
        preferred_method(1, 16, 20, 4, CPU)
    assert asked == [first, first, second, CPU, CPU]


def test_a_training_does_not_depend_on_what_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choice, "free_memory", lambda device: 0)
    assert preferred_method(1, 55, 128, 4, CPU) == "all_pairs"
    assert preferred_method(1, 55, 128, 4, CPU, memory_budget=1000) == "on_demand"


def test_a_model_is_loaded_with_its_correlation():
    network = load_model(device="cpu", correlation="on_demand", memory_budget=10**6)
    assert network.plan == choice.MatchPlan("on_demand", 10**6)


def test_a_budget_without_effect_is_refused():
    with pytest.raises(RequestError, match="memory_budget has no effect with correlation all_pairs"):
        load_model(correlation="all_pairs", memory_budget=10**6)


@pytest.mark.parametrize("budget", ["0", "4e6", "'1GB'"])
def test_a_budget_that_is_no_number_of_bytes_is_refused_before_any_work(budget):
    run = run_alone(f"from flowgru import load_model; load_model(device='cpu', memory_budget={budget})")
    said = r"RequestError: memory_budget, in bytes, is .*: expected a whole number, 1 or more$"
    assert run.returncode == 1 and re.search(said, run.stderr, re.MULTILINE), run.stderr


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(RequestError, match="unknown correlation 'pyramid': choose one of auto, all_pairs, on_demand"):
        choice.check_method("pyramid", None)

"""The network takes any picture, refines as RAFT does, and does nothing twice."""

import inspect
from itertools import pairwise
from typing import Any

import pytest
import torch
from calls import count_calls

from flowgru.config import PRESETS, NetworkConfig
from flowgru.config.network import check_preset
from flowgru.errors import RequestError
from flowgru.grid import upsample_bilinear
from flowgru.model.compiled import compile_for_training
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS

each_preset = pytest.mark.parametrize("preset", PRESETS)
each_operator = pytest.mark.parametrize("operator", UPDATE_OPERATORS)
USUAL_OPERATOR = {"large": "seq_conv_gru", "small": "conv_gru", "compact": "conv_min_gru"}


def make(preset: Any = "compact", operator: str | None = None) -> FlowNetwork:
    return FlowNetwork(NetworkConfig(preset, operator or USUAL_OPERATOR[preset])).eval()


@each_preset
@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (7, 9), (64, 64), (129, 137)])
def test_any_size_comes_back_at_its_size(preset, height, width):
    with torch.no_grad():
        prediction = make(preset)(*torch.rand(2, 1, 3, height, width), iterations=2)
    assert [flow.shape for flow in prediction.flows] == [(1, 2, height, width)] * 2
    assert all(flow.isfinite().all() for flow in prediction.flows) and prediction.confidence is None
    assert all(8 * size >= picture for size, picture in zip(prediction.coarse.shape[-2:], (height, width), strict=True))


@each_preset
@pytest.mark.parametrize("first, second", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_pictures_of_one_colour_give_finite_flow_and_gradients(preset, first, second):
    network = make(preset).train()
    prediction = network(torch.full((1, 3, 40, 48), first), torch.full((1, 3, 40, 48), second), iterations=2)
    assert all(flow.isfinite().all() for flow in prediction.flows)
    sum(flow.square().mean() for flow in prediction.flows).backward()  # pyright: ignore[reportAttributeAccessIssue]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@each_preset
def test_a_batch_gives_what_each_pair_gives_alone(preset):
    network, (first, second) = make(preset), torch.rand(2, 3, 3, 40, 56)
    with torch.no_grad():
        together = network(first, second, iterations=3)
        for i in range(3):
            alone = network(first[i : i + 1], second[i : i + 1], iterations=3)
            torch.testing.assert_close(together.flows[-1][i : i + 1], alone.flows[-1], rtol=1e-5, atol=5e-5)


@each_operator
@pytest.mark.parametrize("no_grad_iterations", [0, 2])
@pytest.mark.parametrize("sixteen_bits", [False, True])
def test_gradients_reach_every_parameter(operator, no_grad_iterations, sixteen_bits):
    network = make("compact", operator).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=sixteen_bits):
        prediction = network(*torch.rand(2, 1, 3, 32, 32), iterations=2, no_grad_iterations=no_grad_iterations)
    assert all(flow.dtype == torch.float32 for flow in prediction.flows)
    sum(flow.abs().mean() for flow in prediction.flows).backward()  # pyright: ignore[reportAttributeAccessIssue]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_frames_of_different_sizes_are_refused_with_both_sizes():
    network = make()
    forward = inspect.unwrap(FlowNetwork.forward)  # the tests' type checks would refuse first
    with pytest.raises(RequestError, match=r"\[1, 3, 40, 41\].*\[1, 3, 40, 40\].*one size"):
        forward(network, torch.rand(1, 3, 40, 41), torch.rand(1, 3, 40, 40))
    for width in (141, 180):  # 141 is padded to the same extent as 140
        with torch.no_grad(), pytest.raises(RequestError, match=rf"\[1, 3, 40, {width}\].*\[1, 3, 40, 140\].*one size"):
            network.match(network.encode(torch.rand(1, 3, 40, width)), network.encode(torch.rand(1, 3, 40, 140)))


@pytest.mark.parametrize("iterations", [0, -1])
def test_fewer_than_one_refinement_is_refused(iterations):
    with torch.no_grad(), pytest.raises(RequestError, match=f"iterations is {iterations}"):
        make()(*torch.rand(2, 1, 3, 32, 32), iterations=iterations)


def test_an_unknown_preset_is_refused():
    with pytest.raises(RequestError, match="unknown preset 'medium': known are large, small, compact"):
        check_preset("medium")
    with pytest.raises(RequestError, match=r"unknown preset 'larg': did you mean 'large'\? known are"):
        check_preset("larg")
    config = NetworkConfig()
    object.__setattr__(config, "preset", "medium")  # its constructor's types are checked in tests
    with pytest.raises(RequestError, match="unknown preset 'medium'"):
        config.__post_init__()


@each_operator
def test_settling_changes_no_value_and_needs_no_gradient(operator):
    network, frames = make("compact", operator), torch.rand(2, 1, 3, 48, 40)
    whole = network(*frames, iterations=5)
    settled = network(*frames, iterations=2, no_grad_iterations=3)
    assert len(settled.flows) == 2
    for flow, expected in zip((*settled.flows, settled.coarse), (*whole.flows[-2:], whole.coarse), strict=True):
        torch.testing.assert_close(flow, expected, rtol=1e-6, atol=1e-6)
        assert flow.requires_grad
    differentiable = []
    network.flow_head.register_forward_hook(lambda module, inputs, change: differentiable.append(change.requires_grad))
    network(*frames, iterations=2, no_grad_iterations=3)
    assert differentiable == [False] * 3 + [True] * 2


def test_the_initial_coarse_flow_is_where_refinement_starts():
    network, frames = make("small"), torch.rand(2, 1, 3, 64, 64)
    initial = torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        without, started = network(*frames, iterations=1), network(*frames, iterations=1, initial_coarse=initial)
        assert (started.coarse - initial - without.coarse).abs().max() > 1e-3  # it is looked up there, not only added
        for parameter in network.flow_head.parameters():
            parameter.zero_()
        kept = network(*frames, iterations=3, initial_coarse=initial)
    assert torch.equal(kept.coarse, initial)
    assert torch.equal(kept.flows[-1], upsample_bilinear(8 * initial)[..., 32:-32, 32:-32])
    with (
        torch.no_grad(),
        pytest.raises(RequestError, match=r"initial_coarse is \[1, 2, 8, 8\]: expected \[1, 2, 16, 16\]"),
    ):
        network(*frames, initial_coarse=torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize("no_grad_iterations", [0, 2])
def test_final_only_upsamples_once_and_changes_no_value(no_grad_iterations):
    network, frames = make(), torch.rand(2, 1, 3, 40, 40)
    calls = count_calls(mask=network.upsampler.mask_head, upsampler=network.upsampler, refinement=network.flow_head)
    with torch.no_grad():
        every = network(*frames, iterations=4, no_grad_iterations=no_grad_iterations)
        assert calls == {"mask": 4, "upsampler": 4, "refinement": 4 + no_grad_iterations}
        calls.clear()
        final = network(*frames, iterations=4, no_grad_iterations=no_grad_iterations, final_only=True)
    assert calls == {"mask": 1, "upsampler": 1, "refinement": 4 + no_grad_iterations}
    assert len(final.flows) == 1 and torch.equal(final.flows[0], every.flows[-1])
    assert torch.equal(final.coarse, every.coarse)


def test_how_sure_it_is_is_left_out_where_nobody_asks():
    network, frames = FlowNetwork(NetworkConfig("compact", confidence=True)).eval(), torch.rand(2, 1, 3, 40, 48)
    calls = count_calls(mixture=network.mixture_head, upsampler=network.upsampler)
    with torch.no_grad():
        sure = network(*frames, iterations=3, final_only=True)
        assert calls == {"mixture": 1, "upsampler": 1}
        plain = network(*frames, iterations=3, final_only=True, confidence=False)
    assert calls == {"mixture": 1, "upsampler": 2}
    assert sure.confidence is not None and len(sure.mixtures) == 1
    assert plain.confidence is None and plain.mixtures == ()
    torch.testing.assert_close(plain.flows[0], sure.flows[0], rtol=0, atol=1e-5)
    assert torch.equal(plain.coarse, sure.coarse)


@each_preset
def test_a_video_encodes_each_frame_once(preset):
    network, frames = make(preset), torch.rand(3, 1, 3, 40, 48)
    with torch.no_grad():
        expected = [network(first, second, iterations=2) for first, second in pairwise(frames)]
        calls = count_calls(features=network.feature_encoder, context=network.context_encoder)
        encoded = [network.encode(frame, with_context=i < 2) for i, frame in enumerate(frames)]
        found = [network.match(first, second, iterations=2) for first, second in pairwise(encoded)]
    assert calls == {"features": 3, "context": 2}
    for prediction, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(prediction.flows, truth.flows, rtol=1e-5, atol=5e-5)


@each_operator
def test_gradients_pass_between_refinements_through_the_hidden_state_only(operator):
    network = make("compact", operator)
    changes, hidden = [], []
    network.flow_head.register_forward_hook(
        lambda module, inputs, change: (hidden.append(inputs[0]), changes.append(change))[1]
    )
    prediction = network(*torch.rand(2, 1, 3, 32, 32), iterations=2)
    changes_grad = torch.autograd.grad(prediction.coarse.sum(), changes, allow_unused=True, retain_graph=True)
    assert changes_grad[0] is None and changes_grad[1] is not None
    (hidden_grad,) = torch.autograd.grad(prediction.coarse.sum(), hidden[:1])
    assert hidden_grad.any()


def test_the_motion_encoder_sees_the_flow_and_the_match_where_it_points():
    network, frames = make("small"), torch.rand(2, 1, 3, 128, 128)
    seen = []
    network.motion_encoder.register_forward_hook(lambda module, inputs, motion: seen.append((*inputs, motion)))
    shift = torch.tensor([2.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
    with torch.no_grad():
        for initial in (None, shift):
            network(*frames, iterations=1, initial_coarse=initial)
    (_, still, _), (flow, shifted, motion) = seen
    assert torch.equal(flow, shift) and torch.equal(motion[:, -2:], shift)
    # One pixel of flow to the right is one step of the window's slow axis on the finest level.
    windows = [looked_up[:, :49].reshape(1, 7, 7, 16, 16) for looked_up in (still, shifted)]
    torch.testing.assert_close(windows[1][:, :5, 1:], windows[0][:, 2:, :6], rtol=1e-5, atol=5e-5)


def uniform_updates(network, *lengths):
    """Lets every refinement move the flow by its length, in pixels of the picture; a list has one for each picture."""
    updates = iter(lengths)

    def update(hidden):
        length = torch.tensor(next(updates)).reshape(-1, 1, 1, 1) / 8
        return length * torch.tensor([0.6, 0.8]).reshape(1, 2, 1, 1).expand(len(hidden), 2, *hidden.shape[-2:])

    network.flow_head.forward = update


def test_refinement_stops_once_the_flow_stands_still():
    network, pair = make(), torch.rand(2, 1, 3, 128, 128)
    with torch.no_grad():
        for final_only in (False, True):
            uniform_updates(network, 1.0, 2.0, 0.5, 4.0, 4.0)
            prediction = network(*pair, iterations=5, stop_below=0.6, final_only=final_only)
            assert prediction.num_refinements == 3 and len(prediction.flows) == (1 if final_only else 3)
            assert prediction.flows[-1][..., 64, 64].norm().item() == pytest.approx(3.5, rel=1e-4)
        uniform_updates(network, 1.0, 2.0, 0.5)
        assert network(*pair, iterations=3, stop_below=0.4).num_refinements == 3
        uniform_updates(network, 0.1, 1.0, 0.1, 1.0)
        assert network(*pair, iterations=3, no_grad_iterations=1, stop_below=0.6).num_refinements == 2


def test_a_batch_is_refined_until_all_its_flows_stand_still():
    network, pair = make(), torch.rand(2, 2, 3, 128, 128)
    uniform_updates(network, [0.1, 1.0], [2.0, 0.1], [0.2, 0.1], [1.0, 1.0])
    with torch.no_grad():
        assert network(*pair, iterations=4, stop_below=0.6).num_refinements == 3


@pytest.mark.parametrize("stop_below", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_no_length_is_refused(stop_below):
    with pytest.raises(RequestError, match="it must be above 0, in pixels"):
        make()(*torch.rand(2, 1, 3, 32, 32), stop_below=stop_below)


@pytest.mark.slow
@each_operator
def test_compiled_parts_give_the_flow_and_the_gradients_of_the_plain_ones(operator):
    torch.manual_seed(3)
    plain = make("compact", operator)
    compiled = make("compact", operator)
    compiled.load_state_dict(plain.state_dict())
    compile_for_training(compiled)
    pair = torch.rand(2, 1, 3, 128, 128)
    flows, gradients = [], []
    for network in (plain, compiled):
        prediction = network(*pair, iterations=3, no_grad_iterations=1)
        prediction.flows[-1].square().mean().backward()
        flows.append(prediction.flows[-1].detach())
        gradients.append(
            torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
        )
    assert flows[0].abs().max() > 0.1
    torch.testing.assert_close(flows[1], flows[0], rtol=1e-4, atol=1e-4)
    assert (gradients[1] - gradients[0]).norm() < 1e-3 * gradients[0].norm()


def test_refinements_without_gradient_cut_no_weight_off_in_mixed_precision(monkeypatch):
    clear, cleared = torch.clear_autocast_cache, []
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: (cleared.append(1), clear()))
    network = make("compact", "conv_gru")
    with torch.autocast("cpu", torch.bfloat16):
        flow = network(*torch.rand(2, 1, 3, 128, 128), iterations=1, no_grad_iterations=1).flows[-1]
    flow.square().mean().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert cleared  # versions of PyTorch that keep casts without a gradient need it


@pytest.mark.parametrize("preset", ["compact", "large"])
def test_both_frames_in_one_pass_give_the_same_values_and_gradients(monkeypatch, preset):
    found = []
    for together in (False, True):
        torch.manual_seed(0)
        network = FlowNetwork(NetworkConfig(preset, "conv_gru"))
        monkeypatch.setattr("flowgru.model.flow_network.joins_frames", lambda network, device, joined=together: joined)
        frames = torch.rand(2, 1, 3, 120, 136)
        calls = []
        network.feature_encoder.register_forward_hook(lambda module, given, _: calls.append(len(given[0])))  # noqa: B023
        flow = network(*frames, iterations=1).flows[0]
        assert calls == ([2] if together else [1, 1])
        flow.square().mean().backward()
        found.append([flow, *(value.grad for value in network.parameters()), *network.buffers()])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)

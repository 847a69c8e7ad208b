"""A refinement begins at any flow in pixels of the picture, and holds it if asked to."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from calls import count_calls

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.grid import padding_for, pixel_grid
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.initial_flow import fill_unknown

SIZE = 136, 144
"""Sizes that the network takes without padding."""


def make(*, still: bool = False, **config) -> FlowNetwork:
    """A small network; a `still` one never moves the flow."""
    network = FlowNetwork(NetworkConfig("compact", "conv_gru", **config)).eval()
    for parameter in network.flow_head.parameters() if still else ():
        parameter.data.zero_()
    return network


@pytest.mark.parametrize("size", [SIZE, (77, 150)])
@torch.no_grad()
def test_a_still_network_gives_the_mean_of_each_block(size):
    start = 10 * torch.randn(2, 2, *size)
    frames = torch.rand(2, 2, 3, *size)
    coarse = make(still=True)(*frames, iterations=2, initial_flow=start).coarse
    padded = F.pad(start, padding_for(*size), mode="replicate")
    torch.testing.assert_close(coarse, F.avg_pool2d(padded, 8) / 8)


@torch.no_grad()
def test_the_start_is_looked_up():
    first = torch.rand(1, 3, *SIZE)
    second, network, calls = torch.roll(first, 16, dims=3), make(), []
    network.motion_encoder.register_forward_hook(lambda module, inputs, motion: calls.append(inputs))
    shift = torch.tensor([16.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, *SIZE)
    network(first, second, iterations=1, initial_flow=shift)
    ((flow, matches),) = calls
    assert torch.equal(flow, torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1).expand_as(flow))
    centre = matches[:, :49].reshape(1, 7, 7, 17, 18)[0, 3, 3, 4:-4, 4:-6]  # away from where the picture was rolled
    assert (centre > 0.99 * matches[:, :49].amax(dim=1)[0, 4:-4, 4:-6]).float().mean() > 0.95


def test_a_value_beyond_what_flow_files_hold_is_not_known():
    flow = torch.randn(1, 2, 9, 11)
    for mark in (torch.nan, torch.inf, 1.67e9, -1e10):
        marked = flow.clone()
        marked[0, 0, 2:4, 3:6], marked[0, 1, 7, 0] = mark, mark
        expected = flow.clone()
        expected[0, :, 2:4, 3:6], expected[0, :, 7, 0] = torch.nan, torch.nan
        assert torch.equal(fill_unknown(marked), fill_unknown(expected)) and fill_unknown(marked).abs().max() < 10
    half = flow.half()
    half[0, 0, 2, 3] = torch.inf  # 1e9 is infinite in 16 bits
    assert fill_unknown(half).isfinite().all()
    with pytest.raises(
        RequestError, match=r"without any known pixel: every value of it is NaN, infinite or beyond 1e9"
    ):
        fill_unknown(torch.full((1, 2, 4, 5), 1e10))


@torch.no_grad()
def test_held_refinements_settle_the_hidden_state_and_look_up_once():
    network, frames = make(), torch.rand(2, 1, 3, *SIZE)
    start, steps = torch.randn(1, 2, 17, 18), []
    calls = count_calls(look_up=network.motion_encoder, flow=network.flow_head)
    step = network.operator.step
    network.operator.step = lambda motion, state: (steps.append((motion, state)), step(motion, state))[1]
    held = network(*frames, iterations=2, initial_coarse=start, hold=3)
    assert calls == {"look_up": 2, "flow": 2} and len(steps) == 5 and held.num_refinements == 2
    # The first four steps see the same: three that hold, and the first that moves.
    assert all(torch.equal(motion, steps[0][0]) for motion, _ in steps[:4])
    assert not torch.equal(steps[3][1].hidden, steps[0][1].hidden)
    unheld = network(*frames, iterations=2, initial_coarse=start)
    assert (held.coarse - unheld.coarse).abs().max() > 1e-4


def test_held_refinements_are_trained():
    network = make().train()
    motions, states, step = [], [], network.operator.step
    network.motion_encoder.register_forward_hook(lambda module, inputs, motion: motions.append(motion))
    network.operator.step = lambda motion, state: states.append(step(motion, state)) or states[-1]
    prediction = network(*torch.rand(2, 1, 3, *SIZE), iterations=1, hold=2)
    (gradient,) = torch.autograd.grad(prediction.coarse.sum(), [states[0][1].hidden])
    assert gradient.any() and len(motions) == 1 and len(states) == 3


@torch.no_grad()
def test_refinements_without_gradient_go_on_as_those_with_it_after_held_ones():
    network, frames = make(), torch.rand(2, 1, 3, *SIZE)
    start, motions = torch.randn(1, 2, 17, 18), []
    network.motion_encoder.register_forward_hook(lambda module, inputs, motion: motions.append(motion))
    expected = network(*frames, iterations=3, hold=2, initial_coarse=start).coarse
    found = network(*frames, iterations=1, no_grad_iterations=2, hold=2, initial_coarse=start).coarse
    assert torch.equal(found, expected) and len(motions) == 6


@pytest.mark.parametrize(
    "start, said",
    [
        ({"initial_flow": torch.zeros(1, 2, 17, 18)}, r"initial_flow is \[1, 2, 17, 18\]: expected \[1, 2, 136, 144\]"),
        (
            {"initial_coarse": torch.zeros(1, 2, *SIZE)},
            r"initial_coarse is \[1, 2, 136, 144\]: expected \[1, 2, 17, 18\]",
        ),
        ({"initial_flow": torch.zeros(1, 2, *SIZE), "initial_coarse": torch.zeros(1, 2, 17, 18)}, "leave one out"),
        ({"initial_flow": torch.full((1, 2, *SIZE), torch.nan)}, "without any known pixel"),
        ({"hold": -1}, "hold is -1: at least 0"),
    ],
)
def test_a_start_that_cannot_be_is_refused(start, said):
    forward = inspect.unwrap(FlowNetwork.forward)  # the tests' type checks would refuse first
    with torch.no_grad(), pytest.raises(RequestError, match=said):
        forward(make(), *torch.rand(2, 1, 3, *SIZE), **start)


def test_gaps_are_filled_linearly_and_beyond_by_the_nearest_pixel():
    grid = pixel_grid(40, 50, like=torch.zeros(1))
    truth = torch.cat([0.3 * grid[:, :1] - 0.1 * grid[:, 1:] + 2, grid.sum(dim=1, keepdim=True)], dim=1)
    flow = truth.clone()
    flow[:, 0, 10:20, 10:30] = torch.nan
    flow[:, :, 30:35, 5:8] = torch.inf
    torch.testing.assert_close(fill_unknown(flow), truth, rtol=1e-5, atol=1e-4)
    assert fill_unknown(truth) is truth
    sparse = torch.full_like(truth, torch.nan)
    places = np.random.default_rng(0).integers((40, 50), size=(200, 2)).T
    sparse[:, :, *places] = truth[:, :, *places]
    filled = fill_unknown(sparse)
    assert filled.isfinite().all() and (filled - truth).abs().mean() < 0.2
    line = torch.full_like(truth, torch.nan)
    line[:, :, range(12), range(12)] = truth[:, :, range(12), range(12)]  # no triangle: the nearest one, everywhere
    assert fill_unknown(line).isfinite().all()
    one = torch.full_like(truth, torch.nan)
    one[0, :, 3, 4] = torch.tensor([5.0, -1.0])
    assert torch.equal(fill_unknown(one), torch.tensor([5.0, -1.0]).reshape(1, 2, 1, 1).expand_as(one))


@torch.no_grad()
def test_an_unknown_part_of_a_start_is_filled_before_it_is_used():
    network, frames = make(still=True), torch.rand(2, 1, 3, *SIZE)
    start = torch.full((1, 2, *SIZE), 3.0)
    start[..., 20:60, 30:90] = torch.nan
    coarse = network(*frames, iterations=1, initial_flow=start).coarse
    torch.testing.assert_close(coarse, torch.full_like(coarse, 3 / 8))

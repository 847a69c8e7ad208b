"""Steps whose refinements begin where the network itself comes to at half the size, as estimation with two scales does."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
import tiny_run
import torch
from lightning_fabric import Fabric

from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.formats.images import as_images
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.estimation.geometry import resize_flow, resize_picture
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.engine import begin_run
from flowgru.training.feeding.sampler import collate
from flowgru.training.losses import loss_of
from flowgru.training.objective import _add_gradient, halved_truth
from flowgru.training.run_state import DrawnRefinements, drawn_refinements

CONFIG = replace(tiny_run.TINY, iterations=2, hold=2, coarse_first=0.5, no_grad_iterations=1)
SIZE = (200, 216)


@pytest.fixture(scope="module")
def batch():
    settings = SyntheticSettings(height=SIZE[0], width=SIZE[1], photos=None, num_textures=4, seed=7, most_speed=9.0)
    sample = SyntheticPairs(settings)[0]
    return collate([sample._replace(initial_flow=torch.full((2, *SIZE), 3.0))])


def error_of(network, batch, drawn: DrawnRefinements) -> float:
    network.zero_grad(set_to_none=True)
    _, errors = _add_gradient(Fabric(accelerator="cpu"), network, CONFIG, drawn, loss_of, *batch.tensors)
    return float(errors[0])


def test_a_step_goes_the_way_of_an_estimation_with_two_scales(network, batch):
    first, second, errors = as_images(batch.first), as_images(batch.second), []
    for drawn, scales in ((DrawnRefinements(1, 0, True), 2), (DrawnRefinements(1, 0, False), 1)):
        matcher = PairMatcher(network, MatchSettings(Way(2, "given", 1, False, scales)))
        flow = matcher.match(first, second, [InitialFlow("given", batch.initial_flow)]).forward[None]
        expected = (flow - batch.flow).norm(dim=1)[batch.valid].mean()
        errors.append(error_of(network, batch, drawn))
        assert errors[-1] == pytest.approx(float(expected), rel=1e-4)
    assert errors[0] != errors[1]


def test_what_is_found_at_half_the_size_has_no_gradient(network, batch, monkeypatch):
    recorded = []
    encode = type(network).encode
    monkeypatch.setattr(
        type(network),
        "encode",
        lambda *given, **more: recorded.append(torch.is_grad_enabled()) or encode(*given, **more),
    )
    error_of(network, batch, DrawnRefinements(0, 1, True))
    assert recorded and recorded == sorted(recorded) and {*recorded} == {False, True}


def test_the_refinements_at_half_the_size_are_trained_with_a_loss_of_their_own(network, batch):
    """The gradient is that of the loss at full size plus coarse_loss times that at half the size, each taken alone."""
    drawn = DrawnRefinements(1, 0, True)

    def gradient(coarse_loss: float) -> torch.Tensor:
        network.zero_grad(set_to_none=True)
        config = replace(CONFIG, coarse_loss=coarse_loss)
        _add_gradient(Fabric(accelerator="cpu"), network, config, drawn, loss_of, *batch.tensors)
        return torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None])

    alone, both, twice = gradient(0.0), gradient(0.5), gradient(1.0)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    pictures = [resize_picture(as_images(each), half) for each in (batch.first, batch.second)]
    start = batch._replace(initial_flow=resize_flow(batch.initial_flow, half)).coarse_start()
    network.zero_grad(set_to_none=True)
    found = network(*pictures, iterations=2, initial_coarse=start, hold=1)
    flow, valid = halved_truth(batch.flow, batch.valid)
    loss_of(found, batch._replace(flow=flow, valid=valid), CONFIG).backward()
    expected = torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None])
    assert expected.norm() > 1e-3
    torch.testing.assert_close(both - alone, 0.5 * expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(twice - alone, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_truth_at_half_the_size_is_known_where_four_pixels_move_alike():
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0, :, 3:] = 8.0  # an edge inside the second pair of columns
    flow[:, 1] = torch.linspace(0, 0.25, 4)[:, None]
    valid = torch.ones(1, 4, 6, dtype=torch.bool)
    valid[0, 3, 0] = False
    found, known = halved_truth(flow, valid)
    assert known.tolist() == [[[True, False, True], [False, False, True]]]
    assert found[0, :, 0, 2].tolist() == pytest.approx([4.0, 0.25 / 3 / 4])


def test_the_truth_at_half_the_size_is_known_where_a_surface_grows_and_turns_fast():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    near = torch.stack((0.9 * x - 0.6 * y, 0.6 * x + 0.9 * y))[None]
    valid = torch.ones(1, 8, 12, dtype=torch.bool)
    found, known = halved_truth(near, valid)
    assert known.all()
    assert found[0, :, 2, 3].tolist() == pytest.approx([(0.9 * 6.5 - 0.6 * 4.5) / 2, (0.6 * 6.5 + 0.9 * 4.5) / 2])
    edge = near.clone()
    edge[..., 5:] += 3.0  # inside the third pair of columns, and beside the second
    assert halved_truth(edge, valid)[1].all(dim=1).tolist() == [[True, True, False, True, True, True]]


@pytest.mark.parametrize("weight, size", [(-1.0, 128), (float("inf"), 128), (0.5, 129)])
def test_a_weight_that_cannot_be_is_refused(weight, size):
    with pytest.raises(RequestError, match="coarse_loss is "):
        replace(CONFIG, coarse_loss=weight, data=replace(CONFIG.data, height=size))


def test_the_share_of_such_steps_is_drawn_and_changes_no_other_number():
    drawn = [drawn_refinements(CONFIG, step) for step in range(2000)]
    assert 0.45 < sum(each.coarse_first for each in drawn) / 2000 < 0.55
    without = [drawn_refinements(replace(CONFIG, coarse_first=0.0), step) for step in range(2000)]
    assert not any(each.coarse_first for each in without)
    assert [each[:2] for each in without] == [each[:2] for each in drawn]


def test_a_run_from_before_there_were_such_steps_goes_on_with_its_numbers():
    """Three numbers were drawn for each step then: the first two say how many have no gradient, the third how many hold."""
    for step in range(200):
        draw = torch.rand(3, generator=torch.Generator().manual_seed(CONFIG.seed * 1_000_003 + step))
        expected = min(int(draw[2] * 3), 2), 0 if draw[0] < 0.5 else 1
        assert drawn_refinements(CONFIG, step)[:2] == expected


def test_a_weight_without_such_steps_is_refused():
    with pytest.raises(RequestError, match=r"coarse_loss is .*0 where coarse_first is 0"):
        replace(CONFIG, coarse_first=0.0, coarse_loss=0.5)


def test_several_processes_with_batch_norm_are_refused():
    """Each pass would change what the pass before has kept for its gradient."""
    config = replace(CONFIG, network=NetworkConfig("large", "conv_gru"), coarse_loss=0.5)
    with pytest.raises(RequestError, match=r"coarse_loss is 0\.5 with 2 processes and batch norm: expected 0"):
        begin_run(Mock(spec=Fabric, world_size=2), config, lambda: FlowNetwork(config.network), None, compile=False)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(RequestError, match=r"coarse_first is .*a share, from 0 to 1"):
        replace(CONFIG, coarse_first=share)

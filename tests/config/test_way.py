"""The way to a flow is what is asked for, else what the model's card says, else RAFT's; and it names itself."""

import threading
from typing import Any

import pytest
import torch
from media import noisy_frames
from torch import Tensor

from flowgru import estimate_flow, load_model
from flowgru.config import SyntheticSettings
from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.formats.images import to_tensor
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.estimation.matching.initial_flow import ZERO, InitialFlow
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.matching.steps import begin, beside, finish, grey_of, memory_of
from flowgru.evaluation.evaluate import NetworkEstimator

GOOD = {"iterations": 6, "initial_flow": "dis", "hold": 3, "polish": True}
ALONE = {"initial_flow": "zero", "hold": 0, "polish": False}


def test_what_is_asked_for_goes_before_the_card_and_the_card_before_rafts():
    assert resolve_way(None) == resolve_way({}) == Way() == Way(12, "zero", 0, False)
    assert resolve_way(GOOD) == Way(6, "dis", 3, True)
    assert resolve_way({"iterations": 24}) == Way(24)
    assert resolve_way(GOOD, iterations=2) == Way(2, "dis", 3, True)
    assert resolve_way(GOOD, **ALONE) == Way(6)
    assert resolve_way(GOOD, initial_flow="some/folder") == Way(6, "given", 3, True)


def test_a_start_at_zero_has_one_scale_unless_more_are_asked_for():
    card = {**GOOD, "scales": 2, "coarse_iterations": 4}
    assert resolve_way(card) == Way(6, "dis", 3, True, 2, 4)
    assert resolve_way(card, initial_flow="flows", coarse_iterations=5) == Way(6, "given", 3, True, 2, 5)
    assert resolve_way(card, **ALONE) == Way(6)
    assert resolve_way(card, scales=1) == Way(6, "dis", 3, True)
    assert resolve_way(card, **ALONE, scales=3) == Way(6, "zero", 0, False, 3, 4)


def test_one_of_several_scales_has_the_largest_number_of_refinements_of_the_card():
    """Few refinements at full size are enough where more have come before them, and only there."""
    card = {**GOOD, "iterations": 2, "scales": 2, "coarse_iterations": 6}
    assert resolve_way(card) == Way(2, "dis", 3, True, 2, 6)
    assert resolve_way(card, **ALONE) == Way(6)
    assert resolve_way(card, scales=1) == Way(6, "dis", 3, True)
    assert resolve_way(card, **ALONE, iterations=3) == Way(3)
    assert resolve_way({**card, "scales": 1}) == Way(2, "dis", 3, True)


def test_a_number_of_refinements_at_smaller_sizes_is_refused_where_there_are_none():
    assert ModelSettings(coarse_iterations=4).way({"scales": 2}) == Way(scales=2, coarse_iterations=4)
    assert ModelSettings(coarse_iterations=4, scales=3).way({}) == Way(scales=3, coarse_iterations=4)
    refused: list[tuple[dict[str, Any], dict[str, Any]]]
    refused = [({}, {}), ({"scales": 1}, {"scales": 2}), ({"initial_flow": "zero"}, {"scales": 2})]
    for given, card in refused:
        with pytest.raises(RequestError, match=r"^--coarse-iterations has no effect where .* at one scale"):
            ModelSettings(coarse_iterations=4, **given).way(card)
        with pytest.raises(RequestError, match=r"^coarse_iterations has no effect where .* at one scale"):
            resolve_way(card, coarse_iterations=4, **given)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"iterations": 0}, "the model's card has iterations 0: expected a whole number above 0"),
        ({"iterations": True}, "iterations true"),
        ({"iterations": "6"}, 'iterations "6"'),
        ({"initial_flow": "flows/"}, 'the model\'s card has initial_flow "flows/": expected dis or zero'),
        ({"initial_flow": ["dis"]}, r'initial_flow \["dis"\]'),
        ({"hold": -1}, "the model's card has hold -1: expected a whole number from 0"),
        ({"polish": 1}, "the model's card has polish 1: expected true or false"),
        ({"scales": 0}, "the model's card has scales 0: expected a whole number from 1 to 6"),
        ({"scales": 7}, "scales 7"),
        (
            {"coarse_iterations": 0},
            "the model's card has coarse_iterations 0: expected null, or a whole number above 0",
        ),
    ],
)
def test_a_card_without_sense_is_refused(card, said):
    with pytest.raises(RequestError, match=said):
        resolve_way(card)


@pytest.mark.parametrize("counts", [{"iterations": 0}, {"hold": -1}, {"coarse_iterations": 0}, {"scales": 7}])
def test_a_way_without_sense_is_refused(counts):
    with pytest.raises(RequestError, match="it must be"):
        Way(**counts)


@pytest.mark.parametrize(
    ("way", "text"),
    [
        (Way(12), "the network alone, 12 refinements"),
        (
            Way(6, "dis", 3, True),
            "initial flow of DIS > 3 held refinements > 6 refinements > gate > variational refinement",
        ),
        (Way(6, "zero", 0, True), "initial flow zero > 6 refinements > variational refinement"),
        (Way(6, "given", 1), "given initial flow > 1 held refinement > 6 refinements"),
        (Way(6, "zero", 2), "initial flow zero > 2 held refinements > 6 refinements"),
        (
            Way(2, "dis", 3, True, 2, 6),
            "initial flow of DIS > 3 held refinements and 6 refinements at 1/2 of the size > 3 held refinements > "
            "2 refinements > gate > variational refinement",
        ),
        (
            Way(2, scales=3),
            "initial flow zero > 2 refinements at 1/4 of the size > 2 refinements at 1/2 of the size > 2 refinements",
        ),
    ],
)
def test_only_the_network_alone_is_called_that(way, text):
    assert str(way) == text


@pytest.fixture(scope="module")
def sample():
    return SyntheticPairs(SyntheticSettings(height=136, width=160, seed=3, most_speed=6.0, num_textures=8))[0]


def test_every_path_takes_the_same_way(network, sample):
    """estimate_flow and evaluate's estimator give what the parts give one after the other."""
    way = Way(2, "dis", 2, True)
    first, second = sample.first[None], sample.second[None]
    start = dis_start(sample.first, sample.second)[None]
    greys = grey_of(way, first), grey_of(way, second)
    with torch.no_grad():
        flow = network(first, second, iterations=2, initial_flow=start, hold=2, final_only=True).flows[-1]
    expected = finish(way, flow, InitialFlow("dis", start), *greys)[0]
    assert (expected - flow[0]).abs().max() > 0.1  # polished
    options: dict[str, Any] = dict(iterations=2, initial_flow="dis", hold=2, polish=True)
    (found,) = estimate_flow([sample.first, sample.second], network, **options)
    with torch.inference_mode():
        measured = NetworkEstimator(network, MatchSettings(way))(first, second)
    for other in (found, measured.flow[0]):
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-4)
    assert measured.initial_flow == "dis"
    (given,) = estimate_flow([sample.first, sample.second], network, **{**options, "initial_flow": start})
    assert torch.equal(given, found)


def test_without_an_initial_flow_there_is_no_gate_but_the_refinement(network, sample, monkeypatch):
    monkeypatch.setattr("flowgru.data.polish.gate", lambda *_: pytest.fail("a gate from zero"))
    frames = [sample.first, sample.second]
    (plain,) = estimate_flow(frames, network, iterations=1)
    (polished,) = estimate_flow(frames, network, iterations=1, initial_flow="zero", polish=True)
    assert (plain - polished).abs().max() > 0.01


def test_the_default_takes_its_way_from_its_card_and_the_network_itself_is_the_network_alone(sample):
    network, frames = load_model("default", "cpu"), [sample.first, sample.second]
    assert resolve_way(network.card) == Way(2, "dis", 1, True, 2, 4)
    (found,) = estimate_flow(frames, network)
    named = {"iterations": 2, "initial_flow": "dis", "hold": 1, "polish": True, "scales": 2, "coarse_iterations": 4}
    (expected,) = estimate_flow(frames, network, **named)
    assert torch.equal(found, expected)
    (alone,) = estimate_flow(frames, network, iterations=2, **ALONE)
    with torch.inference_mode():
        itself = network(sample.first[None], sample.second[None], iterations=2, final_only=True).flows[-1][0]
    # Pictures lie otherwise in memory, so on some processors convolutions sum in another order.
    torch.testing.assert_close(alone, itself, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (15, 40), (9, 400), (31, 500)])
def test_every_size_has_finite_flow(network, size):
    frames = noisy_frames(2, *size)
    (flow,) = estimate_flow(frames, network, iterations=1, initial_flow="dis", hold=1, polish=True)
    assert flow.shape == (2, *size) and flow.isfinite().all()


def test_pictures_too_small_for_dis_begin_at_zero_without_a_message(recwarn):
    way = Way(1, "dis")
    small, large = (torch.rand(1, 3, side, 40) for side in (8, 40))
    assert begin(way, grey_of(way, small), grey_of(way, small)) == ZERO and not recwarn.list
    assert begin(way, grey_of(way, large), grey_of(way, large)).name == "dis"
    assert begin(Way(1), None, None) == ZERO


def test_a_thread_works_beside_a_gpu_and_none_beside_a_cpu():
    def work():
        return InitialFlow(threading.current_thread().name)

    assert beside(torch.device("cpu"), work)().name == threading.current_thread().name
    assert beside(torch.device("cuda"), work)().name.startswith("initial flow")


def test_what_a_thread_meets_is_raised_where_its_result_is_asked_for():
    def work():
        raise MemoryError("none left")

    for device in ("cpu", "cuda"):
        result = beside(torch.device(device), work)
        with pytest.raises(MemoryError, match="none left"):
            result()


def test_memory_counts_what_the_way_has():
    assert memory_of(Way(), 100, 100) == (0, 0)
    kept, polishing = memory_of(Way(1, "dis"), 100, 100)
    assert kept > 0 and polishing == 0
    assert memory_of(Way(1, "dis", 0, True), 100, 100) > (kept, 0)


# Initial flows from the caller

FRAMES = noisy_frames(3, 48, 64)


def flows_with(network, initial_flow):
    return list(estimate_flow(FRAMES, network, iterations=1, hold=1, initial_flow=initial_flow))


def test_a_flow_for_each_pair_may_come_in_any_sequence(network):
    starts = torch.randn(2, 2, 48, 64)
    expected = [
        network(*(to_tensor(frame)[None] for frame in pair), iterations=1, hold=1, initial_flow=start[None]).flows[-1][
            0
        ]
        for pair, start in zip((FRAMES[:2], FRAMES[1:]), starts, strict=True)
    ]
    for given in (starts, [*starts], iter(starts), starts.numpy(), map(Tensor.numpy, starts)):
        for flow, wanted in zip(flows_with(network, given), expected, strict=True):
            torch.testing.assert_close(flow, wanted, rtol=1e-4, atol=1e-4)


def test_unknown_pixels_are_filled(network):
    start = torch.full((2, 2, 48, 64), 2.0)
    holes = start.clone()
    holes[..., 10:20, 10:30] = torch.nan
    torch.testing.assert_close(flows_with(network, holes), flows_with(network, start), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [torch.zeros(2, 8, 8)],
            r"initial_flow 0 is a tensor float32 \[2, 8, 8\]: expected \[2, 48, 64\] or \[48, 64, 2\]",
        ),
        (torch.zeros(2, 48, 64), r"initial_flow 0 is a tensor float32 \[48, 64\]: expected \[2, 48, 64\]"),
        ([torch.full((2, 48, 64), torch.nan)], "initial_flow 0 has no known pixel"),
        ([torch.zeros(2, 48, 64)], "initial_flow ends after 1 flows: each pair needs one"),
        (
            [torch.zeros(2, 48, 64)] * 3,
            "initial_flow has 3 flows and there are 2 pairs: expected one flow for each pair",
        ),
        (torch.zeros(3, 2, 48, 64), "initial_flow has 3 flows and there are 2 pairs"),
        (["left"], "initial_flow 0 is a str: expected an array or tensor"),
        ("flows", "initial_flow is 'flows': expected dis, zero, or a flow for each pair"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(network, given, said):
    with pytest.raises(RequestError, match=said):
        flows_with(network, given)


def test_a_negative_hold_is_refused(network):
    with pytest.raises(RequestError, match="hold is -1: expected a whole number, 0 or more"):
        estimate_flow(FRAMES, network, hold=-1)

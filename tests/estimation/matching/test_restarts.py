"""Where refinements at half the size move the flow of DIS far, it was wrong: they begin again at zero, at one size more."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flowgru import estimate_pairs
from flowgru.config import SyntheticSettings
from flowgru.config.way import RESTARTED_ITERATIONS, Way
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.geometry import resize_flow
from flowgru.estimation.matching import initial_flow, matcher
from flowgru.estimation.matching.initial_flow import InitialFlow, share_moved, was_wrong
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings

WAY = Way(2, "dis", hold=1, scales=2)
ALWAYS, NEVER = -1.0, float("inf")


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    sample = SyntheticPairs(SyntheticSettings(height=400, width=416, seed=3, most_speed=9.0, num_textures=8))[0]
    return sample.first[None], sample.second[None]


def smaller(pair: tuple[Tensor, ...], divisor: int) -> tuple[Tensor, ...]:
    """Halved as often as it takes."""
    if divisor == 1:
        return pair
    size = [side // 2 for side in pair[0].shape[2:]]
    halved = (F.interpolate(each, size, mode="bilinear", align_corners=False, antialias=True) for each in pair)
    return smaller(tuple(halved), divisor // 2)


def from_zero(network, pair: tuple[Tensor, ...], sizes: list[tuple[int, int]]) -> Tensor:
    """Refinements at each (divisor, number), each beginning where the one before has ended; the first at zero."""
    flow = None
    with torch.inference_mode():
        for divisor, count in sizes:
            frames = smaller(pair, divisor)
            start = None if flow is None else resize_flow(flow, tuple(frames[0].shape[2:]))
            flow = network(*frames, initial_flow=start, hold=1, iterations=count, final_only=True).flows[-1]
    assert flow is not None
    return flow


@pytest.mark.parametrize(
    ("divisor", "sizes"),
    [(1, [(4, RESTARTED_ITERATIONS), (2, 2), (1, 2)]), (2, [(2, RESTARTED_ITERATIONS), (1, 2)])],
)
def test_a_pair_of_which_dis_was_wrong_begins_at_zero(network, pair, monkeypatch, divisor, sizes):
    """At a quarter of the size, where half a picture can be halved once more."""
    frames = smaller(pair, divisor)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    found = PairMatcher(network, MatchSettings(WAY)).match(*frames)
    torch.testing.assert_close(found.forward[None], from_zero(network, frames, sizes), rtol=0, atol=1e-4)
    assert found.initial_flows == ("zero",) and found.num_refinements == 2
    monkeypatch.setattr(initial_flow, "MOST_MOVED", NEVER)
    kept = PairMatcher(network, MatchSettings(WAY)).match(*frames)
    assert kept.initial_flows == ("dis",) and (kept.forward - found.forward).abs().max() > 1e-3


def test_each_direction_begins_again_by_itself(network, pair, monkeypatch):
    both = MatchSettings(WAY, backward=True)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", NEVER)
    kept = PairMatcher(network, both).match(*pair)
    said = iter([False, True])
    monkeypatch.setattr(matcher, "was_wrong", lambda *_: next(said))
    found = PairMatcher(network, both).match(*pair)
    assert found.initial_flows == ("dis", "zero") and torch.equal(found.forward, kept.forward)
    expected = from_zero(network, pair[::-1], [(4, RESTARTED_ITERATIONS), (2, 2), (1, 2)])
    torch.testing.assert_close(found.backward[None], expected, rtol=0, atol=1e-4)


def test_the_gate_still_compares_with_the_flow_of_dis(network, pair, monkeypatch):
    seen: list[Any] = []
    monkeypatch.setattr("flowgru.data.polish.gate", lambda first, second, flow, start: seen.append(start) or flow)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    PairMatcher(network, MatchSettings(Way(2, "dis", scales=2, polish=True))).match(*pair)
    assert abs(seen[0]).max() > 0.1


@pytest.mark.parametrize("start", ["zero", torch.full((1, 2, 400, 416), 2.0)])
def test_no_other_initial_flow_is_wrong(network, pair, monkeypatch, start):
    asked: dict[str, Any] = dict(initial_flow=start, scales=2, iterations=2, hold=1)
    expected = estimate_pairs(*pair, network, **asked)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    assert torch.equal(estimate_pairs(*pair, network, **asked), expected)


def test_a_lack_of_memory_lets_go_of_what_beginning_again_holds(network, monkeypatch):
    pairs = PairMatcher(network, MatchSettings(WAY))
    assert pairs.restarted is not None and not pairs.restarted.encoded.maxlen
    monkeypatch.setattr(pairs.restarted.refiner, "release", lambda: True)
    assert pairs._release()


def test_how_far_is_a_share_of_the_diagonal():
    flow = torch.zeros(1, 2, 30, 40)
    moved = torch.zeros(2, 30, 40)
    moved[0, :15] = 1.0
    assert share_moved(InitialFlow("dis", flow), moved) == pytest.approx(0.5 / 50)
    assert was_wrong(InitialFlow("dis", flow), 0.8 * moved) and not was_wrong(InitialFlow("dis", flow), 0.7 * moved)
    assert not was_wrong(InitialFlow("given", flow), 9 * moved) and not was_wrong(InitialFlow("zero"), 9 * moved)
    assert not was_wrong(InitialFlow("dis", flow), moved * torch.nan)

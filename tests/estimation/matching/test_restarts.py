"""Where refinements at half the size move the flow of DIS far, it was wrong: they begin again at zero, at one size more."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flowgru import estimate_pairs
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.geometry import resize_flow
from flowgru.estimation.matching import initial_flow, matcher
from flowgru.estimation.matching.initial_flow import InitialFlow, share_moved, was_wrong
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings

WAY = Way(2, "dis", hold=1, scales=2, coarse_iterations=3)
ALWAYS, NEVER = -1.0, float("inf")


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    sample = SyntheticPairs(SyntheticSettings(height=400, width=416, seed=3, most_speed=9.0, num_textures=8))[0]
    return sample.first[None], sample.second[None]


def smaller(pair: tuple[Tensor, Tensor], divisor: int) -> tuple[Tensor, Tensor]:
    """Halved as often as it takes."""
    if divisor == 1:
        return pair
    size = [side // 2 for side in pair[0].shape[2:]]
    first, second = (F.interpolate(each, size, mode="bilinear", align_corners=False, antialias=True) for each in pair)
    return smaller((first, second), divisor // 2)


def from_zero(network, pair: tuple[Tensor, Tensor], sizes: list[tuple[int, int]]) -> Tensor:
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
    [(1, [(4, 3), (4, 3), (2, 3), (1, 2)]), (2, [(2, 3), (1, 2)])],
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
    expected = from_zero(network, (pair[1], pair[0]), [(4, 3), (4, 3), (2, 3), (1, 2)])
    assert found.backward is not None
    torch.testing.assert_close(found.backward[None], expected, rtol=0, atol=1e-4)


def test_the_gate_still_compares_with_the_flow_of_dis(network, pair, monkeypatch):
    seen: list[Any] = []
    monkeypatch.setattr("flowgru.data.polish.gate", lambda first, second, flow, start: seen.append(start) or flow)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    PairMatcher(network, MatchSettings(Way(2, "dis", scales=2, polish=True))).match(*pair)
    expected = dis_start(pair[0][0], pair[1][0]).permute(1, 2, 0)
    torch.testing.assert_close(torch.from_numpy(seen[0]), expected)


@pytest.mark.parametrize("start", ["zero", torch.full((1, 2, 400, 416), 2.0)])
def test_no_other_initial_flow_is_wrong(network, pair, monkeypatch, start):
    asked: dict[str, Any] = dict(initial_flow=start, scales=2, iterations=2, hold=1)
    expected = estimate_pairs(pair[0], pair[1], network, **asked)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    assert torch.equal(estimate_pairs(pair[0], pair[1], network, **asked), expected)


def test_what_finds_the_flow_from_zero_keeps_nothing_and_no_frame_is_encoded_for_it_before(network, pair, monkeypatch):
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    sizes: list[int] = []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda frame, **more: sizes.append(frame.shape[2]) or encode(frame, **more))
    whole = PairMatcher(network, MatchSettings(WAY, backward=True))
    whole.match(*pair, with_context=True)
    assert {size: sizes.count(size) for size in sizes} == {400: 2, 200: 2, 100: 4}  # once for each direction
    assert whole.from_zero is None and whole.at_half_size is not None and whole.at_half_size.from_zero is not None
    alone = whole.at_half_size.from_zero
    assert not alone.encoded and alone.at_half_size is None is alone.from_zero and not alone.settings.cuda_graph


def test_only_the_smallest_size_begins_again(network, pair, monkeypatch):
    """With three scales that is a quarter of the size, to which the flow of DIS is given."""
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    three = replace(WAY, scales=3)
    first, second = (F.interpolate(each, scale_factor=2.0, mode="nearest") for each in pair)
    found = PairMatcher(network, MatchSettings(three)).match(first, second)
    expected = from_zero(network, (first, second), [(8, 3), (8, 3), (4, 3), (2, 3), (1, 2)])
    assert found.initial_flows == ("zero",)
    torch.testing.assert_close(found.forward[None], expected, rtol=0, atol=1e-4)


def test_tiles_begin_again_each_with_its_own_part(network, pair, monkeypatch):
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    found = PairMatcher(network, MatchSettings(WAY, tiles=(2, 2))).match(*pair)
    assert found.initial_flows == ("zero",) and found.forward.isfinite().all()


def test_an_exported_model_has_as_many_refinements_everywhere(network, pair, monkeypatch):
    """It cannot do any other number of them."""
    counts: list[tuple[int, int]] = []
    match = network.match
    note = lambda *given, **more: counts.append((more["iterations"], more["hold"])) or match(*given, **more)  # noqa: E731
    monkeypatch.setattr(network, "match", note)
    monkeypatch.setattr(initial_flow, "MOST_MOVED", ALWAYS)
    PairMatcher(network, MatchSettings(Way(2, "dis", hold=1, scales=2))).match(*pair)
    assert counts == 5 * [(2, 1)]


def test_how_far_is_a_share_of_the_diagonal():
    flow = torch.zeros(1, 2, 30, 40)
    moved = torch.zeros(2, 30, 40)
    moved[0, :15] = 1.0
    assert share_moved(InitialFlow("dis", flow), moved) == pytest.approx(0.5 / 50)
    assert was_wrong(InitialFlow("dis", flow), 0.8 * moved) and not was_wrong(InitialFlow("dis", flow), 0.7 * moved)
    assert not was_wrong(InitialFlow("given", flow), 9 * moved) and not was_wrong(InitialFlow("zero"), 9 * moved)
    assert not was_wrong(InitialFlow("dis", flow), moved * torch.nan)

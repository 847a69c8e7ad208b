"""Chains of flows: where they lead, when a point is hidden, and which chain is believed."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from flowgru.estimation.matching.matcher import PairMatcher, PairResult
from flowgru.estimation.stream import StreamFrame
from flowgru.tracking.chains import Followed, Link, begin, best_of, extend
from flowgru.tracking.tracker import follow

SIZE = (20, 30)
POINTS = torch.tensor([[4.0, 5.0], [10.5, 12.25]])


def constant(u: float, v: float) -> Tensor:
    return torch.tensor([float(u), float(v)])[:, None, None].expand(2, *SIZE).contiguous()


def test_a_link_leads_where_the_flow_at_the_point_leads():
    ramp = torch.stack([0.1 * torch.arange(30.0).expand(SIZE), torch.zeros(SIZE)])
    found = extend(begin(POINTS), Link(ramp, torch.zeros(2, *SIZE)))
    torch.testing.assert_close(found.positions, POINTS + torch.tensor([[0.4, 0.0], [1.05, 0.0]]))
    gap = torch.tensor([0.2**2 + 0.4**2 + 0.6**2, 0.85**2 + 1.05**2 + 1.25**2]) / 3  # around the points, 2 px away
    torch.testing.assert_close(found.variance, 0.01 + gap / 4)
    assert found.visible.tolist() == [True, False]  # the second disagrees by more than flows that belong together do


def test_a_point_that_leaves_the_picture_is_hidden_and_its_guess_goes_on():
    there, back = constant(0, -3), constant(0, 3)
    once = extend(begin(POINTS), Link(there, back))
    twice = extend(once, Link(there, back))
    thrice = extend(twice, Link(there, back))
    assert once.visible.tolist() == [True, True] and twice.visible.tolist() == [False, True]
    assert twice.positions[0].tolist() == [4, -1] and thrice.positions[0].tolist() == [4, -4]
    assert thrice.num_hidden.tolist() == [2, 0]


def test_a_point_on_the_edge_that_trembles_is_still_seen():
    """Pixels reach half a pixel beyond their centres."""
    corners = torch.tensor([[0.0, 0.0], [29.0, 19.0]])
    for step, seen in ((0.4, True), (0.6, False)):
        there, back = constant(0, 0), constant(0, 0)
        there[:, :, :15], there[:, :, 15:] = -step, step
        back[:, :, :15], back[:, :, 15:] = step, -step
        assert extend(begin(corners), Link(there, back)).visible.tolist() == [seen, seen]


def test_a_flow_that_is_not_finite_hides_the_point():
    broken = constant(1, 0)
    broken[:, :, 8:] = torch.nan
    chains = [extend(begin(POINTS), Link(flow, -constant(1, 0))) for flow in (broken, constant(1, 0))]
    assert chains[0].visible.tolist() == [True, False]
    chosen = best_of(chains)
    assert chosen.visible.all() and torch.equal(chosen.positions, POINTS + torch.tensor([1.0, 0.0]))
    beyond = extend(chains[0], Link(constant(1, 0), -constant(1, 0)))  # from a place that is not a number
    assert beyond.visible.tolist() == [True, False]


def test_the_chain_with_fewest_hidden_links_and_then_of_least_variance_is_believed():
    def chain(hidden: Sequence[int], variance: Sequence[float], place: float) -> Followed:
        return Followed(torch.full((3, 2), place), torch.tensor(hidden), torch.tensor(variance))

    chains = [chain([0, 1, 2], [3.0, 0.1, 0.2], 1.0), chain([0, 0, 2], [1.0, 9.0, 0.1], 2.0)]
    chosen = best_of(chains)
    assert chosen.positions[:, 0].tolist() == [2.0, 2.0, 2.0]
    assert chosen.num_hidden.tolist() == [0, 0, 2] and chosen.variance.tolist() == pytest.approx([1.0, 9.0, 0.1])


@pytest.mark.parametrize("variance", [float("nan"), float("inf")])
def test_a_chain_over_which_a_point_is_hidden_less_is_believed_whatever_its_variance(variance):
    def chain(hidden: int, variance: float, place: float) -> Followed:
        return Followed(torch.full((1, 2), place), torch.tensor([hidden]), torch.tensor([variance]))

    chosen = best_of([chain(1, 0.1, 1.0), chain(0, variance, 2.0)])
    assert chosen.positions[0, 0] == 2 and chosen.num_hidden[0] == 0
    assert best_of([chosen, chain(0, 3.0, 3.0)]).positions[0, 0] == 3


def test_a_model_that_is_less_sure_adds_more():
    link = Link(constant(1, 0), constant(-1, 0), torch.full(SIZE, 0.5))
    sure, unsure = extend(begin(POINTS), link._replace(confidence=None)), extend(begin(POINTS), link)
    torch.testing.assert_close(unsure.variance, 2 * sure.variance)


def result(forward: Tensor, backward: Tensor) -> PairResult:
    return PairResult(forward, backward, None, 1, ("zero", "zero"), (None, None))


class Matcher(PairMatcher):
    """Gives the flows that a function of two frames' numbers says, and notes which were asked for."""

    def __init__(self, flows: Callable[[int, int], PairResult]) -> None:
        self.device = torch.device("cpu")
        self.flows, self.asked = flows, []

    def match(self, first: Tensor, second: Tensor, *_starts: Any, **_options: Any) -> PairResult:
        pair = int(first.flatten()[0]), int(second.flatten()[0])
        self.asked.append(pair)
        return self.flows(*pair)


def clip(num_frames: int, segments: Sequence[int] = ()) -> list[StreamFrame]:
    segments = [*segments, *[0] * (num_frames - len(segments))]
    return [StreamFrame(torch.full((1, 3, *SIZE), float(n)), n, segments[n]) for n in range(num_frames)]


def followed(matcher: Any, frames: Sequence[StreamFrame], strides: Sequence[int]) -> list[Followed]:
    return [each.points for each in follow(frames, POINTS[:1], matcher, strides)]


def test_short_flows_that_drift_and_disagree_yield_to_long_ones():
    def flows(first: int, second: int) -> PairResult:
        true = 0.5 * (second - first)
        error = 0.4 if second - first < 4 else 0.0
        return result(constant(true + error, 0), constant(-true, 0))

    frames = clip(9)
    plain, chosen = (followed(Matcher(flows), frames, strides)[-1].positions[0, 0] for strides in ((1,), (1, 2, 4)))
    assert plain == pytest.approx(4 + 0.5 * 8 + 0.4 * 8) and chosen == pytest.approx(4 + 0.5 * 8)


def test_what_was_hidden_for_less_than_the_longest_stride_is_found_again():
    def flows(first: int, second: int) -> PairResult:
        hidden = {4, 5} & {first, second}
        return result(constant(second - first, 0), constant(first - second, 5.0 if hidden else 0.0))

    seen = [bool(each.visible[0]) for each in followed(Matcher(flows), clip(9), (1, 2, 4))]
    assert seen == [True] * 4 + [False] * 2 + [True] * 3
    seen = [bool(each.visible[0]) for each in followed(Matcher(flows), clip(9), (1, 2))]
    assert seen == [True] * 4 + [False] * 5


def test_only_the_strides_are_asked_for_and_nothing_older_is_kept():
    matcher = Matcher(lambda first, second: result(constant(0, 0), constant(0, 0)))
    frames = clip(12)
    assert len(followed(matcher, frames, (1, 2, 4))) == 12
    assert sorted(matcher.asked) == sorted((n - s, n) for n in range(12) for s in (1, 2, 4) if n >= s)


def test_tracks_end_where_no_flow_leads_on():
    matcher = Matcher(lambda first, second: result(constant(0, 0), constant(0, 0)))
    assert len(followed(matcher, clip(6, segments=[0, 0, 0, 1, 1, 1]), (1, 2))) == 3

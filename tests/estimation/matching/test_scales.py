"""A flow that is refined at half the size first begins at full size where that has led, in every way to a flow."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from media import noisy_frames
from torch import Tensor

from flowgru import estimate_flow, estimate_pairs
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.formats.images import level_tensor
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import MachineError, RequestError
from flowgru.estimation.geometry import resize_flow
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.model.correlation.all_pairs import pyramid_bytes
from flowgru.model.correlation.choice import MatchPlan

SIZE = (200, 216)
SHORT: dict[str, Any] = dict(iterations=2, hold=1)


@pytest.fixture(scope="module")
def pair():
    sample = SyntheticPairs(SyntheticSettings(height=SIZE[0], width=SIZE[1], seed=3, most_speed=9.0, num_textures=8))[0]
    return sample.first[None], sample.second[None]


def refined(network, first: Tensor, second: Tensor, start: Tensor | None) -> Tensor:
    return network(first, second, initial_flow=start, final_only=True, **SHORT).flows[-1]


def smaller(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)


def by_hand(network, pair: tuple[Tensor, Tensor], start: Tensor | None) -> Tensor:
    """Two scales as their definition says, without the parts that estimation is made of."""
    half = SIZE[0] // 2, SIZE[1] // 2
    with torch.inference_mode():
        begun = None if start is None else F.avg_pool2d(start, 2) / 2
        found = refined(network, smaller(pair[0], half), smaller(pair[1], half), begun)
        return refined(network, *pair, resize_flow(found, SIZE))


@pytest.mark.parametrize("initial_flow", ["dis", "zero", "given"])
def test_two_scales_are_their_definition(network, pair, monkeypatch, initial_flow):
    monkeypatch.setattr("flowgru.estimation.matching.initial_flow.MOST_MOVED", 1.0)
    starts = {"dis": dis_start(pair[0][0], pair[1][0])[None], "zero": None, "given": torch.full((1, 2, *SIZE), 2.0)}
    start = starts[initial_flow]
    given = start if initial_flow == "given" else initial_flow
    found = estimate_pairs(pair[0], pair[1], network, initial_flow=given, scales=2, **SHORT)
    torch.testing.assert_close(found, by_hand(network, pair, start), rtol=0, atol=1e-5)
    at_once = estimate_pairs(pair[0], pair[1], network, initial_flow=given, scales=1, **SHORT)
    assert (found - at_once).abs().max() > 1e-3


def test_the_gate_compares_with_the_initial_flow_and_not_with_that_of_half_the_size(network, pair, monkeypatch):
    seen = []
    monkeypatch.setattr("flowgru.data.polish.gate", lambda first, second, flow, start: seen.append(start) or flow)
    estimate_pairs(pair[0], pair[1], network, initial_flow="dis", scales=2, polish=True, **SHORT)
    expected = dis_start(pair[0][0], pair[1][0]).permute(1, 2, 0)
    torch.testing.assert_close(torch.from_numpy(seen[0]), expected)


def test_a_picture_too_small_to_be_halved_has_one_scale(network):
    frames = noisy_frames(2, 190, 250)
    (found,) = estimate_flow(frames, network, initial_flow="zero", scales=2, **SHORT)
    (expected,) = estimate_flow(frames, network, initial_flow="zero", scales=1, **SHORT)
    assert torch.equal(found, expected)


def test_a_third_scale_is_one_more_only_where_the_picture_is_large_enough(network, pair):
    first, second = map(doubled, pair)
    two, three, four = (
        estimate_pairs(first, second, network, initial_flow="zero", scales=scales, **SHORT) for scales in (2, 3, 4)
    )
    assert (two - three).abs().max() > 1e-3 and torch.equal(three, four)


def doubled(picture: Tensor) -> Tensor:
    return F.interpolate(picture, scale_factor=2.0, mode="nearest")


def matched(network, frames: list[Tensor], **settings: Any) -> list[Any]:
    """The results of the pairs of a clip, and how often a picture of each height was encoded."""
    heights = []
    encode = network.encode
    network.encode = lambda picture, **more: heights.append(picture.shape[2]) or encode(picture, **more)
    try:
        matcher = PairMatcher(network, MatchSettings(Way(2, hold=1, scales=2), **settings))
        results, starts = [], (None, None)
        for first, second in pairwise(frames):
            results.append(matcher.match(first, second, starts, with_context=True))
            starts = results[-1].carried + (None,) * (2 - len(results[-1].carried))
    finally:
        del network.encode
    return [results, {height: heights.count(height) for height in heights}]


def test_each_frame_is_encoded_once_at_each_size(network, pair):
    frames = [*pair, pair[0].flip(2), pair[1].flip(3)]
    results, times = matched(network, frames)
    assert times == {200: 4, 100: 4}
    alone = estimate_pairs(frames[2], frames[3], network, initial_flow="zero", scales=2, **SHORT)
    torch.testing.assert_close(results[2].forward, alone[0], rtol=0, atol=1e-5)


def test_the_way_back_has_its_own_flow_of_half_the_size(network, pair):
    (result,), times = matched(network, [*pair], backward=True)
    assert times == {200: 2, 100: 2}
    torch.testing.assert_close(result.backward[None], by_hand(network, pair[::-1], None), rtol=0, atol=1e-5)


def test_a_pair_that_begins_at_the_flow_before_is_not_halved(network, pair):
    (first, second), times = matched(network, [*pair, pair[0]], warm_start=True)
    assert times == {200: 3, 100: 2}
    torch.testing.assert_close(first.forward[None], by_hand(network, pair, None), rtol=0, atol=1e-5)
    with torch.inference_mode():
        start = first.carried[0].coarse[0]
        expected = network(pair[1], pair[0], initial_coarse=start, final_only=True, **SHORT).flows[-1]
    torch.testing.assert_close(second.forward[None], expected, rtol=0, atol=1e-5)


def test_resized_frames_are_halved_from_the_size_that_is_computed(network, pair):
    first, second = map(doubled, pair)
    matcher = PairMatcher(network, MatchSettings(Way(2, hold=1, scales=2), resize=0.5))
    found = matcher.match(first, second).forward
    expected = (
        PairMatcher(network, MatchSettings(Way(2, hold=1, scales=2)))
        .match(smaller(first, SIZE), smaller(second, SIZE))
        .forward
    )
    torch.testing.assert_close(found[None], resize_flow(expected[None], (400, 432)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "tiles", "at_half_size"),
    [((400, 432), (2, 3), (1, 2)), ((200, 330), (1, 3), (1, 1)), ((416, 200), (4, 1), (1, 1))],
)
def test_half_the_size_is_computed_in_tiles_of_as_many_pixels_that_are_not_too_small(
    network, pair, size, tiles, at_half_size
):
    heights = []
    encode = network.encode
    network.encode = lambda picture, **more: heights.append(picture.shape[2]) or encode(picture, **more)
    try:
        first, second = (smaller(each, size) for each in pair)
        found = PairMatcher(network, MatchSettings(Way(1, scales=2), tiles=tiles)).match(first, second)
    finally:
        del network.encode
    assert len(heights) == 2 * (tiles[0] * tiles[1] + at_half_size[0] * at_half_size[1])
    assert found.forward.isfinite().all()


def test_a_lack_of_memory_at_half_the_size_makes_the_plans_for_both_sizes_smaller(network, pair, monkeypatch):
    matcher, plans = PairMatcher(network, MatchSettings(Way(1, scales=2))), []
    match = network.match

    def lacking(*given: Any, **more: Any) -> Any:
        plans.append(more["plan"].correlation)
        if plans == ["auto"]:
            raise MemoryError
        return match(*given, **more)

    monkeypatch.setattr(network, "match", lacking)
    with pytest.warns(UserWarning, match=r"frames of 200x216 .* with the correlation on demand"):
        matcher.match(pair[0], pair[1])
    assert plans == ["auto", "on_demand", "on_demand"]


def test_a_lack_of_memory_at_full_size_lets_go_of_what_is_encoded_at_half_the_size(network, pair, monkeypatch):
    matcher = PairMatcher(network, MatchSettings(Way(1, scales=2), on_lack="fail"))
    match, half = network.match, matcher.at_half_size
    assert half is not None

    def lacking(first: Any, *given: Any, **more: Any) -> Any:
        if first.picture_shape[2] == SIZE[0]:
            raise MemoryError
        return match(first, *given, **more)

    monkeypatch.setattr(network, "match", lacking)
    with pytest.raises(MachineError):
        matcher.match(pair[0], pair[1], with_context=True)
    assert not half.encoded


@pytest.mark.parametrize(("scales", "size"), [(1, None), (2, (100, 108))])
def test_of_a_frame_that_is_remembered_only_half_the_size_is_kept_as_a_picture(network, scales, size):
    frames = [level_tensor(frame)[None] for frame in noisy_frames(2, *SIZE)]
    matcher = PairMatcher(network, MatchSettings(Way(1, scales=scales), backward=True), remembers=2)
    matcher.match(frames[0], frames[1], with_context=True)
    for frame, given in zip(matcher.encoded, frames, strict=True):
        kept = [each for each in frame if isinstance(each, Tensor) and each is not given]
        assert frame.image is given and [tuple(each.shape[2:]) for each in kept] == ([size] if size else [])
    if matcher.at_half_size is not None:
        assert [each.image for each in matcher.at_half_size.encoded] == [each.half for each in matcher.encoded]


def test_a_flow_of_half_the_size_that_is_not_finite_is_none_at_full_size_either(network, pair):
    with network.flow_head.register_forward_hook(lambda head, given, change: change * torch.nan):
        alone, halved = (
            estimate_pairs(pair[0], pair[1], network, initial_flow="zero", scales=each, **SHORT) for each in (1, 2)
        )
    assert alone.isnan().all() and halved.isnan().all()


def test_what_more_scales_keep_is_expected(network):
    plan = MatchPlan("on_demand")
    one, two, three = (network.expected_memory(1080, 1920, scales=each, plan=plan).num_bytes for each in (1, 2, 3))
    assert one < two < three < 1.5 * one and (two - one) / 4 == pytest.approx(three - two, rel=0.01)


def test_the_correlation_of_all_pairs_at_half_the_size_is_expected(network):
    """Where the whole is too large for it, and computed on demand."""
    pyramid = pyramid_bytes(1, 88, 155, network.sizes.correlation_levels)
    expected = [
        network.expected_memory(1400, 2480, scales=scales, plan=MatchPlan(memory_budget=budget))
        for scales, budget in ((1, pyramid), (2, pyramid), (2, pyramid - 1))
    ]
    assert [each.method for each in expected] == 3 * ["on_demand"]
    one, two, on_demand = (each.num_bytes for each in expected)
    assert on_demand - one < pyramid / 4 and two - one > pyramid / 2


def counts_of(network, way, frames, **settings):
    """Refinements and held refinements of every match on a clip."""
    counts, starts = [], [None]
    match = network.match
    network.match = lambda *given, **more: counts.append((more["iterations"], more["hold"])) or match(*given, **more)
    try:
        matcher = PairMatcher(network, MatchSettings(way, **settings))
        for first, second in pairwise(frames):
            starts = matcher.match(first, second, starts, with_context=True).carried
    finally:
        del network.match
    return counts


def test_the_smaller_sizes_have_a_number_of_refinements_of_their_own(network, pair):
    assert counts_of(network, Way(1, hold=2, scales=2, coarse_iterations=3), pair) == [(3, 2), (1, 2)]


def test_a_pair_that_is_not_halved_has_the_larger_number_of_refinements(network, pair):
    way = Way(1, hold=2, scales=2, coarse_iterations=3)
    small = [smaller(each, (184, 200)) for each in pair]
    assert counts_of(network, way, small) == [(3, 2)]
    assert counts_of(network, replace(way, iterations=4), small) == [(4, 2)]
    frames = [*pair, pair[0]]
    assert counts_of(network, way, frames, warm_start=True) == [(3, 2), (1, 2), (3, 2)]


@pytest.mark.parametrize("scales", [0, 7, 1.5, "2"])
def test_no_number_of_scales_is_refused_in_one_line(network, pair, scales):
    with pytest.raises(RequestError, match=r"scales is .*from 1 to 6"):
        estimate_pairs(pair[0], pair[1], network, scales=scales)
    if type(scales) is int:
        with pytest.raises(RequestError, match=r"scales is .*: it must be from 1 to 6"):
            replace(Way(), scales=scales)

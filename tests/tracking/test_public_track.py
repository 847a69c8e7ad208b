"""`flowgru.track`: a stream of frames and points in any form in, where they are in each frame out."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from made_inputs import refused
from media import noisy_frames

import flowgru
from flowgru.config.way import Way
from flowgru.data.formats.images import to_tensor
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.tracking.points import grid_points


def test_a_grid_does_not_depend_on_the_default_type(still):
    frames = noisy_frames(2)
    expected = [*flowgru.track(frames, 2, still)]
    torch.set_default_dtype(torch.float64)
    try:
        found = [*flowgru.track(frames, 2, still)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a.positions, b.positions) for a, b in zip(found, expected, strict=True))


def test_a_stream_is_followed_as_it_comes(still):
    read = []

    def frames():
        for number, frame in enumerate(noisy_frames(6)):
            read.append(number)
            yield frame

    found = flowgru.track(frames(), [[1, 2], [3.5, 4]], still, iterations=1)
    first = next(found)
    assert first.positions.tolist() == [[1, 2], [3.5, 4]] and first.visible.all() and len(read) <= 2
    assert len([*found]) == 5


@pytest.mark.parametrize(
    "points",
    [np.array([[1, 2], [3, 4]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [(1, 2), (3, 4)], ((1, 2), (3, 4)), 3],
    ids=["array", "tensor", "list", "tuple", "grid"],
)
def test_points_come_in_every_form(still, points):
    *_, last = flowgru.track(noisy_frames(2), points, still, iterations=1)
    expected = grid_points(3, 48, 64) if isinstance(points, int) else torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(last.positions, expected) and last.positions.dtype == torch.float32 and bool(last.visible.all())


@pytest.mark.parametrize(
    "points",
    [None, "a.csv", [], [[1]], [["a", "b"]], np.zeros((0, 2)), np.zeros((2, 3)), 0, 5000, [[64, 0]], [[np.nan, 0]]],
    ids=repr,
)
def test_what_are_no_points_is_refused(still, points):
    assert "point" in refused(lambda: flowgru.track(noisy_frames(2), points, still))


@pytest.mark.parametrize(
    "options",
    [
        *({"strides": (2,)}, {"strides": ()}, {"strides": 2}, {"hold": -1}),
        *({"initial_flow": "warm"}, {"initial_flow": np.zeros((2, 64, 96))}),
    ],
)
def test_settings_that_make_no_sense_are_refused(still, options):
    refused(lambda: flowgru.track(noisy_frames(2), 2, still, **options))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_results_and_points_may_be_changed_while_a_clip_is_followed(still, kind):
    """Chains go on from where the points were, and not from what the caller has made of them."""
    points = kind([[30.0, 20.0]])
    points = points.astype(np.float32) if kind is np.array else points
    found = []
    for each in flowgru.track(noisy_frames(4), points, still, iterations=1):
        found.append(each.positions.tolist())
        each.positions.div_(64)
        each.visible.fill_(False)
        points += 1
    assert found == [[[30.0, 20.0]]] * 4


@pytest.mark.parametrize("remembers", [2, 9])
def test_a_matcher_that_remembers_frames_gives_the_same_flow(remembers, network_of_pairs):
    frames = [to_tensor(frame)[None] for frame in noisy_frames(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    plain, kept = (network_of_pairs(number) for number in (1, remembers))
    for first, second in pairs:
        expected, found = (each.match(frames[first], frames[second], with_context=True) for each in (plain, kept))
        assert torch.equal(found.forward, expected.forward) and torch.equal(found.backward, expected.backward)


@pytest.fixture
def network_of_pairs(model: str) -> Callable[[int], PairMatcher]:
    network = flowgru.load_model(model, "cpu")
    return lambda remembers: PairMatcher(network, MatchSettings(Way(1), backward=True), remembers=remembers)

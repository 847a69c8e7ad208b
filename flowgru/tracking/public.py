"""What `import flowgru` gives to follow points: `track`."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool, Float32
from torch import Tensor

from flowgru.config.estimation import STRIDES, check_strides
from flowgru.config.way import COMPUTED, resolve_way
from flowgru.errors import RequestError
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.public.flows import checked_way, opened
from flowgru.estimation.public.frames import open_stream
from flowgru.estimation.stream import StreamFrame
from flowgru.tracking.points import given_points
from flowgru.tracking.tracker import follow


class TrackedPoints(NamedTuple):
    """Where the points are in one frame."""

    positions: Float32[Tensor, "P 2"]
    """x to the right and y down, in pixels; of a point that is not seen it is a guess, perhaps outside the frame."""
    visible: Bool[Tensor, "P"]
    """Whether each point is seen in the frame, and not hidden or outside it."""


def track(
    frames: Any,
    points: Any,
    model: Any = None,
    *,
    strides: Any = STRIDES,
    iterations: Any = None,
    initial_flow: Any = None,
    hold: Any = None,
    polish: Any = None,
    scales: Any = None,
    coarse_iterations: Any = None,
    tiles: tuple[int, int] = (1, 1),
) -> Iterator[TrackedPoints]:
    """Where points of the first frame are in each frame: N frames give N results, the first one the points themselves.

    frames: a clip, as estimate_flow takes it.
    points: an array, tensor or list [P, 2] of x and y in pixels, (0, 0) the centre of the top left pixel; or a whole number
    N for N rows of N points, evenly spaced.
    strides: over how many frames a flow may lead, ascending from 1. Each point reaches a frame by the chain of flows that
    agrees best with the flows back, and of which the model is surest, where it says so (see flowgru.tracking.chains); a
    point that was hidden for less than the longest stride is found again.
    initial_flow: "dis" or "zero". The other arguments are those of estimate_flow.

    Two flows are computed for each frame and stride, and as many frames as the longest stride are kept. The results end
    early where a clip changes its size. RequestError and InputFileError as of estimate_flow, and where a point is outside
    the first frame.
    """
    if not isinstance(strides, Sequence):
        raise RequestError(f"strides is {strides!r}: expected numbers of frames, such as (1, 2, 4)")
    check_strides(tuple(strides), "strides")
    if not (initial_flow is None or (isinstance(initial_flow, str) and initial_flow in COMPUTED)):
        raise RequestError("initial_flow of track is neither dis nor zero: flows of one's own belong to estimate_flow")
    wanted = checked_way(iterations, initial_flow, hold, polish, scales, coarse_iterations)
    stream = open_stream(frames)
    first = next(stream)
    # Chains go on from these tensors and from what is yielded, which whoever holds them may change.
    positions = given_points(points, *first.image.shape[2:]).clone()
    network = opened(model)
    way = resolve_way(getattr(network, "card", None), **wanted)
    settings = MatchSettings(way, backward=True, tiles=tiles, can_resize=False, confidence=True)
    matcher = PairMatcher(network, settings, remembers=strides[-1] + 1)

    def all_frames() -> Iterator[StreamFrame]:
        yield first
        yield from stream

    followed = follow(all_frames(), positions, matcher, strides)
    return (TrackedPoints(each.points.positions.to("cpu", copy=True), each.points.visible.cpu()) for each in followed)

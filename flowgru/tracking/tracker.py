"""Follows points through a stream of frames, in memory that does not grow with it."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.stream import StreamFrame, are_pair
from flowgru.tracking.chains import Followed, Link, begin, best_of, extend


class FollowedFrame(NamedTuple):
    """A frame, and where the points are in it."""

    frame: StreamFrame
    points: Followed


def follow(
    frames: Iterable[StreamFrame], points: Float[Tensor, "P 2"], matcher: PairMatcher, strides: Sequence[int]
) -> Iterator[FollowedFrame]:
    """Where the points of the first frame are in each frame, the first one included.

    matcher: estimates both flows of a pair; it remembers as many frames as the longest stride and one more, so that none is
    encoded twice.
    strides: over how many frames a link of a chain may lead; ascending, the first is 1.

    Ends where no flow leads on: at a frame of another segment or size.
    """
    window: deque[FollowedFrame] = deque(maxlen=strides[-1])
    for frame in frames:
        if not window:
            followed = begin(points.to(matcher.device))
        elif not are_pair(window[-1].frame, frame):
            return
        else:
            sources = [window[-stride] for stride in strides if stride <= len(window)]
            followed = best_of([extend(source.points, _link(source.frame, frame, matcher)) for source in sources])
        window.append(FollowedFrame(frame, followed))
        yield window[-1]


def _link(first: StreamFrame, second: StreamFrame, matcher: PairMatcher) -> Link:
    result = matcher.match(first.image, second.image, with_context=True)
    assert result.backward is not None
    return Link(result.forward, result.backward, result.confidence)

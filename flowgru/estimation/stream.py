"""Flow between the frames of a stream, each frame encoded once; memory does not grow with the stream."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.data.formats.images import as_images
from flowgru.estimation.matching.initial_flow import InitialFlow, going_on
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.model.pair_network import PairNetwork
from flowgru.types import Images, Levels

MIN_CUT_DIFFERENCE = 0.1
"""Difference between two frames' thumbnails, in [0, 1], above which they show different scenes."""


class StreamFrame(NamedTuple):
    """A frame on its way through the network."""

    image: Images | Levels
    """[1, 3, H, W]."""
    source: Any
    """What the caller knows the frame by."""
    segment: int = 0
    """Frames of different segments, or sizes, make no pair."""


class PairFlow(NamedTuple):
    """The flow between two neighbouring frames, in their own pixels."""

    first: Any
    second: Any
    forward: Float[Tensor, "2 H W"]
    """The flow from the first to the second frame."""
    backward: Float[Tensor, "2 H W"] | None
    """The flow from the second to the first frame, where it was asked for."""
    confidence: Float[Tensor, "H W"] | None = None
    """How sure the network is of the forward flow, see FlowPrediction; None where it does not say, or nobody asks."""
    num_refinements: int = 0
    """Number of refinements of the forward flow, in the tile that took most."""
    initial_flows: tuple[str, ...] = ()
    """Where the forward flow began, and the backward flow if there is one: see InitialFlow.name."""
    carried: tuple[InitialFlow | None, ...] = ()
    """Where the next pair begins where it goes on after this one, by direction, see PairResult; nowhere after a cut."""


class Handover:
    """What each pair hands to the next one, by direction: where its flow leads, and what a network remembers of it.

    A pair across a cut gets nothing and hands on nothing: its flow has no meaning.
    """

    def __init__(self) -> None:
        self.carried: Sequence[InitialFlow | None] = ()
        """What the next pair gets; empty where that is nothing."""
        self._is_cut: Callable[[], bool] | None = None
        """Of the pair that has begun, which it is only asked where there is something to hand over."""

    def starts(
        self,
        first: Images | Levels,
        second: Images | Levels,
        given: Sequence[Callable[[], InitialFlow | None]],
    ) -> list[InitialFlow | None]:
        """Where each direction of a pair begins: at what it gets, else as `given` says."""
        self._is_cut = cache(lambda: _is_cut(first, second))
        got, self.carried = self._unless_cut(self.carried), ()
        return [going_on(each, other) for each, other in zip_longest(got[: len(given)], given)]

    def take(self, carried: Sequence[InitialFlow | None]) -> None:
        """What that pair has carried along, see PairResult."""
        self.carried, self._is_cut = self._unless_cut(carried), None  # and lets go of its frames

    def _unless_cut(self, carried: Sequence[InitialFlow | None]) -> Sequence[InitialFlow | None]:
        assert self._is_cut is not None
        return carried if any(carried) and not self._is_cut() else ()


@runtime_checkable
class PairGiven(Protocol):
    """Says where the flow of a pair begins."""

    def __call__(self, source: Any, size: tuple[int, ...], /, *, backward: bool) -> InitialFlow:
        """source: of the pair's first frame. size: (height, width) of the frames. backward: which of the two flows."""
        ...


def pair_flows(
    frames: Iterable[StreamFrame], network: PairNetwork, settings: MatchSettings, *, given: PairGiven | None = None
) -> Iterator[PairFlow]:
    """The flow of every pair of neighbouring frames of one segment and size.

    settings: with warm_start each pair begins at the previous pair's flow; the first pair, a pair across a cut and the one
    after it have none.
    given: where each pair and direction begins, which is asked once for each; the way's initial flow "given" needs it.

    A network with a memory (network.memory) carries it from each forward flow to the next, and begins anew with it in the
    same places.

    An error of the stream is raised after the pairs of the frames that came before it.
    """
    return matched_flows(frames, PairMatcher(network, settings), given=given)


def matched_flows(
    frames: Iterable[StreamFrame],
    matcher: PairMatcher,
    *,
    given: PairGiven | None = None,
    known: Callable[[Any], Sequence[InitialFlow | None] | None] = lambda source: None,
) -> Iterator[PairFlow]:
    """`pair_flows` by a matcher that may have matched other frames before.

    known: says of a pair, by the source of its first frame, that its flow is known already and not to be given: where the
    next pair begins then if it goes on, by direction. None for a pair that is to be matched.
    """
    directions = (False, True)[: 1 + matcher.settings.backward]
    previous, handover = None, Handover()
    for frame, following in _with_following(frames):
        starts_pair = following is not None and are_pair(frame, following)
        if previous is None:
            previous, handover.carried = frame if starts_pair else None, ()
            continue
        if (carried_on := known(previous.source)) is not None:
            previous, handover.carried = frame if starts_pair else None, carried_on
            continue
        size = tuple(frame.image.shape[2:])
        given_starts = [None if given is None else given(previous.source, size, backward=each) for each in directions]
        starts = handover.starts(previous.image, frame.image, [lambda start=start: start for start in given_starts])
        result = matcher.match(previous.image, frame.image, starts, with_context=starts_pair)
        handover.take(result.carried)
        # In inference mode none of them could be trained with, or changed in place.
        flow, back, sure = (None if part is None else part.clone() for part in result[:3])
        assert flow is not None
        pair = PairFlow(previous.source, frame.source, flow, back, sure, result.num_refinements, result.initial_flows)
        yield pair._replace(carried=tuple(handover.carried))
        previous = frame if starts_pair else None


def read_ahead(frames: Iterator[StreamFrame], device: torch.device) -> Generator[StreamFrame]:
    """The same frames; the next one is read in a thread while the caller works on the one before.

    For a GPU they lie in memory that it copies from by itself. An error is raised where its frame would have come.
    """

    def following() -> StreamFrame | None:
        frame = next(frames, None)
        return frame if frame is None or device.type != "cuda" else frame._replace(image=frame.image.pin_memory())

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="frames") as pool:
        coming = pool.submit(following)
        while (frame := coming.result()) is not None:
            coming = pool.submit(following)
            yield frame


def _with_following(frames: Iterable[StreamFrame]) -> Iterator[tuple[StreamFrame, StreamFrame | None]]:
    """Each frame with the one after it; an error waits until the frames before it have been given."""
    stream = iter(frames)
    current = next(stream, None)
    while current is not None:
        error = None
        try:
            following = next(stream, None)
        except Exception as met:
            following, error = None, met
        yield current, following
        if error is not None:
            raise error
        current = following


def are_pair(first: StreamFrame, second: StreamFrame) -> bool:
    """Whether flow leads from one frame to the other: they are of one segment and size."""
    return first.segment == second.segment and first.image.shape == second.image.shape


def _is_cut(first: Images | Levels, second: Images | Levels) -> bool:
    """Whether two frames show different scenes: grey thumbnails of 16x16 pixels differ by MIN_CUT_DIFFERENCE on average.

    Too eager on purpose: at a false cut the refinement merely begins where it does without a warm start.
    """
    pictures = map(as_images, (first, second))
    thumbnails = [F.adaptive_avg_pool2d(picture.mean(dim=1, keepdim=True), 16) for picture in pictures]
    return (thumbnails[0] - thumbnails[1]).abs().mean().item() > MIN_CUT_DIFFERENCE

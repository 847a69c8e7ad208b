"""Flow between the frames of a stream, each frame encoded once; memory does not grow with the stream."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.data.images import to_tensor
from flowgru.errors import RequestError
from flowgru.grid import splat
from flowgru.model.flow_network import EncodedFrame, FlowNetwork
from flowgru.tasks.flow_geometry import resize_flow
from flowgru.types import CoarseFlow, Images

Precision = Literal["32", "bf16", "16"]

CUT = 0.1
"""Difference between two frames' thumbnails, in [0, 1], above which a warm start does not carry over."""


class StreamFrame(NamedTuple):
    """A frame on its way through the network."""

    image: Images
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
    """From the first to the second frame."""
    backward: Float[Tensor, "2 H W"] | None
    """From the second to the first, where it was asked for."""


def estimate_flow(
    frames: Iterable[Any], model: FlowNetwork, *, iterations: int | None = None, warm_start: bool = False
) -> Iterator[Float[Tensor, "2 H W"]]:
    """Flow from each frame to the next, float32 [2, H, W] in pixels: N frames give N - 1 flows.

    frames: uint8 arrays [H, W, 3] (RGB), PIL pictures, or tensors [3, H, W] in [0, 1], all of one size. They are read
    one ahead of the flow.
    iterations: refinements of each flow; None takes the number in the model's card, else 12.
    warm_start: begin each refinement at the previous pair's flow, carried along by itself.

    Runs on the model's device. RequestError where a frame is none of these, where sizes differ, or where there are
    fewer than two frames.
    """
    iterations = card_iterations(model) if iterations is None else iterations
    if iterations < 1:
        raise RequestError(f"iterations is {iterations}: at least 1 refinement is needed")
    pairs = pair_flows(_stream(frames), model, iterations=iterations, warm_start=warm_start)
    return (pair.forward for pair in pairs)


def card_iterations(model: FlowNetwork) -> int:
    """The number of refinements that the model's card recommends, else 12. RequestError where it is no number."""
    iterations = (getattr(model, "card", None) or {}).get("iterations", 12)
    if not isinstance(iterations, int) or iterations < 1:
        raise RequestError(f"the model's card has iterations {iterations!r}: expected a whole number above 0")
    return iterations


def _stream(frames: Iterable[Any]) -> Iterator[StreamFrame]:
    before, index = None, -1
    for index, frame in enumerate(frames):
        try:
            image = to_tensor(frame)[None]
        except RequestError as error:
            raise RequestError(f"frame {index}: {error}") from None
        if before is not None and image.shape[2:] != before:
            raise RequestError(
                f"frame {index} is {_size(image.shape[2:])} and the one before {_size(before)}: "
                "both frames of a pair must have one size"
            )
        before = image.shape[2:]
        yield StreamFrame(image, index)
    if index < 1:
        raise RequestError(f"got {index + 1} frames: flow needs at least 2")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def pair_flows(
    frames: Iterable[StreamFrame],
    network: FlowNetwork,
    *,
    iterations: int,
    warm_start: bool = False,
    backward: bool = False,
    resize: tuple[int, int] | float | None = None,
    precision: Precision = "32",
) -> Iterator[PairFlow]:
    """The flow of every pair of neighbouring frames of one segment and size.

    resize: compute at this (height, width) or scale; the flow comes back at the frames' size, in their pixels.
    backward: the other direction too.

    An error of the stream is raised after the pairs of the frames that came before it.
    """
    matcher = _Matcher(network, iterations, warm_start, backward, resize, precision)
    previous: tuple[StreamFrame, EncodedFrame] | None = None
    for frame, following in _with_following(frames):
        starts_pair = following is not None and _are_pair(frame, following)
        if previous is None and not starts_pair:
            continue
        encoded = matcher.encode(frame.image, with_context=starts_pair or (backward and previous is not None))
        if previous is None:
            matcher.forget()
        else:
            forward, back = matcher.match(*previous, frame, encoded)
            yield PairFlow(previous[0].source, frame.source, forward.clone(), None if back is None else back.clone())
        previous = (frame, encoded) if starts_pair else None


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


def _are_pair(first: StreamFrame, second: StreamFrame) -> bool:
    return first.segment == second.segment and first.image.shape == second.image.shape


class _Matcher:
    """Encodes and matches frames, and remembers what the next pair of a warm start begins with.

    Each call is in inference mode by itself: a generator that stayed in it between two items would put its caller in.
    """

    def __init__(
        self,
        network: FlowNetwork,
        iterations: int,
        warm_start: bool,
        backward: bool,
        resize: tuple[int, int] | float | None,
        precision: Precision,
    ) -> None:
        self.network = network
        self.iterations = iterations
        self.warm_start = warm_start
        self.backward = backward
        self.resize = resize
        self.precision = precision
        self.device = next(network.parameters()).device
        self.forget()

    def forget(self) -> None:
        """Starts the next pair cold."""
        self.start_forward: CoarseFlow | None = None
        self.start_backward: CoarseFlow | None = None

    @torch.inference_mode()
    def encode(self, image: Images, *, with_context: bool) -> EncodedFrame:
        image = image.to(self.device)
        size = _size_to_compute(image.shape[2:], self.resize)
        if size != image.shape[2:]:
            image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        with self._autocast():
            return self.network.encode(image, with_context=with_context)

    @torch.inference_mode()
    def match(
        self, first: StreamFrame, first_encoded: EncodedFrame, second: StreamFrame, second_encoded: EncodedFrame
    ) -> tuple[Float[Tensor, "2 H W"], Float[Tensor, "2 H W"] | None]:
        """Flow in both directions, or None for the backward one."""
        if self.warm_start and _is_cut(first.image, second.image):
            self.forget()
        size = first.image.shape[2:]
        forward, self.start_forward = self._refine(first_encoded, second_encoded, self.start_forward, size, 1)
        if not self.backward:
            return forward, None
        back, self.start_backward = self._refine(second_encoded, first_encoded, self.start_backward, size, -1)
        return forward, back

    def _refine(
        self, first: EncodedFrame, second: EncodedFrame, start: CoarseFlow | None, size: tuple[int, ...], direction: int
    ) -> tuple[Float[Tensor, "2 H W"], CoarseFlow | None]:
        """Flow at the frames' size, and where the same direction's next refinement begins.

        The next pair's first frame shows what moved on by the forward flow, or against the backward flow. A flow that is not
        finite leads nowhere: the next pair starts cold.
        """
        with self._autocast():
            found = self.network.match(first, second, iterations=self.iterations, initial_flow=start, final_only=True)
        coarse = found.coarse.float()
        carries = self.warm_start and bool(coarse.isfinite().all())
        carried = splat(coarse, direction * coarse) if carries else None
        return resize_flow(found.flows[-1].float(), size)[0], carried

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "32")


def _size_to_compute(size: tuple[int, ...], resize: tuple[int, int] | float | None) -> tuple[int, ...]:
    if resize is None:
        return size
    if isinstance(resize, tuple):
        return resize
    return max(1, round(size[0] * resize)), max(1, round(size[1] * resize))


def _is_cut(first: Images, second: Images) -> bool:
    """Whether two frames show different scenes: grey thumbnails of 16x16 pixels differ by more than CUT on average.

    Too eager on purpose: after a false cut the refinement merely starts from zero, as it does without a warm start.
    """
    thumbnails = [F.adaptive_avg_pool2d(image.mean(dim=1, keepdim=True), 16) for image in (first, second)]
    return (thumbnails[0] - thumbnails[1]).abs().mean().item() > CUT

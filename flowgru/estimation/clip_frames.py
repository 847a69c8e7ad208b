"""What a clip gives to a stream of pairs: the frames that are used of it, and the initial flows that lie beside it."""

from collections.abc import Iterator

from flowgru.data.formats.images import level_tensor
from flowgru.data.video.frames import Frame, FrameSource
from flowgru.data.video.sampling import sampled
from flowgru.errors import InputFileError, sides, size_text
from flowgru.estimation.matching.initial_flow import FlowFolder, InitialFlow
from flowgru.estimation.stream import StreamFrame


def clip_stream(source: FrameSource, *, stride: int = 1, fps: float | None = None) -> Iterator[StreamFrame]:
    """The frames that are used of a clip, see sampled. InputFileError where two picture files have different sizes."""
    before = None
    for frame in sampled(source, source.name, stride=stride, fps=fps):
        if before is not None and before.segment == frame.segment and before.image.shape != frame.image.shape:
            raise InputFileError(
                f"{before.name} is {sides(before.image.shape)} and {frame.name} {size_text(frame.image.shape)}: "
                "both frames of a pair must have one size, before --resize too: scale one of the files"
            )
        before = frame
        yield StreamFrame(level_tensor(frame.image)[None], frame, frame.segment)


def read_initial_flow(folder: FlowFolder, first: Frame, size: tuple[int, ...], /, *, backward: bool) -> InitialFlow:
    """The initial flow of a pair, in a file that is named as its result."""
    return folder.read(f"{first.name}_backward" if backward else first.name, size, backward=backward)

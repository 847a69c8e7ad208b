"""Videos as streams of RGB frames, decoded by PyAV one frame at a time."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from flowgru.data.formats.samples import over_black
from flowgru.data.video.containers import declared_seconds, decoded_pieces, open_video, refuse_playlist
from flowgru.errors import InputFileError, RequestError
from flowgru.files.bounded import MAX_PIXELS, check_size


class Frame(NamedTuple):
    """One picture of a sequence.

    name     what its results are called after, without suffix
    time     seconds, as the video says (frames need not be evenly spaced); None for picture files
    segment  counts up when a video changes its size: no flow leads from one segment to the next
    damaged  decoded from broken data, or after lost data
    """

    image: UInt8[np.ndarray, "H W 3"]
    name: str
    time: float | None
    segment: int
    damaged: bool


class VideoReader:
    """The frames of a video, decoded one after the other in constant memory: `with VideoReader(path) as frames`.

    Frames are 8-bit RGB, upright (the turn that phones note is applied), transparent ones laid over black, and named
    frame_000001, frame_000002, ... by their place in the file; start and end are the numbers of the first and the last
    frame wanted. Whatever can be decoded is given; what went wrong stands in `problems` once the frames are through.

    name             the file's name without suffix
    frame_rate       frames a second, on average; None if unknown
    expected_frames  how many frames will come, as far as the file says; None if it does not
    size             (height, width) of the stored frames; a turned video gives them turned
    problems         one line each: lost or damaged frames, an early end

    InputFileError if the file is missing, no video or claims more than max_pixels a frame, and at the end if nothing
    could be decoded. RequestError for a URL or a playlist, because only local files are opened, and for a bad range.
    """

    def __init__(
        self, path: str | Path, *, start: int = 1, end: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        check_range(start, end)
        refuse_playlist(path)
        self.path = Path(path)
        self.problems: list[str] = []
        self._start, self._end = start, end
        self._container, self._stream = open_video(self.path)
        self.name = self.path.stem
        codec = self._stream.codec_context
        self.size = codec.height, codec.width
        self.frame_rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self._num_declared = self._declared_frames()
        try:
            check_size(self.path, codec.width, codec.height, max_pixels)
        except InputFileError:
            self._container.close()
            raise
        # The decoder refuses larger frames that come later in the stream.
        codec.options = {"max_pixels": str(max_pixels)}
        # With a thread a frame, FFmpeg marks damaged frames only now and then.
        codec.thread_type = "SLICE"
        self._warn_of_changes()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def expected_frames(self) -> int | None:
        if self._num_declared is None:
            return None
        return max(0, min(self._num_declared, self._end or self._num_declared) - self._start + 1)

    def __iter__(self) -> Iterator[Frame]:
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()
        segment, shape, number = -1, None, 0
        num_damaged, first_damaged = 0, 0
        num_lost, after_loss = 0, False
        times = _Times()
        for decoded in decoded_pieces(self._container, self._stream):
            if decoded is None:
                num_lost, after_loss = num_lost + 1, True
                continue
            number += 1
            times.add(decoded.time)
            # What follows a loss is drawn from what was lost, up to the next key frame.
            after_loss = after_loss and not decoded.key_frame
            if number < self._start:
                continue
            image = _upright_rgb(decoded, reformatter)
            if image.shape != shape:
                segment, shape = segment + 1, image.shape
                if segment:
                    size = f"{shape[1]}x{shape[0]}"
                    text = f"{self.path}: frames are {size} from number {number} on, no flow leads across the change"
                    warnings.warn(text, stacklevel=2)
            damaged = after_loss or decoded.is_corrupt
            if damaged:
                num_damaged, first_damaged = num_damaged + 1, first_damaged or number
            yield Frame(image, f"frame_{number:06d}", decoded.time, segment, damaged)
            if number == self._end:
                break
        else:
            self._check_end(number, times)
        if num_lost:
            self.problems.append(f"{self.path}: pieces of the stream that could not be decoded: {num_lost}")
        if num_damaged:
            text = f"damaged frames: {num_damaged}, the first is number {first_damaged}"
            self.problems.append(f"{self.path}: {text}")

    def _check_end(self, num_decoded: int, times: "_Times") -> None:
        """Say what is missing once the stream is through."""
        if num_decoded == 0:
            raise InputFileError(f"{self.path}: no frame could be decoded, the file is empty or damaged")
        if num_decoded < self._start:
            raise InputFileError(
                f"{self.path} has {num_decoded} frames, but frames from {self._start} on were asked for"
            )
        seconds = declared_seconds(self._container, self._stream)
        if seconds is None or times.first is None or times.last is None:
            return
        gap = max(times.longest_gap, float(1 / self.frame_rate) if self.frame_rate else 0.0)
        # The last frame stays on for about one gap; two more tell an early end from rounding.
        if times.first + seconds - times.last > 2.5 * gap:
            about = f" of about {self._num_declared}" if self._num_declared else ""
            self.problems.append(f"{self.path}: decoded {num_decoded}{about} frames, the file ends early")

    def _declared_frames(self) -> int | None:
        seconds = declared_seconds(self._container, self._stream)
        if self._stream.frames:
            return self._stream.frames
        return round(seconds * self.frame_rate) if seconds and self.frame_rate else None

    def _warn_of_changes(self) -> None:
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            warnings.warn(f"{self.path} has pixels of shape {aspect}: flow counts them as square", stacklevel=2)
        pixel_format = self._stream.codec_context.format
        bits = max((component.bits for component in pixel_format.components), default=8) if pixel_format else 8
        if bits > 8:
            warnings.warn(f"{self.path} has {bits} bits a channel: read as 8", stacklevel=2)


class _Times:
    """The first and the last time stamp of a stream, and the longest gap between two frames, in seconds."""

    first: float | None = None
    last: float | None = None
    longest_gap = 0.0

    def add(self, time: float | None) -> None:
        if time is None:
            return
        if self.last is None:
            self.first = time
        else:
            self.longest_gap = max(self.longest_gap, time - self.last)
        self.last = time


def check_range(start: int, end: int | None) -> None:
    """RequestError unless start and end can be the numbers, from 1, of the first and the last frame."""
    if start < 1 or (end is not None and end < start):
        raise RequestError(f"frames {start} to {end} were asked for: expected 1 <= start <= end")


def _upright_rgb(frame: Any, reformatter: Any) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded frame as 8-bit RGB, turned as its display matrix says, over black where it is transparent."""
    transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    pixels = reformatter.reformat(frame, format="rgba" if transparent else "rgb24").to_ndarray()
    rgb = over_black(pixels) if transparent else pixels
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns))

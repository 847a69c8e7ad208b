"""Videos as streams of RGB frames, read and written by PyAV one frame at a time."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from flowgru.data.atomic import written_whole
from flowgru.data.bounded import MAX_PIXELS, check_size, one_line
from flowgru.data.containers import declared_seconds, decoded_pieces, open_video, refuse_playlist
from flowgru.data.images import over_black
from flowgru.errors import InputFileError, RequestError

_WRITTEN_SUFFIXES = (".mp4", ".mov", ".mkv")


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


class VideoWriter:
    """A new H.264 video from RGB frames of one size: `with VideoWriter(path, frame_rate) as video: video.write(rgb)`.

    It plays everywhere (yuv420p, index at the front) at near-transparent quality (crf 18). Odd sizes are made even by
    repeating the last row or column. The file appears, whole, when the `with` ends without an exception.
    RequestError if `path` exists without `overwrite`, for a suffix other than .mp4, .mov and .mkv, for a second frame
    size, and if no frame came; MachineError if the disk refuses.
    """

    def __init__(self, path: str | Path, frame_rate: Fraction | float | int, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _WRITTEN_SUFFIXES:
            suffixes = ", ".join(_WRITTEN_SUFFIXES)
            raise RequestError(f"cannot write a video to {path}: the suffix must be one of {suffixes}")
        if not 0 < frame_rate < 100_000:
            raise RequestError(f"the frame rate is {frame_rate}: expected frames a second, above 0")
        self._frame_rate = Fraction(frame_rate).limit_denominator(10_000)
        self._shape: tuple[int, ...] | None = None
        self._writing = self._written(overwrite)

    def __enter__(self) -> "VideoWriter":
        self._writing.__enter__()
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        return self._writing.__exit__(*failure)

    @contextmanager
    def _written(self, overwrite: bool) -> Iterator[None]:
        import av

        with (
            written_whole(self.path, overwrite) as temporary,
            av.open(os.path.abspath(temporary), "w", options={"movflags": "+faststart"}) as self._container,
        ):
            self._stream: Any = self._container.add_stream("libx264", rate=self._frame_rate, options={"crf": "18"})
            yield
            if self._shape is None:
                raise RequestError(f"{self.path}: no frame was given, so no video is written")
            self._container.mux(self._stream.encode())

    def write(self, rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append one frame."""
        import av

        height, width = rgb.shape[:2]
        if self._shape is None:
            self._shape = rgb.shape
            self._stream.height, self._stream.width = height + height % 2, width + width % 2
            self._stream.pix_fmt = "yuv420p"
        if rgb.shape != self._shape:
            first = f"{self._shape[1]}x{self._shape[0]}"
            raise RequestError(f"{self.path}: a frame is {width}x{height}, the first was {first}: start another video")
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            text = f"{self.path}: H.264 cannot hold frames of {width}x{height}: {one_line(error)}"
            raise RequestError(text) from error


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

"""Videos as streams of RGB frames, decoded by PyAV one frame at a time."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from flowgru.data.formats.orientation import Orientation, displayed_orientation
from flowgru.data.formats.samples import over_black
from flowgru.data.video.containers import declared_end, declared_frames, declared_rate, open_video, refuse_playlist
from flowgru.data.video.decoding import StreamDecoder
from flowgru.errors import InputFileError, RequestError, lacks_memory, size_text
from flowgru.files.bounded import MAX_PIXELS, check_size

_UNSPECIFIED, _RESERVED = 2, 3
"""Numbers of ITU-T H.273 for the matrix of a video's colours; the second one is read as if it were the first."""


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

    Frames are 8-bit RGB, upright (the turn or mirroring that a file notes is applied; what one frame notes holds for the
    frames after it), transparent ones laid over black, and named frame_000001, frame_000002, ... by their place in the
    file; start and end are the numbers of the first and the last frame wanted. Whatever can be decoded is given; what went
    wrong stands in `problems` once the frames are through.

    name             the file's name without suffix
    frame_rate       frames a second, on average; None if unknown
    expected_frames  how many frames will come, as far as the file says; None if it does not
    size             (height, width) of the stored frames; a turned video gives them turned
    problems         one line each: lost or damaged frames, a missing beginning, an early end

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
        # The fourth byte of a stored pixel is not used in an AVI, and mostly 0; FFmpeg calls it alpha all the same.
        self._lacks_alpha = self._stream.codec_context.name == "rawvideo" and self._container.format.name == "avi"
        self.name = self.path.stem
        codec = self._stream.codec_context
        self.size = codec.height, codec.width
        self.frame_rate = declared_rate(self._stream)
        self._num_declared = declared_frames(self._container, self._stream)
        try:
            check_size(self.path, codec.width, codec.height, max_pixels)
        except InputFileError:
            self._container.close()
            raise
        self._decoder = StreamDecoder(self._container, self._stream)
        # The decoder refuses larger frames that come later in the stream.
        self._decoder.codec.options = {"max_pixels": str(max_pixels)}
        # With a thread a frame, FFmpeg marks damaged frames only now and then; with a thread a slice, what it puts into
        # their holes depends on the number of cores. Estimation takes far longer than decoding.
        self._decoder.codec.thread_count = 1
        self._warn_of_changes()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _rgb(self, frame: Any, reformatter: Any) -> UInt8[np.ndarray, "H W 3"]:
        """A decoded frame as 8-bit RGB as it is stored, over black where it is transparent."""
        import av

        transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
        if frame.colorspace == _RESERVED:
            frame.colorspace = _UNSPECIFIED
        try:
            pixels = reformatter.reformat(frame, format="rgba" if transparent else "rgb24").to_ndarray()
        except av.FFmpegError as error:
            if lacks_memory(error):
                raise
            raise InputFileError(
                f"{self.path} has colours that cannot be read as RGB (their matrix has the number {frame.colorspace} of "
                "ITU-T H.273): convert it to H.264 with the matrix bt709"
            ) from error
        if not transparent or self._lacks_alpha:
            return pixels[..., :3]
        return over_black(pixels)

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
        num_lost, after_loss, interlaced = 0, False, False
        times, orientation = _Times(), Orientation()
        for decoded, time, stays in self._decoder:
            if decoded is None:
                num_lost, after_loss = num_lost + 1, True
                continue
            number += 1
            times.add(time, stays)
            orientation = _noted_orientation(decoded) or orientation
            # What follows a loss is drawn from what was lost, up to the next key frame.
            after_loss = after_loss and not decoded.key_frame
            if number < self._start:
                continue
            if decoded.interlaced_frame and not interlaced:
                interlaced = True
                text = f"{self.path} is interlaced: each frame shows two moments, in every other line; deinterlace it first"
                warnings.warn(text, stacklevel=2)
            image = np.ascontiguousarray(orientation.upright(self._rgb(decoded, reformatter)))
            if image.shape != shape:
                segment, shape = segment + 1, image.shape
                if segment:
                    warn_of_change(self.path, shape, number)
            damaged = after_loss or decoded.is_corrupt
            if damaged:
                num_damaged, first_damaged = num_damaged + 1, first_damaged or number
            yield Frame(image, f"frame_{number:06d}", time, segment, damaged)
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
        if self._decoder.num_before_key:
            text = f"pictures before the first key frame that cannot be decoded: {self._decoder.num_before_key}"
            self.problems.append(f"{self.path}: the beginning is missing, {text}")
        end = declared_end(self._container, self._stream)
        if end is None or times.last is None or self._decoder.latest is None:
            return
        gap = max(times.longest_gap, float(1 / self.frame_rate) if self.frame_rate else 0.0)
        # More than a gap and a half tells an early end from rounding.
        if end - max(times.last, self._decoder.latest) - max(gap, times.last_stays) > 1.5 * gap:
            about = f" of about {self._num_declared}" if self._num_declared else ""
            self.problems.append(f"{self.path}: decoded {num_decoded}{about} frames, the file ends early")

    def _warn_of_changes(self) -> None:
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            warnings.warn(f"{self.path} has pixels of shape {aspect}: flow counts them as square", stacklevel=2)
        if self._decoder.ignores_alpha:
            warnings.warn(f"{self.path} has transparency that cannot be decoded here: it is ignored", stacklevel=2)
        pixel_format = self._stream.codec_context.format
        bits = max((component.bits for component in pixel_format.components), default=8) if pixel_format else 8
        if bits > 8:
            warnings.warn(f"{self.path} has {bits} bits a channel: read as 8", stacklevel=2)


class _Times:
    """The last time stamp of a stream, how long that frame stays, and the longest gap between two frames, in seconds."""

    last: float | None = None
    last_stays = 0.0
    longest_gap = 0.0

    def add(self, time: float | None, stays: float) -> None:
        if time is None:
            return
        if self.last is not None:
            self.longest_gap = max(self.longest_gap, time - self.last)
        self.last, self.last_stays = time, stays


def warn_of_change(path: Path, shape: tuple[int, ...], number: int) -> None:
    """Say that frames have another size from one number on."""
    text = f"{path}: frames are {size_text(shape)} from number {number} on, no flow leads across the change"
    warnings.warn(text, stacklevel=3)


def check_range(start: int, end: int | None) -> None:
    """RequestError unless start and end can be the numbers, from 1, of the first and the last frame."""
    if start < 1 or (end is not None and end < start):
        raise RequestError(f"frames {start} to {end} were asked for: expected 1 <= start <= end")


def _noted_orientation(frame: Any) -> Orientation | None:
    """How a decoded frame lies, if it says so."""
    try:
        beside = [*frame.side_data]
    except ValueError:  # PyAV gives nothing at all where it has no name for a part of it
        _name_every_kind()
        beside = [*frame.side_data]
    matrices = [bytes(data) for data in beside if data.type.name == "DISPLAYMATRIX"]
    return displayed_orientation(matrices[0]) if matrices else None


def _name_every_kind() -> None:
    """Gives a name to each kind of side data of FFmpeg that is newer than PyAV's list of them."""
    from av.sidedata.sidedata import Type

    def unnamed(kinds: Any, number: object) -> Any:
        found = object.__new__(kinds)
        found._name_, found._value_ = f"KIND_{number}", number
        return found

    # Enum asks for what is not among its members.
    Type._missing_ = classmethod(unnamed)  # pyright: ignore[reportAttributeAccessIssue]

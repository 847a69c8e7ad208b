"""Videos and animated pictures written from RGB frames by PyAV, one frame at a time, whole or not at all.

imageio, which reads animated pictures here, would write them too, but its Pillow writer holds every frame until the last.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from flowgru.data.video.palette import Palettes
from flowgru.errors import RequestError, one_line, sides, size_text
from flowgru.files.atomic import atomic_write


class _Kind(NamedTuple):
    """How files of one ending are encoded."""

    name: str
    codec: str
    pixel_format: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    multiple: int = 1
    """Of which both sides must be one."""
    most_frames_a_second: int = 100_000
    tick: int = 1
    """Milliseconds; times are whole numbers of these."""
    palettes: bool = False
    """Whether each frame has a palette of 256 colours of its own."""
    matrix: int | None = None
    """Of the colours, by its number in ITU-T H.273: many players take another one for large pictures unless it is named."""


_H264 = _Kind("H.264", "libx264", "yuv420p", {"crf": "18"}, {"movflags": "+faststart"}, multiple=2, matrix=6)
# Viewers show a picture that asks for less than two hundredths of a second for a tenth.
_GIF = _Kind("GIF", "gif", "pal8", {}, {"loop": "0"}, most_frames_a_second=50, tick=10, palettes=True)
_WEBP = _Kind("WebP", "libwebp_anim", "bgra", {"lossless": "1"}, {"loop": "0"}, most_frames_a_second=50)
_KINDS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".gif": _GIF, ".webp": _WEBP}

WRITTEN_SUFFIXES = tuple(_KINDS)
"""Endings of the videos and animated pictures that can be written."""

_MILLISECOND = Fraction(1, 1000)


class VideoWriter:
    """A new video from RGB frames of one size: `with VideoWriter(path, frame_rate) as video: video.write(rgb)`.

    .mp4, .mov and .mkv hold H.264 that plays everywhere (yuv420p, index at the front) at near-transparent quality (crf 18);
    odd sizes are made even by repeating the last row or column. .gif and .webp are animated pictures that repeat without an
    end, of at most 50 frames a second: faster ones are slowed. WebP keeps every level, each picture of a GIF has the 256
    colours that fit it best.
    The file appears, whole, when the `with` ends without an exception.
    RequestError if `path` exists without `overwrite`, for another suffix, for a second frame size, and if no frame came;
    MachineError if the disk refuses.
    """

    def __init__(self, path: str | Path, frame_rate: Fraction | float | int, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        kind = _KINDS.get(self.path.suffix.lower())
        if kind is None:
            suffixes = ", ".join(WRITTEN_SUFFIXES)
            raise RequestError(f"cannot write a video to {path}: the suffix must be one of {suffixes}")
        if not 0 < frame_rate < 100_000:
            raise RequestError(f"the frame rate is {frame_rate}: expected frames a second, above 0")
        self._kind = kind
        self._frame_rate = min(Fraction(frame_rate).limit_denominator(10_000), Fraction(kind.most_frames_a_second))
        self._palettes: Palettes | None = None
        self._shape: tuple[int, ...] | None = None
        self._shortest = max(1, 1000 // kind.most_frames_a_second)
        self._latest = -self._shortest
        self._writing = self._written(overwrite)

    def __enter__(self) -> "VideoWriter":
        self._writing.__enter__()
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        return self._writing.__exit__(*failure)

    @contextmanager
    def _written(self, overwrite: bool) -> Iterator[None]:
        import av

        kind = self._kind
        with (
            atomic_write(self.path, overwrite) as temporary,
            av.open(os.path.abspath(temporary), "w", options=kind.container_options) as self._container,
        ):
            self._stream: Any = self._container.add_stream(
                kind.codec, rate=self._frame_rate, options=kind.codec_options
            )
            yield
            if self._shape is None:
                raise RequestError(f"{self.path}: no frame was given, so no video is written")
            if self._palettes is not None:
                self._encode(self._palettes.rest())
            self._container.mux(self._stream.encode())

    def write(self, rgb: UInt8[np.ndarray, "H W 3"], time: float | None = None) -> None:
        """Append one frame; `time` is when it is shown, in seconds, for all frames or for none."""
        import av

        height, width = rgb.shape[:2]
        below, right = -height % self._kind.multiple, -width % self._kind.multiple
        if self._shape is None:
            self._shape = rgb.shape
            self._stream.height, self._stream.width = height + below, width + right
            self._stream.pix_fmt = self._kind.pixel_format
            if self._kind.matrix is not None:
                self._stream.codec_context.colorspace = self._kind.matrix
                self._stream.codec_context.color_range = 1  # of television, as for all such files
            if self._kind.palettes:
                tick = 1 / self._frame_rate if time is None else _MILLISECOND
                self._palettes = Palettes(height + below, width + right, tick)
            if time is not None:
                self._stream.codec_context.time_base = _MILLISECOND
        if rgb.shape != self._shape:
            sizes = f"a frame is {sides(rgb.shape)}, the first was {size_text(self._shape)}"
            raise RequestError(f"{self.path}: {sizes}: start another video")
        even = np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        if time is not None:
            tick = self._kind.tick
            self._latest = max(self._latest + self._shortest, tick * round(time / (tick * _MILLISECOND)))
            frame.pts, frame.time_base = self._latest, _MILLISECOND
        try:
            self._encode([frame] if self._palettes is None else self._palettes.add(frame))
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            text = f"{self.path}: {self._kind.name} cannot hold frames of {size_text(rgb.shape)}: {one_line(error)}"
            raise RequestError(text) from error

    def _encode(self, frames: Any) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))


class SegmentedVideoWriter:
    """Videos from RGB frames of any size: where the size changes, a further one begins.

    open_video is told the number of each video, from 1, and gives its writer.
    paths  the videos that are there, whole
    """

    def __init__(self, open_video: Callable[[int], VideoWriter]) -> None:
        self.paths: list[Path] = []
        self._open_video = open_video
        self._current: VideoWriter | None = None
        self._shape: tuple[int, ...] | None = None
        self._began = 0.0

    def __enter__(self) -> "SegmentedVideoWriter":
        return self

    def __exit__(self, *failure: Any) -> None:
        """The last video appears, or is dropped where there was a failure."""
        current, self._current, self._shape = self._current, None, None
        if current is not None:
            current.__exit__(*failure)
            if failure[0] is None:
                self.paths.append(current.path)

    def write(self, rgb: UInt8[np.ndarray, "H W 3"], time: float | None = None) -> None:
        """Append one frame; `time` is when it is shown, in seconds, and counts in each video from its first frame.

        Errors are those of VideoWriter; then the video that the frame belongs to is dropped, and those before it stay.
        """
        if rgb.shape != self._shape or self._current is None:
            self.__exit__(None, None, None)
            self._current = self._open_video(len(self.paths) + 1)
            self._current.__enter__()
            self._shape, self._began = rgb.shape, time or 0.0
        try:
            self._current.write(rgb, None if time is None else time - self._began)
        except Exception:
            self.__exit__(*sys.exc_info())
            raise

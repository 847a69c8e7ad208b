"""Videos written from RGB frames by PyAV, one frame at a time, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from flowgru.errors import RequestError, one_line, sides, size_text
from flowgru.files.atomic import atomic_write

_WRITTEN_SUFFIXES = (".mp4", ".mov", ".mkv")


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
            atomic_write(self.path, overwrite) as temporary,
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
            sizes = f"a frame is {sides(rgb.shape)}, the first was {size_text(self._shape)}"
            raise RequestError(f"{self.path}: {sizes}: start another video")
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            text = f"{self.path}: H.264 cannot hold frames of {size_text(rgb.shape)}: {one_line(error)}"
            raise RequestError(text) from error

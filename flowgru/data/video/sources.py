"""Sequences of frames that are read while they are iterated: videos, animated pictures, and what cannot be read."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from flowgru.data.formats.images import num_pictures
from flowgru.data.video.animation import read_animation
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.listing import is_unread
from flowgru.data.video.reader import Frame, VideoReader, warn_of_change
from flowgru.errors import FlowgruError, InputFileError


class FrameSource(ABC):
    """One sequence of frames, read while it is iterated and never held whole; each iteration starts anew.

    name             what its results may be called after: the video's or the folder's name
    paths            the files that it reads
    frame_names      what its frames are called, no two alike; none of a clip, which numbers them while it is read
    frame_rate       frames a second; None for pictures, or where a video does not say
    expected_frames  how many frames will come; None where a video does not say
    problems         one line for whatever the last iteration could not read

    Iterating raises InputFileError where nothing more can be read, and if fewer than 2 frames came. Frames may differ
    in size: those of a video then differ in `segment` too, those of picture files do not.
    """

    name: str
    paths: Sequence[Path]
    frame_names: Sequence[str] = ()
    frame_rate: Fraction | None
    expected_frames: int | None
    problems: list[str]

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...


class UnreadableSource(FrameSource):
    """What gives no frames: it fails when it is iterated, and not the others beside it.

    place    the folder or the file that was given
    failure  what opening it raised
    """

    frame_rate = expected_frames = None

    def __init__(self, name: str, place: Path, failure: FlowgruError) -> None:
        self.name, self.failure = name, failure
        self.paths = [place]
        self.problems = []

    def __iter__(self) -> Iterator[Frame]:
        raise InputFileError(str(self.failure)) from self.failure


class ClipSource(FrameSource):
    """One file of many frames, opened when it is first asked about: a bad one fails then, and not the others beside it."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        self.name = path.stem
        self.problems = []
        self.paths = [path]
        self._path, self._start, self._end = path, start, end
        self._measured: float | None = None
        self._precision = 0.0

    @cached_property
    @abstractmethod
    def _declared(self) -> tuple[Fraction | None, int | None]:
        """Rate and number of the frames, as the file says."""

    @abstractmethod
    def _read(self) -> Iterator[Frame]: ...

    @property
    def frame_rate(self) -> Fraction | None:
        """The rate that was measured once the frames have been read, for what a file declares may be that of fields.

        Where both agree, as far as times in milliseconds can tell, it is the declared one, which is exact.
        """
        declared = self._declared[0]
        if self._measured is None or (declared and abs(self._measured / float(declared) - 1) < self._precision):
            return declared
        return Fraction(self._measured).limit_denominator(1001)

    @property
    def expected_frames(self) -> int | None:
        return self._declared[1]

    def __iter__(self) -> Iterator[Frame]:
        num_frames, clock = 0, Elapsed()
        try:
            for frame in self._read():
                num_frames += 1
                if frame.time is not None:
                    clock.at(frame.time)
                yield frame
        finally:
            if clock.seconds:
                self._measured = (num_frames - 1) / clock.seconds
                self._precision = 0.01 + 0.001 / clock.seconds
        if num_frames < 2:
            cut, fix = "", ""
            if self._start > 1:
                cut = f" from --start {self._start}" + (f" to --end {self._end}" if self._end is not None else "")
                fix = ": give a smaller --start"
            raise InputFileError(f"{self._path} gives {num_frames} frame{cut}, and at least 2 frames are needed{fix}")


class AnimationSource(ClipSource):
    """An animated picture, or a TIFF of several pages."""

    @cached_property
    def _declared(self) -> tuple[Fraction | None, int | None]:
        num = num_pictures(self._path)
        return None, (max(0, min(num, self._end or num) - self._start + 1) if num else None)

    @property
    def frame_rate(self) -> Fraction | None:
        """Only the pictures themselves say for how long they are shown: all are read, if they were not yet."""
        if self._measured is None:
            with contextlib.suppress(InputFileError):
                for _ in self:
                    pass
        return super().frame_rate

    def _read(self) -> Iterator[Frame]:
        segment, shape = -1, None
        for number, (image, time) in enumerate(read_animation(self._path, self._start, self._end), self._start):
            if image.shape != shape:
                segment, shape = segment + 1, image.shape
                if segment:
                    warn_of_change(self._path, shape, number)
            yield Frame(image, f"frame_{number:06d}", time, segment, damaged=False)


class VideoSource(ClipSource):
    """A video file."""

    @cached_property
    def _declared(self) -> tuple[Fraction | None, int | None]:
        with self._reader() as reader:
            return reader.frame_rate, reader.expected_frames

    def _read(self) -> Iterator[Frame]:
        with self._reader() as reader:
            self.problems = reader.problems
            yield from reader

    def _reader(self) -> VideoReader:
        try:
            return VideoReader(self._path, start=self._start, end=self._end)
        except InputFileError as error:
            if is_unread(self._path) and os.path.isfile(self._path):
                text = f"{self._path} is a picture of a kind that is not read: convert it to .png"
                raise InputFileError(text) from error
            raise

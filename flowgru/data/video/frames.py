"""What a user gives as INPUT, as streams of frames: videos, folders of pictures, patterns and lists of pictures."""

import contextlib
import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from flowgru.data.formats.images import num_pictures, read_image
from flowgru.data.video.animation import read_animation
from flowgru.data.video.containers import refuse_playlist
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.listing import (
    ANIMATED_SUFFIXES,
    chosen,
    distinct_names,
    is_picture,
    listed,
    name_beside,
    sorted_as_counted,
    warn_of_shell_order,
)
from flowgru.data.video.reader import Frame, VideoReader, check_range, warn_of_change
from flowgru.errors import InputFileError, RequestError, counted

__all__ = ["Frame", "FrameSource", "open_clip", "open_frames"]


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


class PictureSource(FrameSource):
    """Picture files in the given order."""

    frame_rate = None

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        self.problems = []
        self.expected_frames = len(paths)
        self.paths = paths
        # No flow is named after the last: it changes no other's name, and a warning speaks of results.
        names = distinct_names(paths[:-1])
        self.frame_names = [*names, name_beside(paths[-1], names)]

    def __iter__(self) -> Iterator[Frame]:
        for path, name in zip(self.paths, self.frame_names, strict=True):
            yield Frame(read_image(path), name, time=None, segment=0, damaged=False)


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
        with VideoReader(self._path, start=self._start, end=self._end) as reader:
            return reader.frame_rate, reader.expected_frames

    def _read(self) -> Iterator[Frame]:
        with VideoReader(self._path, start=self._start, end=self._end) as reader:
            self.problems = reader.problems
            yield from reader


def open_frames(inputs: Sequence[str | Path], start: int = 1, end: int | None = None) -> list[FrameSource]:
    """Tell what the inputs are; nothing is decoded yet.

    Each video, each animated picture, each TIFF of several pages and each folder of pictures is a sequence; a quoted
    pattern (frames/*.png) stands for what it matches, its pictures being one sequence; picture files given one by one form
    one sequence together, in the order given. Folders and patterns are sorted as people count (2 before 10); hidden files
    and non-pictures are passed over, and a warning names what is missing in their numbering and which kinds of picture
    are passed over.
    start and end number the first and the last frame of every sequence, from 1, both included.
    Pictures, and inputs, of one name get distinct ones, which a warning says.
    RequestError for a URL or playlist, and for fewer than 2 pictures;
    InputFileError for a folder that cannot be read.
    """
    check_range(start, end)
    if not inputs:
        raise RequestError("no input was given: expected a video, a folder of pictures or two pictures")
    sources: list[FrameSource] = []
    single_pictures: list[Path] = []
    for given in inputs:
        if not str(given):
            raise RequestError("an input is empty: expected a video, a folder of pictures or two pictures")
        refuse_playlist(given)
        path = Path(given)
        if path.is_dir():
            sources.append(_pictures(_folder_name(path), listed(path), str(path), start, end))
        elif not os.path.lexists(path) and glob.has_magic(str(given)):
            sources += _matched(str(given), start, end)
        elif _may_be_single(path):
            single_pictures.append(path)
        else:
            sources.append(_clip(path, start, end))
    if single_pictures:
        warn_of_shell_order(single_pictures)
        # Two pictures are a pair, and rarely all that their folder holds.
        first = single_pictures[0]
        name = first.stem if len(single_pictures) == 2 else _folder_name(first.parent)
        sources.append(_pictures(name, single_pictures, "the list of pictures", start, end))
    if len({source.name for source in sources}) < len(sources):
        places = [
            source.paths[0].parent if isinstance(source, PictureSource) else source.paths[0] for source in sources
        ]
        for source, name in zip(sources, distinct_names(places, "inputs"), strict=True):
            source.name = name
    return sources


def open_clip(inputs: Sequence[str | Path], start: int = 1, end: int | None = None) -> FrameSource:
    """open_frames, for those who take a single clip. RequestError where the inputs are several."""
    sources = open_frames(inputs, start, end)
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources[:3]) + ", ..." * (len(sources) > 3)
        raise RequestError(f"got {counted(len(sources), 'clip')} ({names}): expected one clip, so name it alone")
    return sources[0]


def _pictures(name: str, paths: Sequence[Path], origin: str, start: int, end: int | None) -> PictureSource:
    """The sequence of these pictures. RequestError for fewer than 2, or for names that cannot name results."""
    chosen = paths[start - 1 : end]
    if len(chosen) < 2:
        cut = (
            f", of which frames {start} to {end or 'the last'} leave {len(chosen)}" if len(chosen) < len(paths) else ""
        )
        given = f"{paths[0]} is one picture" if len(paths) == 1 else f"{origin} gives {len(paths)} picture files"
        raise RequestError(f"{given}{cut}: need at least 2 frames, in a list or in a folder")
    for path in chosen:
        if path.stem in ("", ".", "..") or "\\" in path.stem:
            raise RequestError(f"{path}: its name {path.stem!r} cannot name a result, rename the file")
    return PictureSource(name, chosen)


def _matched(pattern: str, start: int, end: int | None) -> list[FrameSource]:
    """The sequences that a pattern stands for."""
    matches = sorted_as_counted(Path(match) for match in glob.glob(pattern, recursive=True))
    folders = [path for path in matches if path.is_dir()]
    pictures = chosen((path for path in matches if not path.is_dir()), pattern)
    if pictures:
        return [_pictures(_folder_name(pictures[0].parent), pictures, pattern, start, end)]
    if not matches:
        raise RequestError(f"the pattern {pattern} matches nothing: need at least 2 frames")
    sequences = [_pictures(_folder_name(path), listed(path), str(path), start, end) for path in folders]
    return [*sequences, *(_clip(path, start, end) for path in matches if path not in folders)]


def _clip(path: Path, start: int, end: int | None) -> FrameSource:
    return AnimationSource(path, start, end) if is_picture(path) else VideoSource(path, start, end)


def _may_be_single(path: Path) -> bool:
    """Whether a file that is given by itself is one picture among others, not a clip of its own."""
    if not is_picture(path):
        return False
    num = num_pictures(path)
    # What cannot be read fails later, as what its ending says it is.
    return num == 1 or (num == 0 and path.suffix.lower() not in ANIMATED_SUFFIXES)


def _folder_name(folder: Path) -> str:
    return folder.resolve().name or "frames"

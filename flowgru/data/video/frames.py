"""What a user gives as INPUT, as streams of frames: videos, folders of pictures, patterns and lists of pictures."""

import glob
import os
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from flowgru.data.formats.images import read_image
from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.data.video.containers import refuse_playlist
from flowgru.data.video.reader import Frame, VideoReader, check_range
from flowgru.errors import InputFileError, RequestError

__all__ = ["Frame", "FrameSource", "open_frames"]


class FrameSource(ABC):
    """One sequence of frames, read while it is iterated and never held whole; each iteration starts anew.

    name             what its results may be called after: the video's or the folder's name
    paths            the files that it reads
    frame_rate       frames a second; None for pictures, or where a video does not say
    expected_frames  how many frames will come; None where a video does not say
    problems         one line for whatever the last iteration could not read

    Iterating raises InputFileError where nothing more can be read, and if fewer than 2 frames came. Frames may differ
    in size: those of a video then differ in `segment` too, those of picture files do not.
    """

    name: str
    paths: Sequence[Path]
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

    def __iter__(self) -> Iterator[Frame]:
        for path in self.paths:
            yield Frame(read_image(path), path.stem, time=None, segment=0, damaged=False)


class VideoSource(FrameSource):
    """A video file, opened when it is first asked about: a bad one fails then, and not the others beside it."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        self.name = path.stem
        self.problems = []
        self.paths = [path]
        self._path, self._start, self._end = path, start, end

    @cached_property
    def _declared(self) -> tuple[Fraction | None, int | None]:
        with VideoReader(self._path, start=self._start, end=self._end) as reader:
            return reader.frame_rate, reader.expected_frames

    @property
    def frame_rate(self) -> Fraction | None:
        return self._declared[0]

    @property
    def expected_frames(self) -> int | None:
        return self._declared[1]

    def __iter__(self) -> Iterator[Frame]:
        num_frames = 0
        with VideoReader(self._path, start=self._start, end=self._end) as reader:
            self.problems = reader.problems
            for frame in reader:
                num_frames += 1
                yield frame
        if num_frames < 2:
            raise InputFileError(f"{self._path} gives 1 frame: need at least 2 frames")


def open_frames(inputs: Sequence[str | Path], start: int = 1, end: int | None = None) -> list[FrameSource]:
    """Tell what the inputs are; nothing is decoded yet.

    Each video and each folder of pictures is a sequence; a quoted pattern (frames/*.png) stands for what it matches,
    its pictures being one sequence; picture files given one by one form one sequence together, in the order given.
    Folders and patterns are sorted as people count (2 before 10); hidden files and non-pictures are passed over.
    start and end number the first and the last frame of every sequence, from 1, both included.
    RequestError for a URL or playlist, for fewer than 2 pictures, and for names that would collide among the results;
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
            sources.append(_pictures(_folder_name(path), _listed(path), str(path), start, end))
        elif not os.path.lexists(path) and glob.has_magic(str(given)):
            sources += _matched(str(given), start, end)
        elif _is_picture(path):
            single_pictures.append(path)
        else:
            sources.append(VideoSource(path, start, end))
    if single_pictures:
        _warn_of_shell_order(single_pictures)
        name = _folder_name(single_pictures[0].parent)
        sources.append(_pictures(name, single_pictures, "the list of pictures", start, end))
    repeated = _repeated(source.name for source in sources)
    if repeated:
        raise RequestError(
            f"two inputs are called {repeated!r}, and their results would collide: give them in two runs"
        )
    return sources


def _pictures(name: str, paths: Sequence[Path], origin: str, start: int, end: int | None) -> PictureSource:
    """The sequence of these pictures. RequestError for fewer than 2, or for names that cannot name results."""
    chosen = paths[start - 1 : end]
    if len(chosen) < 2:
        cut = (
            f", of which frames {start} to {end or 'the last'} leave {len(chosen)}" if len(chosen) < len(paths) else ""
        )
        raise RequestError(f"{origin} gives {len(paths)} picture files{cut}: need at least 2 frames")
    for path in chosen:
        if path.stem in ("", ".", "..") or "\\" in path.stem:
            raise RequestError(f"{path}: its name {path.stem!r} cannot name a result, rename the file")
    repeated = _repeated(path.stem for path in chosen[:-1])  # no flow is named after the last
    if repeated:
        raise RequestError(f"{origin} gives two pictures called {repeated!r}, and their results would collide")
    return PictureSource(name, chosen)


def _matched(pattern: str, start: int, end: int | None) -> list[FrameSource]:
    """The sequences that a pattern stands for."""
    matches = _sorted(Path(match) for match in glob.glob(pattern, recursive=True))
    pictures = [path for path in matches if _is_picture(path) and not path.is_dir()]
    folders = [path for path in matches if path.is_dir()]
    others = [path for path in matches if path not in set(pictures) | set(folders)]
    if pictures:
        return [_pictures(_folder_name(pictures[0].parent), pictures, pattern, start, end)]
    if not matches:
        raise RequestError(f"the pattern {pattern} matches nothing: need at least 2 frames")
    sequences = [_pictures(_folder_name(path), _listed(path), str(path), start, end) for path in folders]
    return [*sequences, *(VideoSource(path, start, end) for path in others)]


def _listed(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted as people count."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except OSError as error:
        raise InputFileError(f"cannot read the folder {folder}: {error.strerror}") from error
    return _sorted(folder / name for name in names if _is_picture(Path(name)))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (_counting_order(str(path)), str(path)))


def _counting_order(text: str) -> list[tuple[str, int]]:
    """A key that sorts runs of digits by their number: frame2 before frame10."""
    return [(letters, int(digits or -1)) for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def _folder_name(folder: Path) -> str:
    return folder.resolve().name or "frames"


def _repeated(names: Iterable[str]) -> str | None:
    name, count = max(Counter(names).items(), key=lambda item: item[1])
    return name if count > 1 else None


def _warn_of_shell_order(pictures: list[Path]) -> None:
    """A shell sorts frame_10 before frame_2; two pictures may be meant as they stand."""
    if len(pictures) > 2 and pictures == sorted(pictures) != _sorted(pictures):
        text = (
            "pictures are taken in the order given, which is not that of their numbers: quote the pattern to sort them"
        )
        warnings.warn(text, stacklevel=3)

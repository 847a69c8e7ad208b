"""What a user gives as INPUT, as streams of frames: videos, folders of pictures, patterns and lists of pictures."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowgru.data.formats.images import num_pictures, read_image
from flowgru.data.video.containers import refuse_playlist
from flowgru.data.video.listing import (
    ANIMATED_SUFFIXES,
    distinct_names,
    is_picture,
    listed,
    name_beside,
    warn_of_shell_order,
    what_it_holds,
)
from flowgru.data.video.patterns import matched, words_without_results
from flowgru.data.video.reader import Frame, check_range
from flowgru.data.video.sources import AnimationSource, FrameSource, UnreadableSource, VideoSource
from flowgru.errors import InputFileError, RequestError, counted
from flowgru.files.bounded import is_missing, read_bytes

__all__ = ["Frame", "FrameSource", "open_clip", "open_frames"]


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


def open_frames(
    inputs: Sequence[str | Path], start: int = 1, end: int | None = None, output: Path | None = None
) -> list[FrameSource]:
    """Tell what the inputs are; nothing is decoded yet.

    Each video, each animated picture, each TIFF of several pages and each folder of pictures is a sequence; a quoted
    pattern (frames/*.png) stands for what it matches, its pictures being one sequence; picture files given one by one form
    one sequence together, in the order given. Folders and patterns are sorted as people count (2 before 10); hidden files
    are passed over, and warnings name what else is, and what is missing in the numbering of pictures.
    start and end number the first and the last frame of every sequence, from 1, both included.
    output: the folder that receives the results, which is no input of its own where there are others.
    Pictures, and inputs, of one name get distinct ones, which a warning says.
    RequestError for a URL or playlist, and for a pattern that matches nothing. What gives no sequence fails when it is
    iterated; where nothing else is given it fails at once, by RequestError for fewer than 2 pictures and by InputFileError
    for what cannot be read.
    """
    check_range(start, end)
    if not inputs:
        raise RequestError("no input was given: expected a video, a folder of pictures or two pictures")
    sources: list[FrameSource] = []
    single_pictures: list[Path] = []
    for given in words_without_results(inputs, output):
        if not str(given):
            raise RequestError("an input is empty: expected a video, a folder of pictures or two pictures")
        refuse_playlist(given)
        path = Path(given)
        # Unlike path.is_dir, os.path.isdir is False of what may not be looked at; the error comes when that is read.
        if os.path.isdir(path):
            sources.append(_folder(path, start, end))
        elif is_missing(path) and glob.has_magic(str(given)):
            sources += _matched(str(given), start, end, output)
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
    unreadable = [source for source in sources if isinstance(source, UnreadableSource)]
    if len(unreadable) == len(sources):
        raise unreadable[0].failure
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


def _pictures(name: str, paths: Sequence[Path], origin: str, start: int, end: int | None) -> FrameSource:
    """The sequence of these pictures; origin: what gave them."""
    try:
        if len(paths) == 1:
            read_bytes(paths[0], 1)  # whether it is there, before it is called too few
        return PictureSource(name, _of_range(paths, origin, start, end))
    except (InputFileError, RequestError) as failure:
        return UnreadableSource(name, paths[0], failure)


def _folder(path: Path, start: int, end: int | None) -> FrameSource:
    name = _folder_name(path)
    try:
        pictures = listed(path)
        others = what_it_holds(path) if len(pictures) < 2 else ""
        return PictureSource(name, _of_range(pictures, str(path), start, end, others))
    except (InputFileError, RequestError) as failure:
        return UnreadableSource(name, path, failure)


def _of_range(paths: Sequence[Path], origin: str, start: int, end: int | None, others: str = "") -> Sequence[Path]:
    """The pictures from start to end. RequestError for fewer than 2, or for names that cannot name results.

    others: what there is besides, for the error.
    """
    chosen = paths[start - 1 : end]
    if len(chosen) < 2:
        cut = (
            f", of which frames {start} to {end or 'the last'} leave {len(chosen)}" if len(chosen) < len(paths) else ""
        )
        given = f"{paths[0]} is one picture" if len(paths) == 1 else f"{origin} gives {len(paths)} picture files"
        holds = f"; it holds {others}" if others else ""
        raise RequestError(f"{given}{cut}: need at least 2 frames, in a list or in a folder{holds}")
    for path in chosen:
        if path.stem in ("", ".", "..") or "\\" in path.stem:
            raise RequestError(f"{path}: its name {path.stem!r} cannot name a result, rename the file")
    return chosen


def _matched(pattern: str, start: int, end: int | None, output: Path | None) -> list[FrameSource]:
    """The sequences that a pattern stands for."""
    try:
        found = matched(pattern, output)
    except InputFileError as failure:
        place = Path(pattern)
        return [UnreadableSource(_folder_name(place.parent), place, failure)]
    sources = [_folder(path, start, end) for path in found.folders]
    if found.pictures:
        sources.insert(0, _pictures(_folder_name(found.pictures[0].parent), found.pictures, pattern, start, end))
    return [*sources, *(_clip(path, start, end) for path in found.files)]


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

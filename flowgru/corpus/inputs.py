"""Which clips an INPUT stands for, and what each of them is called."""

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from flowgru.console import warn
from flowgru.corpus.lists import LIST_SUFFIXES, read_list
from flowgru.data.formats.images import num_pictures
from flowgru.data.video.containers import refuse_playlist
from flowgru.data.video.listing import ANIMATED_SUFFIXES, is_picture, is_video, told_apart
from flowgru.errors import RequestError, counted
from flowgru.files.bounded import is_missing
from flowgru.files.json_text import parse_json

SETTINGS = "corpus.json"
"""In the output folder of a corpus: what it was begun with."""

MAX_NAME_BYTES = 200
"""A part of an id between two slashes has at most so many bytes: it names a folder, and temporary ones beside it."""


class Clip(NamedTuple):
    """One clip of a corpus."""

    id: str
    """What its results are called, with slashes between folders; no two clips of a corpus have the same."""
    path: str
    """A video, an animation, or a folder of pictures."""
    start: int | None = None
    """Numbers of the first and last frame, from 1; None where the run's own settings hold."""
    end: int | None = None


def find_clips(inputs: Sequence[str], output: Path) -> list[Clip]:
    """The clips of folders, which are searched, patterns, lists and single files, in order.

    A video, an animation or a TIFF of several pages is a clip; a folder that holds two pictures or more, and none of these,
    is one too. Hidden files and output folders of corpora are passed over. An id is the path below the folder that was
    searched, with the file's ending: an id stays the same whatever other files come.
    RequestError where there is no clip, or where ids are no names or collide.
    """
    clips: list[Clip] = []
    listed: set[str] = set()
    for given in inputs:
        refuse_playlist(given)
        path = Path(given)
        if path.suffix.lower() in LIST_SUFFIXES and os.path.isfile(path):
            clips += [Clip(*entry) for entry in read_list(path)]
            listed |= {clip.id for clip in clips}
        elif os.path.isdir(path):  # unlike path.is_dir, False of what may not be looked at: that is a clip that fails
            if path.resolve() == output.resolve():
                raise RequestError(f"--output {output} is the folder of the clips: name another folder")
            clips += _searched(path, output)
        elif is_missing(path) and glob.has_magic(given):
            clips += dict.fromkeys(_matched(given, output))  # "videos/**" matches a folder, and what is in it as well
        elif not is_missing(path):
            clips.append(Clip(path.name, str(path)))
        else:
            raise RequestError(f"there is no {given}: expected a folder, a pattern, a list (.csv, .jsonl) or a video")
    if not clips:
        raise RequestError(f"{', '.join(inputs)} {_lacks_clips(inputs, output)}")
    _check_ids(clips, listed)
    return clips


def _lacks_clips(inputs: Sequence[str], output: Path) -> str:
    """Why there is no clip, by what was given."""
    if all(Path(given).suffix.lower() in LIST_SUFFIXES for given in inputs):
        return "lists no clip: expected a line for each, with its id and path"
    if not all(map(is_missing, inputs)):
        return "has no clip: expected videos, or folders of two pictures or more, in it or below it"
    matches = {path for given in inputs for path in _matches(given, output)}
    if not matches:
        return "matches nothing: correct the pattern, and quote it so that the shell leaves it as it is"
    fix = "expected videos, animations, or folders of two pictures or more"
    if len(folders := {path.parent for path in matches if is_picture(path)}) == 1:
        fix += f", such as {folders.pop()}"
    return f"matches {counted(len(matches), 'file')}, none of them a clip: {fix}"


def _searched(root: Path, output: Path) -> Iterator[Clip]:
    """The clips below a folder, sorted by their ids."""
    found, refused = [], list[Path]()
    for folder, files in _folders(root, output.resolve(), refused):
        paths = [folder / name for name in files]
        # Looking into a .png of every folder would take long, and hardly any is an animation.
        clips = _clips_among(path for path in paths if path.suffix.lower() != ".png")
        found += clips
        if not clips and sum(map(is_picture, paths)) >= 2:
            found.append(folder)
    # What nobody may look into is a clip that fails, so that it is not passed over without a word.
    clips = [Clip(path.relative_to(root).as_posix(), str(path)) for path in (*found, *refused)]
    return iter(sorted(clip if clip.id != "." else clip._replace(id=root.resolve().name or "frames") for clip in clips))


def _clips_among(files: Iterable[Path]) -> set[Path]:
    """The files that are clips: videos, and what holds several pictures.

    What by its ending is an animation and cannot be read is a clip, too: one that fails, and is not passed over in silence.
    """
    files = [*files]
    single, clips = told_apart(files)
    animations = (path for path in single if path.suffix.lower() in ANIMATED_SUFFIXES)
    return {*filter(is_video, files), *clips, *(path for path in animations if not num_pictures(path))}


def _folders(root: Path, output: Path, refused: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below root that is not hidden and no corpus' output, once, with its files that are not hidden.

    A link leads to a folder elsewhere; one to a folder above or below the root would name clips a second time. `refused`
    takes the folders that nobody may look into.
    """
    top, seen = root.resolve(), set()

    def refuse(error: OSError) -> None:
        refused.append(Path(error.filename))

    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        real = Path(folder).resolve()
        if real in seen or real == output:
            folders.clear()
            continue
        if SETTINGS in files and _is_passed_over(Path(folder)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [
            name for name in sorted(folders) if not name.startswith(".") and _leads_on(Path(folder, name), top)
        ]
        yield Path(folder), [name for name in files if not name.startswith(".")]


def _is_passed_over(folder: Path) -> bool:
    """Whether a run of a corpus has begun to write there, which is then said; SETTINGS may be a file of somebody else."""
    try:
        noted = parse_json((folder / SETTINGS).read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(noted, dict) or not {"flowgru", "settings"} <= noted.keys():
        return False
    warn(f"{folder} is the output folder of a corpus, and is passed over: its flows are no clips")
    return True


def _leads_on(folder: Path, top: Path) -> bool:
    if not folder.is_symlink():
        return True
    target = folder.resolve()
    return not target.is_relative_to(top) and not top.is_relative_to(target)


def _matched(pattern: str, output: Path) -> Iterator[Clip]:
    """The clips that a pattern matches; ids begin after the part of it that is a plain folder."""
    parts = PurePosixPath(Path(pattern).as_posix()).parts
    plain = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:plain])
    matches = _matches(pattern, output)
    clips = _clips_among(path for path in matches if not os.path.isdir(path))
    for path in matches:
        if os.path.isdir(path):
            for clip in _searched(path, output):
                below = Path(clip.path).relative_to(root).as_posix()
                yield clip if below == "." else clip._replace(id=below)
        elif path in clips:
            yield Clip(path.relative_to(root).as_posix(), str(path))


def _matches(pattern: str, output: Path) -> list[Path]:
    """What a pattern matches outside of the output folder, sorted."""
    place = output.resolve()
    matches = {path: path.resolve() for path in map(Path, sorted(glob.glob(pattern, recursive=True)))}
    folders = {above for real in matches.values() for above in (real, *real.parents)}
    outputs = [folder for folder in sorted(folders) if folder != place and _is_passed_over(folder)]
    return [path for path, real in matches.items() if not any(map(real.is_relative_to, (place, *outputs)))]


def _check_ids(clips: Sequence[Clip], listed: Collection[str]) -> None:
    """RequestError where an id cannot name a folder, or where the results of two clips would collide.

    listed: the ids that a list has given.
    """
    taken: dict[str, str] = {}
    for clip in clips:
        parts = clip.id.split("/")
        if not all(_is_name(part) for part in parts):
            raise RequestError(
                f"the id {clip.id!r} cannot name results: expected names with slashes between them, none hidden, and each "
                f"of at most {MAX_NAME_BYTES} bytes"
            )
        if clip.id in taken:
            fix = (
                "give each an id of its own in the list"
                if clip.id in listed
                else "quote the pattern, or name them in a list"
            )
            raise RequestError(f"two clips have the id {clip.id!r} ({taken[clip.id]} and {clip.path}): {fix}")
        taken[clip.id] = clip.path
    refuse_shared_folders(taken.keys())


def refuse_shared_folders(ids: Collection[str]) -> None:
    """RequestError where the results of one clip would lie in the folder of another's."""
    for name in ids:
        for place in re.finditer("/", name):
            if (above := name[: place.start()]) in ids:
                raise RequestError(
                    f"the results of {above!r} and {name!r} would share a folder: name them in a list, with other ids"
                )


def _is_name(part: str) -> bool:
    return (
        part.strip() != ""
        and not part.startswith(".")
        and not re.search(r"[\\\x00-\x1f]", part)
        and not PurePath(part).drive  # C: on Windows
        and len(part.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES
    )

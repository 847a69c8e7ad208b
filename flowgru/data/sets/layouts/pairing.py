"""Which files belong together, by their names; every file without its partner is named."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from flowgru.errors import InputFileError

SHOWN_FILES = 5
"""As many names an error lists before it only counts."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


class PairFiles(NamedTuple):
    """The files of one pair."""

    name: str
    first: Path
    second: Path
    flow: Path
    invalid: Path | None = None
    """Mask of the pixels whose flow is not to be judged."""
    occlusion: Path | None = None
    """Mask of the first picture's pixels that are not seen in the second."""
    valid: Path | None = None
    """Black where the flow is not known."""
    flow_stride: int = 1
    """Spring keeps 2x2 flows, in pixels of the picture, for each of them: every 2nd row and column is read."""
    set: str = ""
    """What a report groups the pair under; nothing is the data set itself."""
    others: tuple[tuple[str, str], ...] = ()
    """Further columns of a manifest and their cells, as they are."""


class Listing(NamedTuple):
    """What a set's folder holds."""

    pairs: list[PairFiles]
    """Those of which every file is there, sorted."""
    missing: list[str]
    """Files that a pair needs and that are not there, as paths in the folder."""
    lone: list[str]
    """Files that are there and in no pair."""


def paired(pairs: Iterable[PairFiles], present: set[Path], folder: Path) -> Listing:
    """Sets the pairs apart of which a file is not among the present ones, and names the present files in no pair."""
    whole, needed = [], set()
    for pair in pairs:
        files = {part for part in pair if isinstance(part, Path)}
        needed |= files
        if files <= present:
            whole.append(pair)
    missing, lone = (
        [path.relative_to(folder).as_posix() for path in sorted(paths)]
        for paths in (needed - present, present - needed)
    )
    return Listing(whole, missing, lone)


def sequence_pairs(
    name: str, flows: Mapping[int, Path], picture: Callable[[int], Path], step: int, present: set[Path] | None = None
) -> list[PairFiles]:
    """The pairs of one camera in one scene: the flow of frame n leads to frame n + step.

    With `present`, the flow of the last frame leads out of the sequence, to a frame that was never published; it is left
    alone then.
    """
    last = max(flows, key=lambda number: number * step, default=None)
    return [
        PairFiles(f"{name}/{flow.stem}", picture(number), picture(number + step), flow)
        for number, flow in sorted(flows.items())
        if present is None or number != last or picture(number + step) in present
    ]


def without_holes(flows: Mapping[int, Path], name: Callable[[int], str]) -> dict[int, Path]:
    """The flows, and those between the first and the last of them that are not there, whose pictures are in other pairs."""
    if not flows:
        return {}
    folder = next(iter(flows.values())).parent
    return {number: flows.get(number, folder / name(number)) for number in range(min(flows), max(flows) + 1)}


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """The files of a folder whose whole name matches, by the number in the pattern's group; none without the folder."""
    return {int(match[1]): folder / match[0] for match in _matches(folder, pattern)}


def matching(folder: Path, pattern: str) -> set[Path]:
    """The files of a folder whose whole name matches; none without the folder."""
    return {folder / match[0] for match in _matches(folder, pattern)}


def _matches(folder: Path, pattern: str) -> list[re.Match[str]]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [match for match in map(re.compile(pattern).fullmatch, names) if match]


def named(found: Mapping[int, Path], folder: Path, name: Callable[[int], str]) -> Callable[[int], Path]:
    """The file of a number: the one that was found, else the one that should be there; making a path is dear."""
    return lambda number: found[number] if number in found else folder / name(number)


def existing_folder(folder: Path, *names: str) -> Path:
    """The first of these sub-folders that exists. InputFileError without any."""
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise InputFileError(f"{folder} has no {' or '.join(names)}: found {folder_content(folder)}")


def folder_content(folder: Path) -> str:
    """The names of the sub-folders, and of archives that may wait to be unpacked, for an error text."""
    try:
        found = sorted(
            path.name
            for path in folder.iterdir()
            if not path.name.startswith(".") and (path.is_dir() or path.suffix in ARCHIVES)
        )
    except OSError as error:
        return f"nothing ({error.strerror})"
    return some(found) if found else "no folders"


def some(names: list[str]) -> str:
    """A list for an error text, cut short."""
    more = f" and {len(names) - SHOWN_FILES} more" if len(names) > SHOWN_FILES else ""
    return ", ".join(names[:SHOWN_FILES]) + more


def spelled(root: Path, candidate: str) -> Path | None:
    """A folder below root of that name, in whatever case it is spelled; the exact spelling goes first."""
    folder = root
    for name in Path(candidate).parts:
        if not (folder / name).is_dir():
            try:
                name = next(path.name for path in sorted(folder.iterdir()) if path.name.lower() == name.lower())
            except (OSError, StopIteration):
                return None
        folder = folder / name
    return folder if folder.is_dir() else None

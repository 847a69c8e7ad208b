"""Where results go: nothing is overwritten unasked and nothing lands elsewhere, and both are known before any work."""

import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import atomic_write

SUMMARY = "summary.json"
VIDEO = "flow.mp4"


def clip_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """One folder for each clip: the output folder itself for a single clip, else sub-folders named after the clips."""
    return [root] if len(names) == 1 else [root / name for name in names]


def refuse_folders(
    root: Path, folders: Sequence[Path], inputs: Sequence[Path], extension: str, *, pictures: bool, overwrite: bool
) -> None:
    """RequestError where results may not go.

    That is: a file; a link that leads out of the output folder; a folder that holds results already, unless
    `overwrite`; and a folder of input pictures, where the results are `pictures` and could replace or join them.
    """
    of_pictures = {path.parent for path in inputs if path.suffix.lower() in PICTURE_SUFFIXES}
    picture_folders = {folder.resolve() for folder in of_pictures}
    for folder in [root, *folders]:
        if folder.exists() and not folder.is_dir():
            raise RequestError(f"--output {folder} is a file: name a folder")
        if not folder.resolve().is_relative_to(root.resolve()):
            raise RequestError(f"{folder} is a link to {folder.resolve()}, outside --output {root}: remove the link")
        if pictures and folder.resolve() in picture_folders:
            raise RequestError(f"results in {folder} could replace the input pictures there: name another --output")
        video = folder / VIDEO
        if video.exists() and any(path.exists() and path.samefile(video) for path in inputs):
            raise RequestError(f"results in {folder} could replace the input {video}: name another --output")
        found = [] if overwrite or not folder.is_dir() else _results(folder, extension)
        if found:
            more = f" and {len(found) - 1} more results" if len(found) > 1 else ""
            raise RequestError(f"{folder} already holds {found[0].name}{more}: give --overwrite or another --output")


def refuse_clashing_names(pictures: Sequence[Path], endings: Sequence[str]) -> None:
    """RequestError where the flow of one picture would have the name of another one's result with one of the endings."""
    named = {path.parent / path.stem: path for path in pictures}
    for place, path in named.items():
        for ending in endings:
            if (other := named.get(place.with_name(place.name + ending))) is not None:
                raise RequestError(
                    f"the results of {path.name} and {other.name} would have one name: rename {other.name}"
                )


def make_folders(folders: Sequence[Path]) -> None:
    """Makes the folders and proves that they can be written. MachineError where the machine does not let us."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise MachineError(f"cannot write into {folder} ({reason}): name another --output") from None


def remove_empty(folders: Sequence[Path]) -> None:
    """Takes back folders in which nothing was written."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def write_summary(root: Path, summary: dict[str, Any], *, overwrite: bool) -> None:
    """Writes summary.json into the output folder."""
    with atomic_write(root / SUMMARY, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _results(folder: Path, extension: str) -> list[Path]:
    """The files in a folder that an estimation could have written."""
    names = (SUMMARY, VIDEO)
    return sorted(file for file in folder.iterdir() if file.suffix == extension or file.name in names)

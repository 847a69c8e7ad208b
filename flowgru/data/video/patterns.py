"""What the patterns among the inputs stand for, and which of what they match are results and no inputs."""

import glob
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flowgru.data.video.listing import (
    has_pictures,
    holds_nothing_beside,
    is_unread,
    is_video,
    named,
    sequence,
    sorted_as_counted,
    told_apart,
    unread_kinds,
)
from flowgru.errors import InputFileError, RequestError


class Matched(NamedTuple):
    """What a pattern stands for."""

    pictures: list[Path]
    """One sequence together."""
    folders: list[Path]
    """A sequence each, as are the files."""
    files: list[Path]
    """Videos, animated pictures and TIFFs of several pages."""


def matched(pattern: str, output: Path | None) -> Matched:
    """What a pattern stands for, each sorted as people count; warnings name what is passed over.

    The pictures are one sequence where there are two or more. A folder is left to its files where the pattern matches them
    too. What lies in the output folder is passed over, unless all does.
    RequestError where nothing matches; InputFileError where all that does are pictures of kinds that are not read.
    """
    matches = sorted_as_counted(Path(match) for match in glob.glob(pattern, recursive=True))
    if not matches:
        raise RequestError(f"the pattern {pattern} matches nothing: need at least 2 frames")
    matches = _without_results(matches, output)
    # Unlike Path.is_dir, os.path.isdir is False of what may not be looked at; the error comes when that is read.
    files = [path for path in matches if not os.path.isdir(path)]
    if all(is_unread(path) for path in files) and len(files) == len(matches):
        kinds = unread_kinds(files)
        raise InputFileError(f"the pattern {pattern} matches {kinds}, which are not read: convert them to .png")
    pictures, clips = told_apart(files)
    clips = sorted_as_counted([*clips, *filter(is_video, files)])
    of_files = {path.parent for path in (*pictures, *clips)}
    folders = [path for path in matches if os.path.isdir(path) and path not in of_files]
    of_pictures = [path for path in folders if has_pictures(path, least=2)]
    if not (pictures or clips or of_pictures):
        return Matched([], folders, files)
    if len(pictures) == 1 and (clips or of_pictures):
        pictures = []
    taken = {*pictures, *clips, *of_pictures, *of_files}
    if others := [path for path in matches if path not in taken and not is_unread(path)]:
        _warn(
            f"{pattern}: what is no clip is passed over ({named(others)}): a clip is a video, an animation, or two pictures "
            "or more"
        )
    if not pictures and (kinds := unread_kinds(files)):
        _warn(f"{pattern}: pictures of kinds that are not read are passed over ({kinds}): convert them to .png")
    return Matched(sequence(pictures, files, pattern), of_pictures, clips)


def words_without_results(inputs: Sequence[str | Path], output: Path | None) -> list[str | Path]:
    """The inputs without the output folder, folders in it that hold no pictures, and those above it that hold nothing else.

    A warning names what is left out. A shell that writes out videos/* names the output folder videos/flow among the videos,
    once it is there. All inputs stay where none other is there.
    """
    if output is None or not output.is_dir():
        return [*inputs]
    place, results = output.resolve(), []
    for folder in (Path(given) for given in inputs if str(given) and os.path.isdir(given)):
        real = folder.resolve()
        is_inside = real == place or (real.is_relative_to(place) and not has_pictures(folder))
        if is_inside or (place.is_relative_to(real) and holds_nothing_beside(folder, place)):
            results.append(folder)
    kept = [given for given in inputs if Path(given) not in results]
    if not kept:
        return [*inputs]
    _warn_of_results(results, output)
    return kept


def _without_results(paths: list[Path], output: Path | None) -> list[Path]:
    """The paths that do not lie in the output folder, a warning names the others; all paths where all lie there."""
    if output is None or not output.is_dir():
        return paths
    place = output.resolve()
    results = [path for path in paths if path.resolve().is_relative_to(place)]
    if len(results) == len(paths):
        return paths
    _warn_of_results(results, output)
    left_out = {*results}
    return [path for path in paths if path not in left_out]


def _warn_of_results(results: Sequence[Path], output: Path) -> None:
    if results:
        _warn(f"what --output {output} holds is passed over ({named(results)}): give it another name to have it read")


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)

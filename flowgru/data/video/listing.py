"""Which pictures a folder gives, in which order, and what a user should know of what is not there or passed over."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, count, pairwise
from pathlib import Path

from flowgru.data.formats.images import num_pictures
from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.errors import InputFileError, counted

ANIMATED_SUFFIXES = (".gif", ".apng", ".avifs")
"""Endings of pictures that are animations as a rule; others may be."""

_MAY_HOLD_SEVERAL = (".webp", ".avif", ".tif", ".tiff", ".png")
"""Endings of which the first picture is looked into, and the others only where that one holds several: to look into each of
thousands would take long."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".m2v", ".mpv", ".vob", ".ts"),
    *(".m2ts", ".mts", ".m2t", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".mxf", ".gxf", ".y4m"),
    *(".ivf", ".h264", ".264", ".h265", ".265", ".hevc", ".vvc", ".obu", ".mjpeg", ".mjpg", ".dv", ".rm", ".rmvb"),
    ".nut",
)
"""Endings, in small letters, of the files that are taken for videos where they are found; one that is named may have any."""

_UNREAD_SUFFIXES = (
    *(".exr", ".hdr", ".pfm", ".dpx", ".cin", ".psd", ".psb", ".xcf", ".heic", ".heif", ".hif", ".jxl", ".jxr", ".svg"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw", ".yuv"),
    *(".eps", ".ico", ".icns", ".dds", ".fits", ".fit", ".dcm", ".xbm", ".xpm", ".wmf", ".emf", ".pam", ".iff", ".bpg"),
)
"""Endings of pictures that flowgru does not read."""

_MOST_NAMED = 5
"""Missing names that a warning shows."""


def is_picture(path: Path) -> bool:
    """Whether the ending of a name is that of a picture that is read."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_video(path: Path) -> bool:
    """Whether the ending of a name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_unread(path: Path) -> bool:
    """Whether the ending of a name is that of a picture of a kind that is not read."""
    return path.suffix.lower() in _UNREAD_SUFFIXES


def listed(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted as people count; warnings name what is passed over, see also sequence.

    InputFileError for a folder that cannot be read.
    """
    paths, _ = _entries(folder)
    stills, clips = told_apart(paths)
    clips = sorted_as_counted([*clips, *filter(is_video, paths)])
    if stills and clips:
        _warn(f"{folder}: videos and animations are passed over ({named(clips)}): give each by itself")
    return sequence(stills, paths, str(folder))


def told_apart(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Those of the paths that are single pictures, and those that are animations or TIFFs of several pages."""
    pictures = [path for path in paths if is_picture(path)]
    firsts: dict[str, Path] = {}
    for path in pictures:
        firsts.setdefault(path.suffix.lower(), path)
    looked_into = {
        ending
        for ending, path in firsts.items()
        if ending in ANIMATED_SUFFIXES or (ending in _MAY_HOLD_SEVERAL and num_pictures(path) > 1)
    }
    clips = [path for path in pictures if path.suffix.lower() in looked_into and num_pictures(path) > 1]
    of_several = {*clips}
    return [path for path in pictures if path not in of_several], clips


def sequence(pictures: Sequence[Path], found: Iterable[Path], origin: str) -> list[Path]:
    """Pictures sorted as people count.

    A warning names the kinds of picture among all that was found that are passed over, and another what is missing where
    the numbers of the names skip some: the flow leads across such a hole.
    """
    pictures = sorted_as_counted(pictures)
    if pictures and (kinds := unread_kinds(found)):
        _warn(f"{origin}: pictures of kinds that are not read are passed over ({kinds}): convert them to .png")
    if missing := missing_names(pictures):
        _warn(f"{origin}: numbers are missing ({named(missing)}): the flow leads across the hole, over more time")
    return pictures


def unread_kinds(paths: Iterable[Path]) -> str:
    """How many pictures there are of each kind that is not read: 2 .exr, 1 .heic."""
    kinds = Counter(path.suffix.lower() for path in paths if is_unread(path))
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))


def what_it_holds(folder: Path) -> str:
    """What may have been meant in a folder that gives no two pictures, and how to give it; empty where nothing is there.

    InputFileError for a folder that cannot be read.
    """
    paths, folders = _entries(folder)
    parts = [f"{kinds}, which are not read: convert them to .png"] if (kinds := unread_kinds(paths)) else []
    if videos := Counter(path.suffix for path in paths if is_video(path)):
        ending = videos.most_common(1)[0][0]
        parts.append(f"{counted(videos.total(), 'video')}: give '{folder / f'*{ending}'}', or flowgru corpus {folder}")
    if clips := told_apart(paths)[1]:
        parts.append(f"{counted(len(clips), 'animation')}: give each by itself")
    if folders:
        parts.append(f"{counted(len(folders), 'folder')}: give '{folder / '*'}'")
    return " and ".join(parts)


def has_pictures(folder: Path, least: int = 1) -> bool:
    """Whether a folder that can be read holds so many pictures of kinds that are read."""
    with suppress(InputFileError):
        return sum(map(is_picture, _entries(folder)[0])) >= least
    return False


def holds_nothing_beside(folder: Path, place: Path) -> bool:
    """Whether a folder that can be read holds no picture and no video, and no folder but the one that leads to `place`."""
    with suppress(InputFileError):
        files, folders = _entries(folder)
        others = [each for each in folders if not place.is_relative_to(each.resolve())]
        return not others and not any(is_picture(path) or is_video(path) or is_unread(path) for path in files)
    return False


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders in a folder, without what is hidden. InputFileError for a folder that cannot be read."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(folder / entry.name)
    except OSError as error:
        raise InputFileError(f"cannot read the folder {folder}: {error.strerror}") from error
    return files, folders


def missing_names(pictures: Sequence[Path]) -> list[str]:
    """Names that the numbering of sorted pictures skips, where most of it goes by one step.

    The last number of a name counts; names that differ in anything else are numbered by themselves.
    """
    series: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for path in pictures:
        if found := re.fullmatch(r"(.*?)(\d{1,15})(\D*)", path.stem):
            key = (str(path.parent), found[1], found[3])
            series.setdefault(key, []).append((int(found[2]), len(found[2])))
    missing = []
    for (_, before, behind), numbers in series.items():
        steps = Counter(second[0] - first[0] for first, second in pairwise(numbers))
        step, count = steps.most_common(1)[0] if steps else (0, 0)
        if step < 1 or 2 * count <= steps.total():
            continue
        for (first, digits), (second, _) in pairwise(numbers):
            places = range(first + step, second, step)
            missing += [f"{before}{number:0{digits}}{behind}" for number in places[:1000]]
    return missing


def sorted_as_counted(paths: Iterable[Path]) -> list[Path]:
    """Sorted with runs of digits by their number: frame2 before frame10."""
    return sorted(paths, key=lambda path: (_counting_order(str(path)), str(path)))


def warn_of_shell_order(pictures: list[Path]) -> None:
    """A shell sorts frame_10 before frame_2; two pictures may be meant as they stand."""
    if len(pictures) > 2 and pictures == sorted(pictures) != sorted_as_counted(pictures):
        _warn(
            "pictures are taken in the order given, which is not that of their numbers: quote the pattern to sort them"
        )


def distinct_names(paths: Sequence[Path], what: str = "pictures") -> list[str]:
    """What the results of each of the files, or folders, are called: its name without ending, if no other has the same.

    Else the name of its folder goes before it, else its ending follows, else a number; a warning says so.
    """
    paths = [Path(os.path.abspath(path)) for path in paths]  # . and .. are no names
    names = [_stem(path) for path in paths]
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if not repeated:
        return names
    for name in repeated:
        places = [index for index, other in enumerate(names) if other == name]
        for lengthen in _LONGER:
            tried = [lengthen(paths[index]) for index in places]
            if len(set(tried)) == len(tried) and not {*tried} & {*names}:
                break
        else:
            taken, tried = {*names}, []
            for _ in places:
                number = next(number for number in count(1) if f"{name}_{number}" not in taken)
                tried.append(f"{name}_{number}")
                taken.add(tried[-1])
        for index, new in zip(places, tried, strict=True):
            names[index] = new
        _warn(f"{len(places)} {what} are called {name!r}: their results are called {named(tried)}")
    return names


def name_beside(path: Path, others: Sequence[str]) -> str:
    """What a file is called for itself, if none of the others is called so; else as distinct_names calls it."""
    path = Path(os.path.abspath(path))
    numbered = (f"{path.stem}_{number}" for number in count(1))
    names = chain([path.stem], (lengthen(path) for lengthen in _LONGER), numbered)
    return next(name for name in names if name not in others)


def _stem(path: Path) -> str:
    return path.name if os.path.isdir(path) else path.stem


_LONGER: tuple[Callable[[Path], str], ...] = (
    lambda path: f"{path.parent.name}_{_stem(path)}",
    lambda path: f"{path.parent.name}_{path.name.replace('.', '_')}",
)
"""Longer names of an absolute path, the first of which is taken that tells files of one name apart."""


def _counting_order(text: str) -> list[tuple[str, int]]:
    return [(letters, int(digits or -1)) for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def named(names: Sequence[str | Path]) -> str:
    """The first of some names, or of the names of files, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    shown = [name.name if isinstance(name, Path) else name for name in names[:_MOST_NAMED]]
    return ", ".join(shown) + more


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)

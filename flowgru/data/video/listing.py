"""Which pictures a folder or a pattern gives, in which order, and what a user should know of those that are not there."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count, pairwise
from pathlib import Path

from flowgru.data.formats.images import num_pictures
from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.errors import InputFileError

ANIMATED_SUFFIXES = (".gif", ".apng", ".avifs")
"""Endings of pictures that are animations as a rule; others may be."""

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


def listed(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted as people count; a warning names what is passed over.

    InputFileError for a folder that cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except OSError as error:
        raise InputFileError(f"cannot read the folder {folder}: {error.strerror}") from error
    return chosen((folder / name for name in names), str(folder))


def chosen(paths: Iterable[Path], origin: str) -> list[Path]:
    """Those of the paths that are single pictures, sorted as people count.

    A warning names the kinds of picture that are passed over, and another what is missing where the numbers of the
    names skip some: the flow leads across such a hole.
    """
    paths = sorted_as_counted(paths)
    pictures = [path for path in paths if is_picture(path)]
    clips = [path for path in pictures if path.suffix.lower() in ANIMATED_SUFFIXES and num_pictures(path) > 1]
    pictures = [path for path in pictures if path not in clips]
    kinds = Counter(path.suffix.lower() for path in paths if path.suffix.lower() in _UNREAD_SUFFIXES)
    if pictures and kinds:
        named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        _warn(f"{origin}: pictures of kinds that are not read are passed over ({named}): convert them to .png")
    if pictures and clips:
        _warn(f"{origin}: animations are passed over ({_named([path.name for path in clips])}): give each by itself")
    if missing := missing_names(pictures):
        _warn(f"{origin}: numbers are missing ({_named(missing)}): the flow leads across the hole, over more time")
    return pictures


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
        _warn(f"{len(places)} {what} are called {name!r}: their results are called {_named(tried)}")
    return names


def name_beside(path: Path, others: Sequence[str]) -> str:
    """What a file is called for itself, if none of the others is called so; else as distinct_names calls it."""
    path = Path(os.path.abspath(path))
    numbered = (f"{path.stem}_{number}" for number in count(1))
    names = chain([path.stem], (lengthen(path) for lengthen in _LONGER), numbered)
    return next(name for name in names if name not in others)


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


_LONGER: tuple[Callable[[Path], str], ...] = (
    lambda path: f"{path.parent.name}_{_stem(path)}",
    lambda path: f"{path.parent.name}_{path.name.replace('.', '_')}",
)
"""Longer names of an absolute path, the first of which is taken that tells files of one name apart."""


def _counting_order(text: str) -> list[tuple[str, int]]:
    return [(letters, int(digits or -1)) for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)

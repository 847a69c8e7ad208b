"""Is a data set whole? Counts its pairs, compares every file's length with its header, and decodes some pairs.

Pictures whose header does not say how long they are, such as JPEG, are all decoded.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from flowgru.data.formats.flow_arrays import npy_size
from flowgru.data.formats.flow_files import flow_size
from flowgru.data.formats.images import whole_size
from flowgru.data.sets.layouts.layout import Layout
from flowgru.data.sets.layouts.masks import picture_masks
from flowgru.data.sets.layouts.pairing import Listing, PairFiles
from flowgru.data.sets.opening import find_dataset, read_pair
from flowgru.errors import InputFileError, sides, size_text


class SetReport(NamedTuple):
    """What was found of a set."""

    folder: Path
    layout: Layout | None
    """None for a manifest."""
    listing: Listing
    found: dict[str, int]
    """How many pairs lie in each folder."""
    missing_scenes: list[str]
    missing_parts: list[str]
    """Patterns of folders that the full set has."""
    damaged: list[str]
    """One line for every file that is not what it claims to be."""
    num_files: int
    num_decoded: int
    known: float
    """Share of the pixels of the decoded pairs whose flow is known."""

    @property
    def num_lacking(self) -> int:
        """Pairs that the full set has, and this one has not, as far as their number is known; below 0 if too many."""
        if self.layout is None or self.layout.num_pairs is None:
            return 0
        if self.layout.split is not None and self.listing.missing:  # a set that lacks files is not split
            return 0
        return self.layout.num_pairs - len(self.listing.pairs)

    @property
    def whole(self) -> bool:
        """Nothing is missing, left over or damaged."""
        return bool(self.listing.pairs) and not (
            self.num_lacking
            or self.missing_scenes
            or self.missing_parts
            or self.listing.missing
            or self.listing.lone
            or self.damaged
        )


def check_dataset(
    name: str, root: str | Path, num_decoded: int, progress: Callable[[int], Callable[[], None]]
) -> SetReport:
    """Looks through the whole set and decodes as many pairs of it, evenly spread.

    progress is given the number of pairs and returns what is called after each. RequestError for an unknown name,
    InputFileError where nothing of the set is found.
    """
    folder, listing, layout = find_dataset(name, root)
    pairs, read_masks = listing.pairs, picture_masks if layout is None else layout.read_masks
    damaged: dict[str, None] = {}  # a picture lies in two pairs and is reported once
    size_of = cache(_size)
    files: set[Path] = set()
    advance = progress(len(pairs))
    for pair in pairs:
        damaged |= dict.fromkeys(_faults(pair, size_of))
        files |= {part for part in pair if isinstance(part, Path)}
        advance()
    known, num_decoded = [], min(num_decoded, len(pairs))
    for index in sorted({round(step * (len(pairs) - 1) / max(num_decoded - 1, 1)) for step in range(num_decoded)}):
        if not pairs or any(str(part) in line for line in damaged for part in pairs[index] if isinstance(part, Path)):
            continue
        try:
            sample = read_pair(pairs[index], pairs[index].name, read_masks)
            known.append(sample.valid.float().mean().item())
        except InputFileError as error:
            damaged[str(error)] = None
        else:
            if known[-1] == 0:
                damaged[f"{pairs[index].flow} has no pixel with a known flow"] = None
    found = Counter(PurePosixPath(pair.name).parent.as_posix() for pair in pairs)
    scenes = {PurePosixPath(folder).name for folder in found}
    return SetReport(
        folder,
        layout,
        listing,
        dict(sorted(found.items())),
        [scene for scene in layout.scenes if scene not in scenes] if layout is not None else [],
        [part for part in layout.parts if not any(folder.glob(part))] if layout is not None else [],
        list(damaged),
        len(files),
        len(known),
        sum(known) / len(known) if known else 0.0,
    )


def _faults(pair: PairFiles, size_of: "Callable[[Path, bool], tuple[int, int] | str]") -> list[str]:
    """What is wrong with the files of a pair; only pictures that do not say how long they are are decoded for it."""
    faults = []
    expected = size_of(pair.first, False)
    for path in dict.fromkeys(part for part in pair if isinstance(part, Path)):
        size = size_of(path, path == pair.flow)
        if isinstance(size, str):
            faults.append(size)
            continue
        width, height = (-(-side // pair.flow_stride) for side in size) if path == pair.flow else size
        if not isinstance(expected, str) and (width, height) != expected:
            faults.append(f"{path} is {sides(size[::-1])} and {pair.first} {size_text(expected[::-1])}")
    return faults


def _size(path: Path, is_flow: bool) -> tuple[int, int] | str:
    """Width and height, or what is wrong with the file."""
    try:
        if is_flow:
            return flow_size(path)
        return npy_size(path, mask=True) if path.suffix.lower() == ".npy" else whole_size(path)
    except InputFileError as error:
        return str(error)

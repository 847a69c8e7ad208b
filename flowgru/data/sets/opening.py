"""The public benchmark sets, read in the layouts in which they are published, and sets of one's own."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.data.formats.masks import bright_pixels
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import DATASETS
from flowgru.data.sets.layouts.chairs import split_pairs
from flowgru.data.sets.layouts.layout import Layout
from flowgru.data.sets.layouts.masks import Masks, picture_masks
from flowgru.data.sets.layouts.pairing import Listing, PairFiles, folder_content, some, spelled
from flowgru.data.sets.manifest import list_manifest
from flowgru.errors import InputFileError, RequestError, did_you_mean, nearest, sides, size_text
from flowgru.files.names import shortest_names

MANIFEST_SUFFIX = ".csv"


class FoundSet(NamedTuple):
    """A set where it lies."""

    folder: Path
    listing: Listing
    layout: Layout | None
    """None for a manifest."""


class FlowPairs(Dataset[FlowSample]):
    """The pairs of one set, in the order of its layout or manifest; each is read from its files when it is asked for."""

    def __init__(self, name: str, folder: Path, pairs: list[PairFiles], layout: Layout | None = None) -> None:
        self.name = name
        self.label = Path(name).name
        """What the set and its pairs are called in reports: of a manifest's path the last part."""
        self.folder = folder
        self.pairs = pairs
        self._read_masks = picture_masks if layout is None else layout.read_masks
        num_full = None if layout is None else layout.num_pairs
        self.num_full = len(pairs) if num_full is None else num_full
        """Pairs in the full set, of which some may be absent; those that are there, where its number is not known."""

    @property
    def flow_folder(self) -> str:
        """Where the true flows lie: tells KITTI's flow_occ (all pixels) from flow_noc (not the occluded ones)."""
        return self.flow_folder_of(self.pairs)

    def flow_folder_of(self, pairs: Iterable[PairFiles]) -> str:
        """The same of some of the pairs."""
        return ", ".join(sorted({self._flow_folder(folder) for folder in {pair.flow.parent for pair in pairs}}))

    @property
    def groups(self) -> list[str]:
        """What a report groups each pair under: a manifest's column `set`, else the set's own name."""
        return [pair.set or self.name for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        """Reads one pair. InputFileError where a file is damaged, or its size is not that of the others."""
        return read_pair(self.pairs[index], f"{self.label}/{self.pairs[index].name}", self._read_masks)

    def _flow_folder(self, folder: Path) -> str:
        inside = folder.relative_to(self.folder).parts if folder.is_relative_to(self.folder) else folder.parts
        return next((part for part in reversed(inside) if "flow" in part.lower()), folder.name)


def open_datasets(names: Iterable[str], root: str | Path) -> list[FlowPairs]:
    """Several sets, each once; manifests of one name are labelled by so much of their folders that tells them apart."""
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(os.path.abspath(name) if is_manifest(name) else name, name)
    sets = [open_dataset(name, root) for name in once.values()]
    for pairs, label in zip(sets, shortest_names([pairs.name for pairs in sets]), strict=True):
        pairs.label = label
    return sets


def open_dataset(name: str, root: str | Path, others: Collection[str] = ()) -> FlowPairs:
    """The benchmark set of that name below the data root, or the pairs of a manifest, whose name ends in .csv.

    others: names that the caller knows besides, and a refusal lists.

    RequestError for an unknown name; InputFileError where the set is not there or its files do not pair up.
    """
    folder, listing, layout = find_dataset(name, root, others)
    faults = []
    if listing.missing:
        faults.append(f"lacks {some(listing.missing)}")
    if listing.lone:
        faults.append(f"has no partner for {some(listing.lone)}")
    where = folder if layout is not None else Path(name)
    if faults:
        fix = "unpack the set again, or remove the whole pair" if layout is not None else "correct the paths"
        raise InputFileError(f"{where} {' and '.join(faults)}: {fix}")
    if not listing.pairs:
        if layout is None:
            raise InputFileError(f"{name} lists no pair: below its header, it needs a line for each pair")
        raise InputFileError(
            f"{where} holds no pair with a flow: found {folder_content(folder)}; download {layout.source}"
        )
    return FlowPairs(name, folder, listing.pairs, layout)


def is_manifest(name: str) -> bool:
    """Whether that is the name of a manifest, rather than of a benchmark set."""
    return name.lower().endswith(MANIFEST_SUFFIX)


def require_known(name: str, others: Collection[str] = ()) -> None:
    """RequestError unless that is the name of a benchmark set or of a manifest; `others` are known to the caller."""
    if name not in DATASETS and not is_manifest(name):
        known = (*others, *DATASETS)
        hint = did_you_mean(name, known)
        raise RequestError(
            f"unknown data set {name!r}: {hint}known are {', '.join(known)}, and manifests, whose names end in .csv"
        )


def is_nearly_set(name: str) -> bool:
    """Whether it is spelled much like the name of a benchmark set."""
    return nearest(name, DATASETS) is not None


def find_dataset(name: str, root: str | Path, others: Collection[str] = ()) -> FoundSet:
    """Where a set lies and what is there of it, be it whole or not.

    RequestError for an unknown name; InputFileError where nothing of the set is found.
    """
    require_known(name, others)
    if is_manifest(name):
        return FoundSet(Path(name).parent, list_manifest(Path(name)), None)
    root = Path(root)
    found = list(_candidates(name, root))
    if not found:
        looked_for = [
            (Path(folder) / layout.holds).as_posix() for layout in DATASETS[name] for folder in layout.folders
        ]
        above = next((path for path in root.absolute().parents[:3] if any(_candidates(name, path))), None)
        fix = f"give the folder above, {above}" if above is not None else f"download {DATASETS[name][0].source}"
        raise InputFileError(
            f"{name} is not below {root}: looked for {' or '.join(looked_for)}, found {folder_content(root)}; {fix}"
        )
    folder, listing, layout = _fullest(found)
    assert layout is not None
    if layout.split is not None and listing.pairs and not listing.missing:
        above = [path for path in folder.parents if path == root or root in path.parents]
        listing = listing._replace(pairs=split_pairs(listing.pairs, layout.split, [folder, *above]))
    return FoundSet(folder, listing, layout)


def _candidates(name: str, root: Path) -> Iterator[tuple[Path, Layout]]:
    """The folders below root that a layout of the set may lie in, and that layout."""
    for layout in DATASETS[name]:
        for candidate in layout.folders:
            folder = spelled(root, candidate)
            if folder is not None and (folder / layout.holds).is_dir():
                yield folder, layout


def _fullest(candidates: list[tuple[Path, Layout]]) -> FoundSet:
    """The first of the folders that holds pairs, else the first that holds anything of the set.

    KITTI/training may be the part for stereo or objects, with the flow's part beside it. InputFileError, with what each
    folder lacks, where none holds anything.
    """
    partial, faults = None, []
    for folder, layout in candidates:
        try:
            found = FoundSet(folder, layout.list_pairs(folder), layout)
        except InputFileError as error:
            faults.append(str(error))
            continue
        if found.listing.pairs:
            return found
        if partial is None or (found.listing.missing and not partial.listing.missing):
            partial = found
    if partial is None:
        raise InputFileError(f"{'; '.join(faults)}; download {candidates[0][1].source}")
    return partial


def read_pair(files: PairFiles, name: str, read_masks: Callable[[PairFiles], Masks] = picture_masks) -> FlowSample:
    """The pictures, flow and masks of one pair. InputFileError where they have different sizes."""
    first, second = read_image(files.first), read_image(files.second)
    flow, known = read_flow(files.flow)
    flow, known = (part[:: files.flow_stride, :: files.flow_stride] for part in (flow, known))
    invalid, occlusion = read_masks(files)
    valid = None if files.valid is None else bright_pixels(files.valid)
    parts = {
        files.second: second,
        files.flow: flow,
        files.occlusion: occlusion,
        files.invalid: invalid,
        files.valid: valid,
    }
    for path, part in parts.items():
        if part is not None and part.shape[:2] != first.shape[:2]:
            strided = (
                f" in every {files.flow_stride}nd row and column" if part is flow and files.flow_stride > 1 else ""
            )
            raise InputFileError(
                f"{path} is {sides(part.shape)}{strided} and {files.first} {size_text(first.shape)}: "
                "all files of a pair must have one size"
            )
    if invalid is not None:
        known = known & ~invalid
    if valid is not None:
        known = known & valid
    return FlowSample(
        first=to_tensor(first),
        second=to_tensor(second),
        flow=torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1))),
        valid=torch.from_numpy(np.ascontiguousarray(known)),
        occlusion=None if occlusion is None else torch.from_numpy(occlusion),
        name=name,
    )

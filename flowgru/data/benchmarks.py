"""The public benchmark sets, read in the layouts in which they are published."""

import difflib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch.utils.data import Dataset

from flowgru.data.flow_files import read_flow
from flowgru.data.images import read_image, to_tensor
from flowgru.data.layouts import (
    Layout,
    PairFiles,
    chairs_pairs,
    folder_content,
    kitti_pairs,
    middlebury_pairs,
    sintel_pairs,
)
from flowgru.data.sample import FlowSample
from flowgru.errors import InputFileError, RequestError

DATASETS: dict[str, Layout] = {
    "chairs": Layout(
        ("FlyingChairs_release/data", "FlyingChairs/FlyingChairs_release/data"),
        num_pairs=22_872,
        list_pairs=chairs_pairs,
    ),
    "sintel": Layout(("Sintel/training",), num_pairs=2_082, list_pairs=sintel_pairs("clean", "final")),
    "sintel_clean": Layout(("Sintel/training",), num_pairs=1_041, list_pairs=sintel_pairs("clean")),
    "sintel_final": Layout(("Sintel/training",), num_pairs=1_041, list_pairs=sintel_pairs("final")),
    "kitti2012": Layout(
        ("KITTI-2012/training", "KITTI2012/training", "kitti2012/training"),
        num_pairs=194,
        list_pairs=kitti_pairs("image_0", "colored_0"),
    ),
    "kitti2015": Layout(
        ("KITTI/training", "KITTI-2015/training", "KITTI2015/training", "kitti2015/training"),
        num_pairs=200,
        list_pairs=kitti_pairs("image_2"),
    ),
    "middlebury": Layout(("Middlebury", "middlebury"), num_pairs=8, list_pairs=middlebury_pairs),
}
"""Every set with true flow, by the name it is asked for."""


class FlowPairs(Dataset[FlowSample]):
    """The pairs of one set, in the order of their names; each is read from its files when it is asked for."""

    def __init__(self, name: str, folder: Path, layout: Layout) -> None:
        self.name = name
        self.folder = folder
        self.num_full = layout.num_pairs
        """Pairs in the full set, of which some may be absent."""
        self.pairs = layout.list_pairs(folder)

    @property
    def flow_folder(self) -> str:
        """Where the true flows lie: tells KITTI's flow_occ (all pixels) from flow_noc (not the occluded ones)."""
        inside = self.pairs[0].flow.relative_to(self.folder).parts
        return inside[0] if len(inside) > 1 else self.folder.name

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        """Reads one pair. InputFileError where a file is damaged, or its size is not that of the others."""
        return read_pair(self.pairs[index], name=f"{self.name}/{self.pairs[index].name}")


def open_dataset(name: str, root: str | Path) -> FlowPairs:
    """The benchmark set of that name below the data root.

    RequestError for an unknown name; InputFileError where the set is not there or its files do not pair up.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RequestError(f"unknown data set {name!r}: {hint}known are {', '.join(DATASETS)}")
    root, layout = Path(root), DATASETS[name]
    folder = next((root / candidate for candidate in layout.folders if (root / candidate).is_dir()), None)
    if folder is None:
        raise InputFileError(
            f"{name} is not below {root}: looked for {' or '.join(layout.folders)}, found {folder_content(root)}"
        )
    return FlowPairs(name, folder, layout)


def read_pair(files: PairFiles, name: str) -> FlowSample:
    """The pictures, flow and masks of one pair. InputFileError where they have different sizes."""
    first, second = read_image(files.first), read_image(files.second)
    flow, valid = read_flow(files.flow)
    occlusion = None if files.occlusion is None else _read_mask(files.occlusion)
    invalid = None if files.invalid is None else _read_mask(files.invalid)
    parts = {
        files.second: second,
        files.flow: flow,
        files.occlusion: occlusion,
        files.invalid: invalid,
    }
    for path, part in parts.items():
        if part is not None and part.shape[:2] != first.shape[:2]:
            raise InputFileError(
                f"{path} is {part.shape[1]}x{part.shape[0]} and {files.first} {first.shape[1]}x{first.shape[0]}: "
                "all files of a pair must have one size"
            )
    if invalid is not None:
        valid = valid & ~invalid
    return FlowSample(
        first=to_tensor(first),
        second=to_tensor(second),
        flow=torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1))),
        valid=torch.from_numpy(valid),
        occlusion=None if occlusion is None else torch.from_numpy(occlusion),
        name=name,
    )


def _read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """True where a black-and-white picture is white."""
    return read_image(path)[..., 0] > 127

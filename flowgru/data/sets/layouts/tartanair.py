"""TartanAir (Wang et al. 2020)."""

import os
from collections.abc import Iterator
from pathlib import Path

from flowgru.data.formats.flow_arrays import read_npy_mask
from flowgru.data.sets.layouts.masks import Masks
from flowgru.data.sets.layouts.pairing import Listing, PairFiles, matching, paired


def tartanair_pairs(folder: Path) -> Listing:
    """<environment>/Easy/P000/image_left/000000_left.png, and flow/000000_000001_flow.npy and _mask.npy beside it.

    Environments may lie in a folder more, as their archives unpack them. The masks, where a trajectory has any, must be
    there for every flow.
    """
    pairs: list[PairFiles] = []
    present: set[Path] = set()
    for trajectory in _trajectories(folder):
        pictures, flows = trajectory / "image_left", trajectory / "flow"
        found = sorted(matching(flows, r"\d+_\d+_(flow|mask)\.npy"))
        present |= {*found, *matching(pictures, r"\d+_left\.png")}
        masked = any(path.stem.endswith("_mask") for path in found)
        for flow in (path for path in found if path.stem.endswith("_flow")):
            first, second, _ = flow.stem.split("_")
            mask = flows / f"{first}_{second}_mask.npy" if masked else None
            name = f"{trajectory.relative_to(folder).as_posix()}/{first}_{second}"
            files = (pictures / f"{first}_left.png", pictures / f"{second}_left.png", flow)
            pairs.append(PairFiles(name, *files, invalid=mask, occlusion=mask))
    return paired(pairs, present, folder)


def tartanair_masks(files: PairFiles) -> Masks:
    """One mask says both: 0 where all is seen, 1 and 10 where a pixel is occluded, 100 where it is out of view."""
    if files.invalid is None:
        return Masks(None, None)
    mask = read_npy_mask(files.invalid)
    return Masks(invalid=mask > 50, occlusion=mask > 0)


def _trajectories(folder: Path) -> Iterator[Path]:
    """Folders with pictures and flow; what is below them is not searched, because they hold thousands of files."""
    for path, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        if {"image_left", "flow"} <= set(folders):
            folders.clear()
            yield Path(path)

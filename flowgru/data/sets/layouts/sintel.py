"""MPI-Sintel (Butler et al. 2012)."""

from collections.abc import Callable
from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles, paired
from flowgru.errors import InputFileError

_NUMBERS = {
    **{"alley": "12", "ambush": "24567", "bamboo": "12", "bandage": "12", "cave": "24", "market": "256"},
    **{"mountain": "1", "shaman": "23", "sleeping": "12", "temple": "23"},
}
SCENES = tuple(f"{name}_{number}" for name, numbers in _NUMBERS.items() for number in numbers)
"""The 23 scenes with published flow."""


def sintel_pairs(*passes: str) -> Callable[[Path], Listing]:
    """<pass>/<scene>/frame_0001.png, flow/<scene>/frame_0001.flo.

    `invalid` and `occlusions`, where there are such folders, must hold one mask for every flow; one of a scene's last
    frame, from which no flow leads on, is left alone.
    """

    def list_pairs(folder: Path) -> Listing:
        flows = sorted((folder / "flow").glob("*/frame_*.flo"))
        masks = {kind: (folder / kind).is_dir() for kind in ("invalid", "occlusions")}
        pairs = []
        for picture_pass in passes:
            for flow in flows:
                scene, picture = flow.parent.name, f"{flow.stem}.png"
                pairs.append(
                    PairFiles(
                        name=f"{picture_pass}/{scene}/{flow.stem}",
                        first=folder / picture_pass / scene / picture,
                        second=folder / picture_pass / scene / f"{_next_name(flow.stem)}.png",
                        flow=flow,
                        invalid=folder / "invalid" / scene / picture if masks["invalid"] else None,
                        occlusion=folder / "occlusions" / scene / picture if masks["occlusions"] else None,
                    )
                )
        pictures = {path for name in passes for path in (folder / name).glob("*/frame_*.png")}
        followed = {(flow.parent.name, flow.stem) for flow in flows}
        shown = {(path.parent.name, path.stem) for path in pictures}
        every_mask = {path for kind in masks for path in (folder / kind).glob("*/frame_*.png")}
        of_pairs = {
            path
            for path in every_mask
            if (path.parent.name, path.stem) in followed or (path.parent.name, _next_name(path.stem)) in shown
        }
        return paired(pairs, pictures | of_pairs | set(flows), folder)

    return list_pairs


def _next_name(stem: str) -> str:
    """frame_0001 -> frame_0002"""
    prefix, number = stem.rsplit("_", 1)
    if not number.isdecimal():
        raise InputFileError(f"{stem} has no frame number: expected a name like frame_0001")
    return f"{prefix}_{int(number) + 1:0{len(number)}}"

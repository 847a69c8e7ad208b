"""Which files of a benchmark set belong together, by their names; every file without its partner is named."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from flowgru.errors import InputFileError

SHOWN_FILES = 5
"""As many names an error lists before it only counts."""


class PairFiles(NamedTuple):
    """The files of one pair."""

    name: str
    first: Path
    second: Path
    flow: Path
    invalid: Path | None = None
    """White where the flow is not to be judged."""
    occlusion: Path | None = None
    """White where the first picture's pixel is not seen in the second."""


class Layout(NamedTuple):
    """Where a set lies below the data root, and how its files are paired."""

    folders: tuple[str, ...]
    """The names that the set's folder may have; the first that exists is read."""
    num_pairs: int
    """Pairs in the full set."""
    list_pairs: Callable[[Path], list[PairFiles]]
    """The pairs in that folder, sorted by name. InputFileError that names unpaired files."""


def chairs_pairs(folder: Path) -> list[PairFiles]:
    """FlyingChairs: 00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo (Dosovitskiy et al. 2015)."""
    kinds = ("_img1.ppm", "_img2.ppm", "_flow.flo")
    present = {path for path in folder.iterdir() if path.name.endswith(kinds)}
    numbers = sorted({path.name.split("_")[0] for path in present})
    pairs = [PairFiles(number, *(folder / f"{number}{kind}" for kind in kinds)) for number in numbers]
    return _matched(pairs, present, folder)


def sintel_pairs(*passes: str) -> Callable[[Path], list[PairFiles]]:
    """MPI-Sintel: <pass>/<scene>/frame_0001.png, flow/<scene>/frame_0001.flo (Butler et al. 2012).

    `invalid` and `occlusions`, where there are such folders, must hold one mask for every flow.
    """

    def list_pairs(folder: Path) -> list[PairFiles]:
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
        present = {path for name in passes for path in (folder / name).glob("*/frame_*.png")}
        present |= {path for kind in masks for path in (folder / kind).glob("*/frame_*.png")}
        return _matched(pairs, present | set(flows), folder)

    return list_pairs


def kitti_pairs(*picture_folders: str) -> Callable[[Path], list[PairFiles]]:
    """KITTI: <pictures>/000000_10.png and _11.png, flow_occ/000000_10.png (Geiger et al. 2012, Menze and Geiger 2015).

    Without flow_occ the flow of flow_noc is read, which leaves out the pixels that are not seen in the second picture;
    the pairs' names say which. Other frames of the multi-view extension are left alone.
    """

    def list_pairs(folder: Path) -> list[PairFiles]:
        pictures = _existing(folder, picture_folders)
        flows = _existing(folder, ("flow_occ", "flow_noc"))
        present = {path for path in pictures.iterdir() if re.fullmatch(r"\d+_1[01]\.png", path.name)}
        present |= set(flows.glob("*_10.png"))
        numbers = sorted({path.name.split("_")[0] for path in present})
        pairs = [
            PairFiles(
                name=f"{flows.name}/{number}_10",
                first=pictures / f"{number}_10.png",
                second=pictures / f"{number}_11.png",
                flow=flows / f"{number}_10.png",
            )
            for number in numbers
        ]
        return _matched(pairs, present, folder)

    return list_pairs


def middlebury_pairs(folder: Path) -> list[PairFiles]:
    """Middlebury: other-data/<scene>/frame10.png and frame11.png, other-gt-flow/<scene>/flow10.flo (Baker et al. 2011).

    Scenes without a published flow are left alone.
    """
    flows = sorted((folder / "other-gt-flow").glob("*/flow10.flo"))
    pictures = folder / "other-data"
    pairs = [
        PairFiles(
            name=flow.parent.name,
            first=pictures / flow.parent.name / "frame10.png",
            second=pictures / flow.parent.name / "frame11.png",
            flow=flow,
        )
        for flow in flows
    ]
    present = {path for name in ("frame10.png", "frame11.png") for path in pictures.glob(f"*/{name}")}
    return _matched(pairs, present | set(flows), folder, extras_allowed=True)


def _next_name(stem: str) -> str:
    """frame_0001 -> frame_0002"""
    prefix, number = stem.rsplit("_", 1)
    if not number.isdecimal():
        raise InputFileError(f"{stem} has no frame number: expected a name like frame_0001")
    return f"{prefix}_{int(number) + 1:0{len(number)}}"


def _existing(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these sub-folders that exists. InputFileError without any."""
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise InputFileError(f"{folder} has no {' or '.join(names)}: found {folder_content(folder)}")


def folder_content(folder: Path) -> str:
    """The names of the sub-folders, for an error text."""
    try:
        found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        return f"nothing ({error.strerror})"
    return _some(found) if found else "no folders"


def _matched(
    pairs: list[PairFiles], present: set[Path], folder: Path, *, extras_allowed: bool = False
) -> list[PairFiles]:
    """The pairs, once every file of them is present and every present file is in one of them."""
    needed = {path for pair in pairs for path in pair if isinstance(path, Path)}
    faults = []
    if missing := sorted(needed - present):
        faults.append(f"lacks {_some(_relative(missing, folder))}")
    if not extras_allowed and (extras := sorted(present - needed)):
        faults.append(f"has no partner for {_some(_relative(extras, folder))}")
    if faults:
        raise InputFileError(f"{folder} {' and '.join(faults)}: unpack the set again, or remove the whole pair")
    if not pairs:
        raise InputFileError(f"{folder} holds no pair with a flow: found {folder_content(folder)}")
    return pairs


def _relative(paths: Iterable[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_FILES} more" if len(names) > SHOWN_FILES else ""
    return ", ".join(names[:SHOWN_FILES]) + more

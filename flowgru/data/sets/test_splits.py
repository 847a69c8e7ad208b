"""The test splits of the benchmarks, whose true flow only their servers know: which pairs, and what is handed in."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flowgru.data.sets.layouts import DATASETS
from flowgru.data.sets.layouts.pairing import matching, numbered, spelled
from flowgru.errors import InputFileError


class SubmissionPair(NamedTuple):
    """A pair of pictures whose flow is handed in."""

    first: Path
    second: Path
    target: str
    """The flow's file in the submission, with slashes, as the server names it."""


class BenchmarkTestSplit(NamedTuple):
    """What one benchmark asks for."""

    folders: tuple[str, ...]
    """Where the split may lie below the data root; the first that holds it is read."""
    num_flows: int
    """Flows in a whole submission."""
    list_pairs: Callable[[Path], list[SubmissionPair]]
    """The pairs in that folder, in the order of their scenes and frames. InputFileError where a picture is missing."""
    zipped: bool
    """The server takes a zip of the flows; else a tool of the benchmark makes the file that is uploaded."""
    last_step: str
    """What is left to be done with the finished folder."""
    source: str
    """What to download, and where."""


def open_test_split(name: str, root: Path) -> list[SubmissionPair]:
    """The pairs of a test split below the data root. InputFileError where it is not there or has gaps."""
    split = TEST_SPLITS[name]
    faults = []
    for candidate in split.folders:
        folder = spelled(root, candidate)
        if folder is None:
            continue
        try:
            if pairs := split.list_pairs(folder):
                return pairs
            faults.append(f"{folder} holds no pair of pictures: unpack the test split of {name} again")
        except InputFileError as error:  # another task's part of KITTI may lie there
            faults.append(str(error))
    if not faults:
        looked_for = " or ".join(split.folders)
        raise InputFileError(
            f"the test split of {name} is not below {root}: looked for {looked_for}; download {split.source}"
        )
    raise InputFileError("; ".join(dict.fromkeys(faults)))


def _sintel(folder: Path) -> list[SubmissionPair]:
    """<pass>/<scene>/frame_0001.png; handed in as <pass>/<scene>/frame0001.flo, without the underscore."""
    return [
        SubmissionPair(first, second, f"{name}/{scene.name}/frame{number:04}.flo")
        for name in ("clean", "final")
        for scene in _folders(folder / name)
        for number, first, second in _neighbours(_frames(scene, "frame"))
    ]


def _kitti(*picture_folders: str, flow_folder: str) -> Callable[[Path], list[SubmissionPair]]:
    """<pictures>/000000_10.png and _11.png; handed in as 000000_10.png in `flow_folder`."""

    def list_pairs(folder: Path) -> list[SubmissionPair]:
        pictures = next((folder / name for name in picture_folders if (folder / name).is_dir()), None)
        if pictures is None:
            raise InputFileError(f"{folder} has no {' or '.join(picture_folders)}: unpack the test split again")
        pairs = [
            SubmissionPair(first, first.with_name(first.name.replace("_10", "_11")), flow_folder + first.name)
            for first in sorted(matching(pictures, r"\d+_10\.png"))
        ]
        for pair in pairs:
            if not pair.second.is_file():
                raise InputFileError(f"{pair.second} is missing: unpack the test split again")
        return pairs

    return list_pairs


def _spring(folder: Path) -> list[SubmissionPair]:
    """<scene>/frame_left/frame_left_0001.png; handed in as <scene>/flow_FW_left/flow_FW_left_0001.flo5, BW and right."""
    pairs = []
    for scene in _folders(folder):
        for side in ("left", "right"):
            following = _neighbours(_frames(scene / f"frame_{side}", f"frame_{side}"))
            for direction in ("FW", "BW"):
                name = f"flow_{direction}_{side}"
                for number, first, second in following:
                    if direction == "BW":
                        number, first, second = number + 1, second, first
                    pairs.append(SubmissionPair(first, second, f"{scene.name}/{name}/{name}_{number:04}.flo5"))
    return pairs


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputFileError(f"{folder} is missing: unpack the test split again")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _frames(folder: Path, prefix: str) -> dict[int, Path]:
    """The pictures <prefix>_0001.png by their number. InputFileError where one between two others is missing."""
    frames = dict(sorted(numbered(folder, rf"{prefix}_(\d{{4}})\.png").items()))
    for number in range(min(frames, default=0), max(frames, default=-1)):
        if number not in frames:
            raise InputFileError(f"{folder / f'{prefix}_{number:04}.png'} is missing: unpack the test split again")
    if len(frames) < 2:
        raise InputFileError(f"{folder} holds {len(frames)} pictures {prefix}_0001.png: expected at least 2")
    return frames


def _neighbours(frames: dict[int, Path]) -> list[tuple[int, Path, Path]]:
    """Each frame but the last, with its number and the frame after it."""
    return [(number, path, frames[number + 1]) for number, path in frames.items() if number + 1 in frames]


TEST_SPLITS: dict[str, BenchmarkTestSplit] = {
    "sintel": BenchmarkTestSplit(
        ("Sintel/test", "MPI-Sintel/test"),
        num_flows=2 * 552,
        list_pairs=_sintel,
        zipped=False,
        last_step="run Sintel's own tool, `bundler clean final sintel.lzma`, there and upload what it writes",
        source=DATASETS["sintel"][0].source,
    ),
    "kitti2012": BenchmarkTestSplit(
        ("KITTI-2012/testing", "KITTI2012/testing", "kitti2012/testing"),
        num_flows=195,
        list_pairs=_kitti("colored_0", "image_0", flow_folder=""),
        zipped=True,
        last_step="upload the zip",
        source=DATASETS["kitti2012"][0].source,
    ),
    "kitti2015": BenchmarkTestSplit(
        ("KITTI/testing", "KITTI-2015/testing", "KITTI2015/testing", "kitti2015/testing", "KittiFlow/testing"),
        num_flows=200,
        list_pairs=_kitti("image_2", flow_folder="flow/"),
        zipped=True,
        last_step="upload the zip",
        source=DATASETS["kitti2015"][0].source,
    ),
    "spring": BenchmarkTestSplit(
        ("spring/test", "Spring/test"),
        num_flows=3_960,
        list_pairs=_spring,
        zipped=False,
        last_step="run Spring's own tool, `flow_subsampling .`, there and upload the .hdf5 file it writes",
        source="the frames (left, right) of the test part from https://spring-benchmark.org",
    ),
}
"""Every benchmark that takes submissions, by the name it is asked for."""

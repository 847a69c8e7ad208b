"""The names of the files of an estimation, and the folders in which they lie."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgru.config.estimation import VIDEO
from flowgru.data.formats.flow_formats import FLOW_FORMATS

JOURNAL = "estimate.jsonl"
LOCK = "estimate.lock"
CARRIED = "estimate.carried.npz"
"""What the next pair of a clip goes on with, in the clip's folder: the coarse flow of the last one with --warm-start, and a
network's memory."""
OF_THE_RUN = (JOURNAL, LOCK, CARRIED)
"""Files by which a run goes on; they are no results."""
SUMMARY = "summary.json"


def clip_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """One folder for each clip: the output folder itself for a single clip, else sub-folders named after the clips."""
    return [root] if len(names) == 1 else [root / name for name in names]


def files_of_pair(folder: Path, name: str, request: Mapping[str, Any]) -> list[Path]:
    """The files of one pair that a request asks for: flows, then pictures."""
    suffix = FLOW_FORMATS[request["format"]].suffix
    backward, confidence = bool(request.get("backward")), bool(request.get("confidence"))
    pictures = ["_occlusion"] * backward + ["_confidence"] * confidence
    return [
        *(folder / f"{name}{ending}{suffix}" for ending in ["", *["_backward"] * backward]),
        *(folder / f"{name}{ending}.png" for ending in pictures),
    ]


def video_of_size(video: Path, number: int) -> Path:
    """The file with the frames of a clip's number-th size, from 1 on."""
    return video if number == 1 else video.with_stem(f"{video.stem}_{number}")


def is_video(name: str, first: str) -> bool:
    """Whether it is a name of video_of_size, where that of the first size is `first`."""
    stem, suffix = (re.escape(part) for part in (Path(first).stem, Path(first).suffix))
    return re.fullmatch(rf"{stem}(_([2-9]|[1-9]\d+))?{suffix}", name) is not None


def folders_of_request(root: Path, request: Mapping[str, Any]) -> dict[str, Path]:
    """Where the results of each clip lie that a request asks for; nothing of a request that flowgru has not written."""
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or not all(map(is_file_name, inputs)):
        return {}
    return dict(zip(inputs, clip_folders(root, inputs), strict=True))


def video_of_request(request: Mapping[str, Any]) -> str | None:
    """The name of the video of each clip's first size; None where none was asked for."""
    video = request.get("video")
    if isinstance(video, str):
        return video
    return VIDEO if video or request.get("arrows") else None


def is_file_name(name: Any) -> bool:
    """Whether it names something in a folder, and leads nowhere else."""
    return isinstance(name, str) and name not in ("", "..") and Path(name).name == name

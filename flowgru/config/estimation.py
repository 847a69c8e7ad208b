"""What `flowgru estimate` and `flowgru track` compute, and what they write."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from flowgru.config.choices import FlowFormat
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import height_and_width, is_ascending, require, require_effect
from flowgru.errors import RequestError

VIDEO = "flow.mp4"
"""The video of a clip, where --video gives no other name."""
VIDEO_SUFFIXES = (".mp4", ".gif", ".webp")


@dataclass(frozen=True)
class EstimateSettings(ModelSettings):
    """What is computed, and what is written."""

    output: str = field(kw_only=True)
    """Folder that receives the flows and summary.json; several videos or folders get one sub-folder each."""
    format: FlowFormat = "flo"
    """Flow file format: png16 is the 16-bit .png of KITTI; each other format has the name of its files' ending."""
    video: bool | str = False
    """Also write flow.mp4: the frames beside their flow in colours of one scale, with a legend. --video flow.gif or
    --video flow.webp, a name without a folder, writes an animated picture of this name instead; a GIF has fewer colours."""
    arrows: bool = False
    """Draw arrows of the flow over the frames of the video; implies --video."""
    max_flow: float | None = None
    """Length in pixels of the strongest colour of the video; without it the largest 99th percentile of up to
    50 flows from all over the clip."""
    backward: bool = False
    """Also write <first>_backward, the flow from the second frame to the first, and <first>_occlusion.png."""
    confidence: bool = False
    """Also write <first>_confidence.png: white where the model is sure of the flow to about 1 px, black where it is not.
    Only a model that was trained with network.confidence says so."""
    stride: int = 1
    """Pair frame i with frame i + stride, then go on by stride."""
    fps: float | None = None
    """Use at most so many frames a second, by the times of the frames, which pictures have not, before --stride counts
    them."""
    start: int = 1
    """Number of the first frame that is used, from 1."""
    end: int | None = None
    """Number of the last frame that is used."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; the flow is written at the frames' own size."""
    overwrite: bool = False
    """Begin anew and replace what is already there; other files that the earlier run lists are taken away with the first
    new flow. Without it the same command goes on where it stopped, and a folder with results of anything else is refused
    before any work."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do when an input cannot be read: stop (fail), or go on with the other inputs (skip). The exit code is 3."""
    overlap: bool = True
    """Read the next frame, and write the flow before, in threads while a pair is computed; --no-overlap does one thing after
    the other. The results are the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self.start, self.end, self.stride, self.fps)
        if self.max_flow is not None and not 0 < self.max_flow < math.inf:
            raise RequestError(f"--max-flow is {self.max_flow}: it must be above 0, in pixels")
        require_effect(
            self.max_flow is None or self.video_name is not None, "--max-flow", "without --video or --arrows"
        )
        if isinstance(self.video, str):
            check_video_name(self.video)
        self.size_to_compute()

    @property
    def video_name(self) -> str | None:
        """The file of each clip's video; None where none is written."""
        if isinstance(self.video, str):
            return self.video
        return VIDEO if self.video or self.arrows else None

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        return size_to_compute(self.resize)


STRIDES = (1, 2, 4, 8)
"""Over how many frames the links of a chain lead, where nobody says otherwise."""
LONGEST_STRIDE = 256
"""As many frames are kept in memory."""


@dataclass(frozen=True)
class TrackSettings(ModelSettings):
    """Which points are followed, and how."""

    output: str = field(kw_only=True)
    """Folder that receives tracks.csv and tracks.mp4."""
    points: str | None = None
    """CSV file of the points to follow: columns x and y, in pixels of the first frame, and point for their names if these
    are not 1, 2, 3 and so on."""
    grid: int | None = None
    """Follow so many rows of as many points, evenly spaced over the first frame, instead of --points."""
    strides: tuple[int, ...] = STRIDES
    """Over how many frames a flow may lead, ascending from 1. Each point reaches a frame by the chain of flows that agrees
    best with the flows back. 1 alone chains the flows from frame to frame; each further stride takes as much time again."""
    video: bool = True
    """Write tracks.mp4: the frames with the points over them, those that are hidden as rings."""
    fps: float | None = None
    """Use at most so many frames a second, by the times of the frames. Pictures have no times."""
    start: int = 1
    """Number of the first frame that is used, from 1; the points are those of this frame."""
    end: int | None = None
    """Number of the last frame that is used."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; points keep the frames' own pixels."""
    overwrite: bool = False
    """Replace results that are already there; with --no-video an earlier run's tracks.mp4 is taken away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.points is None) == (self.grid is None):
            raise RequestError("give either --points FILE.csv or --grid N, which says which points are followed")
        check_strides(self.strides, "--strides")
        check_frames(self.start, self.end, 1, self.fps)
        if self.grid is not None:
            require(1 <= self.grid <= LARGEST_GRID, "--grid", self.grid, f"from 1 to {LARGEST_GRID}")
        require_effect(
            not self.warm_start, "--warm-start", "for tracks, whose pairs of frames do not follow each other"
        )
        if self.flow_folder is not None:
            raise RequestError(f"--initial-flow is {self.initial_flow}: tracks begin each flow at dis or zero")
        self.size_to_compute()

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        return size_to_compute(self.resize)


LARGEST_GRID = 1000
"""Rows, and points in each of them."""


def check_strides(strides: tuple[int, ...], name: str) -> None:
    """RequestError unless each is a number of frames, above the one before, and the first is 1."""
    sound = all(isinstance(stride, int) for stride in strides) and is_ascending(strides) and strides[0] == 1
    shown = ", ".join(map(str, strides)) or "empty"
    require(sound and strides[-1] <= LONGEST_STRIDE, name, shown, f"ascending from 1, up to {LONGEST_STRIDE}")


def check_video_name(name: str) -> None:
    """RequestError unless a video of this name can be written into the output folder."""
    stem, dot, ending = name.rpartition(".")
    if not stem or name.startswith(".") or f"{dot}{ending}".lower() not in VIDEO_SUFFIXES or {*name} & {*"/\\\0"}:
        endings = ", ".join(VIDEO_SUFFIXES)
        raise RequestError(
            f"--video is {name!r}: expected the name of a file in the output folder, ending in one of {endings}"
        )


def check_frames(start: int, end: int | None, stride: int, fps: float | None) -> None:
    """RequestError, in the words of the command line, where these cannot choose the frames of a clip."""
    for name, value in (("stride", stride), ("start", start)):
        if value < 1:
            raise RequestError(f"--{name} is {value}: it must be 1 or more")
    if fps is not None and not 0 < fps < math.inf:
        raise RequestError(f"--fps is {fps}: it must be above 0, in frames a second")
    if end is not None and end <= start:
        raise RequestError(f"--end is {end} and --start {start}: at least 2 frames are needed")


def size_to_compute(resize: str | None) -> tuple[int, int] | float | None:
    """--resize as (height, width), as a factor, or None. RequestError where it is none of these."""
    if resize is None:
        return None
    if size := height_and_width(resize):
        if all(size):
            return size
    elif re.fullmatch(r"\d*\.?\d+", resize) and 0 < float(resize) <= 16:
        return float(resize)
    raise RequestError(f"--resize is {resize!r}: expected HEIGHTxWIDTH, or a factor above 0 and at most 16")

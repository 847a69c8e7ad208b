"""What `flowgru estimate` computes, and what it writes."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from flowgru.config.choices import FlowFormat
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import require_effect
from flowgru.errors import RequestError


@dataclass(frozen=True)
class EstimateSettings(ModelSettings):
    """What is computed, and what is written."""

    output: str = field(kw_only=True)
    """Folder that receives the flows and summary.json; several videos or folders get one sub-folder each."""
    format: FlowFormat = "flo"
    """Flow file format: png16 is the 16-bit .png of KITTI; each other format has the name of its files' ending."""
    video: bool = False
    """Also write flow.mp4: the frames beside their flow in colours of one scale, with a legend."""
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
    """Use at most so many frames a second, by the times of the frames, before --stride counts them."""
    start: int = 1
    """Number of the first frame that is used, from 1."""
    end: int | None = None
    """Number of the last frame that is used."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; the flow is written at the frames' own size."""
    overwrite: bool = False
    """Replace results that are already there; without it the command refuses before any work."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do when an input cannot be read: stop (fail), or go on with the other inputs (skip). The exit code is 3."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self.start, self.end, self.stride, self.fps)
        if self.max_flow is not None and not 0 < self.max_flow < math.inf:
            raise RequestError(f"--max-flow is {self.max_flow}: it must be above 0, in pixels")
        require_effect(self.max_flow is None or self.video or self.arrows, "--max-flow", "without --video or --arrows")
        self.size_to_compute()

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        return size_to_compute(self.resize)


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
    if size := re.fullmatch(r"(\d{1,5})x(\d{1,5})", resize):
        height, width = int(size[1]), int(size[2])
        if height and width:
            return height, width
    elif re.fullmatch(r"\d*\.?\d+", resize) and 0 < float(resize) <= 16:
        return float(resize)
    raise RequestError(f"--resize is {resize!r}: expected HEIGHTxWIDTH, or a factor above 0 and at most 16")

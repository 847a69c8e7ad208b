"""What `flowgru estimate` computes, and what it writes."""

import math
import re
from dataclasses import dataclass, fields
from typing import Literal

from flowgru.config.choices import CorrelationMethod, FlowFormat, Precision
from flowgru.config.model_settings import ModelSettings
from flowgru.errors import RequestError


@dataclass(frozen=True)
class EstimateSettings:
    """What is computed, and what is written."""

    output: str
    """Folder that receives the flows and summary.json; several videos or folders get one sub-folder each."""
    model: str = "default"
    """default, raft_large, raft_small, a file of weights, or an exported model (.onnx, .xml)."""
    iterations: int | None = None
    """Refinements of each flow; without it the number in the model's card, else 12."""
    initial_flow: str | None = None
    """Where the refinement of each pair begins: dis (the flow of OpenCV's DIS), zero, or a folder of flow files that are
    named as the results; without it what the model's card says, else zero."""
    hold: int | None = None
    """Refinements before the others that settle the hidden state and leave the flow where it is; without it the number in
    the model's card, else 0."""
    polish: bool | None = None
    """Take the initial flow where the pictures agree better with it, and refine the flow by variation; without it what
    the model's card says, else no."""
    stop_below: float | None = None
    """End the refinement of a flow where a step has moved it by less than this many pixels, in the mean over the picture;
    0.05 is hardly seen in the error. --iterations stays the most there are."""
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
    warm_start: bool = False
    """Begin each refinement at the previous flow, carried along by itself, instead of the initial flow; not across cuts."""
    stride: int = 1
    """Pair frame i with frame i + stride, then go on by stride."""
    start: int = 1
    """Number of the first frame that is used, from 1."""
    end: int | None = None
    """Number of the last frame that is used."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; the flow is written at the frames' own size."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1."""
    precision: Precision = "32"
    """Precision of the arithmetic in bits; bf16 and 16 compute in mixed precision."""
    compile: bool = False
    """Let torch.compile make the model faster. It pays for many frames of one size: the first pair of every size takes a
    minute or more, which is printed. Needs a C++ compiler."""
    correlation: CorrelationMethod = "auto"
    """all_pairs keeps the matches of all pairs of pixels, on_demand computes what it needs in each refinement, in little
    memory; auto takes all_pairs where it fits into a quarter of the free memory, on a CPU at most 1 GiB."""
    tiles: str = "1x1"
    """ROWSxCOLUMNS of overlapping tiles that are computed one after the other, for frames that memory cannot hold."""
    overwrite: bool = False
    """Replace results that are already there; without it the command refuses before any work."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do when an input cannot be read: stop (fail), or go on with the other inputs (skip). The exit code is 3."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("stride", self.stride, 1),
            ("start", self.start, 1),
        ):
            if value < least:
                raise RequestError(f"--{name} is {value}: it must be {least} or more")
        self.of_model()
        if self.end is not None and self.end <= self.start:
            raise RequestError(f"--end is {self.end} and --start {self.start}: at least 2 frames are needed")
        if self.max_flow is not None and not 0 < self.max_flow < math.inf:
            raise RequestError(f"--max-flow is {self.max_flow}: it must be above 0, in pixels")
        self.size_to_compute()

    def of_model(self) -> ModelSettings:
        """Those that say which model estimates flow, and how."""
        return ModelSettings(**{each.name: getattr(self, each.name) for each in fields(ModelSettings)})

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        if self.resize is None:
            return None
        if size := re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.resize):
            height, width = int(size[1]), int(size[2])
            if height and width:
                return height, width
        elif re.fullmatch(r"\d*\.?\d+", self.resize) and 0 < float(self.resize) <= 16:
            return float(self.resize)
        raise RequestError(f"--resize is {self.resize!r}: expected HEIGHTxWIDTH, or a factor above 0 and at most 16")

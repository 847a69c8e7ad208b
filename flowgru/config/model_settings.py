"""Which model estimates flow, and how: what the commands that estimate have in common."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from flowgru.config.choices import CorrelationMethod, Precision
from flowgru.config.require import require_choices, require_device, require_effect
from flowgru.config.way import COMPUTED, Way, check_way, resolve_way
from flowgru.errors import RequestError


@dataclass(frozen=True)
class ModelSettings:
    """A model and how it is used; the commands that estimate have these options."""

    model: str = "default"
    """default, raft_large, raft_small, a file of weights, an exported model (.onnx, .xml), or hf://owner/name, a model on
    the Hugging Face Hub."""
    iterations: int | None = None
    """Refinements: so many times the network corrects each flow, at full size; without it the number in the model's card,
    else 12. Where a card for several scales is used at one, it is the card's largest number, also of --coarse-iterations."""
    initial_flow: str | None = None
    """The initial flow, at which the refinements of each pair begin: dis (the flow of OpenCV's DIS), zero, or a folder of
    flow files that are named as the results, with backward flows among them where these are computed too (track and live
    take dis or zero alone); without it what the model's card says, else zero."""
    hold: int | None = None
    """Held refinements: so many before the others, which let the network's hidden state settle and leave the flow as
    it is; without it the number in the model's card, else 0."""
    scales: int | None = None
    """Sizes of the pictures at which the flow is refined one after the other, each half as large as the next. With 2, it
    is refined at half the size first, where large motion is half as long, and what comes of it is where the refinements at
    full size begin. Where the flow of DIS is moved far there, it counts as wrong, and the pair begins again, at zero and at
    a quarter of the size. Pictures whose shorter side is below 192 pixels have one scale, and so have pairs that begin at
    the previous flow (--warm-start); of --iterations and --coarse-iterations they have the larger one. Without it the
    number in the model's card, else 1; with --initial-flow zero, 1."""
    coarse_iterations: int | None = None
    """Refinements at each size but the full one, where there are more scales than one; without it the number in the model's
    card, else as many as --iterations."""
    polish: bool | None = None
    """Two last steps without learning: the gate, which in each pixel takes the initial flow where the two pictures agree
    better under it than under the network's flow (from zero there is no gate), and OpenCV's variational refinement,
    which smooths the flow and fits it to the pictures. The way to a flow thus is: initial flow > held refinements and
    refinements at each smaller size > held refinements > refinements > gate > variational refinement. Without it what the
    model's card says, else no."""
    warm_start: bool = False
    """Begin each refinement at the previous flow, carried along by itself, instead of the initial flow; not across the cuts
    of a clip and not in the pair after one (evaluate and submit look for no cuts), and not where a pair does not begin with
    the picture that ended the one before. Of the benchmarks of submit sintel and spring have such pairs, spring
    forward in time. track refuses it: its pairs do not follow each other."""
    stop_below: float | None = None
    """End the refinement of a flow where a step has moved it by less than this many pixels, in the mean over the picture;
    0.05 is hardly seen in the error. --iterations stays the most there are. At a smaller size it ends that size's
    refinement, by that size's pixels."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1."""
    precision: Precision = "32"
    """Precision of the arithmetic in bits; bf16 and 16 compute in mixed precision."""
    correlation: CorrelationMethod = "auto"
    """all_pairs keeps the matches of all pairs of pixels, on_demand computes what it needs in each refinement, in little
    memory; auto takes all_pairs where it fits into a quarter of the free memory, on a CPU at most 1 GiB."""
    tiles: str = "1x1"
    """ROWSxCOLUMNS of overlapping tiles that are computed one after the other, for pictures that memory cannot hold."""
    compile: bool = False
    """Let torch.compile make the model faster. It pays for many pictures of one size: the first pair of every size takes a
    minute or more, which is printed, and so does the first that begins again (see --scales). Needs a C++ compiler."""
    cuda_graph: bool = True
    """On a CUDA device, record after 64 pairs of one size what a pair has the device do, and then start it as a whole;
    --no-cuda-graph starts each kernel by itself. --stop-below does so too."""

    def __post_init__(self) -> None:
        require_choices(self, "--")
        require_device(self.device)
        check_way(
            self.initial_flow,
            scales=self.scales,
            iterations=self.iterations,
            hold=self.hold,
            coarse_iterations=self.coarse_iterations,
        )
        if self.stop_below is not None and not 0 < self.stop_below < math.inf:
            raise RequestError(f"--stop-below is {self.stop_below}: it must be above 0, in pixels")
        self.rows_and_columns()

    def rows_and_columns(self) -> tuple[int, int]:
        """The tiles as (rows, columns)."""
        if not (found := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", self.tiles)):
            raise RequestError(f"--tiles is {self.tiles!r}: expected ROWSxCOLUMNS, such as 2x2, and at most 99x99")
        return int(found[1]), int(found[2])

    @property
    def flow_folder(self) -> str | None:
        """The folder that initial flows are read from; None where they are computed."""
        return None if self.initial_flow in (None, *COMPUTED) else self.initial_flow

    def way(self, card: Mapping[str, Any]) -> Way:
        """The way to a flow of the model with this card. RequestError where a setting has no effect on it."""
        # As options are written; without --scales it is the card that says so.
        if self.coarse_iterations is not None:
            at_one = resolve_way(card, initial_flow=self.initial_flow, scales=self.scales).scales == 1
            where = "where the flow is refined at one scale, as here without --scales 2"
            require_effect(not at_one, "--coarse-iterations", where)
        return resolve_way(
            card,
            iterations=self.iterations,
            initial_flow=self.initial_flow,
            hold=self.hold,
            polish=self.polish,
            scales=self.scales,
            coarse_iterations=self.coarse_iterations,
        )

    def given(self) -> list[str]:
        """Those that are not as they are without options, as options are written."""
        changed = [each.name for each in fields(ModelSettings) if getattr(self, each.name) != each.default]
        return [f"--{name.replace('_', '-')}" for name in changed]

"""Which model estimates flow, and how: what the commands that estimate have in common."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowgru.config.choices import CorrelationMethod, Precision
from flowgru.config.way import Way, check_way, resolve_way
from flowgru.errors import RequestError


@dataclass(frozen=True)
class ModelSettings:
    """A model and how it is used; the options of a command have these names."""

    model: str = "default"
    """default, raft_large, raft_small, a file of weights, or an exported model."""
    iterations: int | None = None
    """Refinements of each flow; this and the next three are as the model's card says where they are None."""
    initial_flow: str | None = None
    """dis, zero, or a folder of flow files."""
    hold: int | None = None
    """Refinements before the others that settle the hidden state and leave the flow where it is."""
    polish: bool | None = None
    """Whether the network's flow goes through a gate and a variational refinement."""
    warm_start: bool = False
    """Begin each refinement at the previous flow, carried along by itself."""
    stop_below: float | None = None
    """Pixels: a refinement that moves the flow by less, in the mean, is the last one."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1."""
    precision: Precision = "32"
    correlation: CorrelationMethod = "auto"
    tiles: str = "1x1"
    """ROWSxCOLUMNS of overlapping tiles that are computed one after the other."""
    compile: bool = False
    """Let torch.compile make the model faster."""

    def __post_init__(self) -> None:
        check_way(self.initial_flow, iterations=self.iterations, hold=self.hold)
        if self.stop_below is not None and not 0 < self.stop_below < math.inf:
            raise RequestError(f"--stop-below is {self.stop_below}: it must be above 0, in pixels")
        self.rows_and_columns()

    def rows_and_columns(self) -> tuple[int, int]:
        """The tiles as (rows, columns)."""
        if not (found := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", self.tiles)):
            raise RequestError(f"--tiles is {self.tiles!r}: expected ROWSxCOLUMNS, such as 2x2, and at most 99x99")
        return int(found[1]), int(found[2])

    def way(self, card: Mapping[str, Any]) -> Way:
        """The way to a flow of the model with this card."""
        return resolve_way(
            card, iterations=self.iterations, initial_flow=self.initial_flow, hold=self.hold, polish=self.polish
        )

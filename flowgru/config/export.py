"""What `flowgru export` writes, and as what."""

from dataclasses import dataclass

from flowgru.config.choices import ExportFormat
from flowgru.config.require import require_choices
from flowgru.config.way import check_way
from flowgru.errors import RequestError


@dataclass(frozen=True)
class ExportSettings:
    """What is exported, and as what."""

    output: str
    """File that is written, with the ending of its format (flow.onnx); what else belongs to it goes beside it."""
    format: ExportFormat = "onnx"
    """The program that the file is for: each runs files of its own format."""
    model: str = "default"
    """default, raft_large, raft_small, or a file of weights."""
    iterations: int | None = None
    """Refinements: so many times the network corrects each flow, fixed in the file, for all sizes of estimate's
    --scales; without it the number in the model's card, the largest where it has one for smaller sizes too, else 12."""
    hold: int | None = None
    """Held refinements: so many before the others, fixed in the file too, which let the network's hidden state settle and
    leave the flow as it is; without it the number in the model's card, else 0."""
    max_size: int = 2048
    """Largest height and width of a picture in pixels, a multiple of 8; a larger one makes the scans over space longer."""
    warm_start: bool | None = None
    """The file takes where the refinement begins as a third input, initial_flow [1, 2, H/8, W/8] in pixels / 8, which
    estimate's --initial-flow, --scales and --warm-start need; without the option where the model's card names an initial
    flow."""
    overwrite: bool = False
    """Replace files that are already there."""

    def __post_init__(self) -> None:
        require_choices(self, "--")
        check_way(None, iterations=self.iterations, hold=self.hold)
        if self.max_size % 8 or not 256 <= self.max_size <= 16384:
            raise RequestError(f"--max-size is {self.max_size}: it must be a multiple of 8 from 256 to 16384")

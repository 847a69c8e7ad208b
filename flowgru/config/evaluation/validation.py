"""What a training is measured on while it goes on."""

from dataclasses import dataclass
from typing import Literal

from flowgru.config.require import (
    is_ascending,
    require,
    require_choices,
    require_once,
    require_refinements,
    require_seed,
)


@dataclass(frozen=True)
class ValidationConfig:
    """What the weights are measured on; held-out generated pairs are larger than the training crops."""

    sets: tuple[str, ...] = ("synthetic",)
    """Data sets, or manifests ending in .csv; synthetic are held-out generated pairs. The first one decides which
    checkpoint is the best, by its worst error."""
    every: int = 1000
    """Steps between two validations; there is always one at the end."""
    pairs: int = 8
    """Number of generated pairs."""
    height: int = 440
    """Height of the generated pairs in pixels."""
    width: int = 1024
    """Width of the generated pairs in pixels."""
    seed: int = 1_000_003
    """Seed of the generated pairs; another than the training's, so that no pair is shared; the photographs are the same."""
    iterations: tuple[int, ...] = (12, 24, 32)
    """Numbers of refinements after which the error is measured."""
    initial_flows: tuple[Literal["zero", "dis"], ...] = ("zero",)
    """What the refinements begin at: zero flow, or the flow of OpenCV's DIS, with `hold` refinements that hold it. Each
    set is measured from every one of them; the first one decides which checkpoint is the best."""

    def __post_init__(self) -> None:
        require_choices(self, "validation.")
        require_once("validation.sets", self.sets, "one set or more")
        require(self.every > 0, "validation.every", self.every, "1 or more")
        require(self.pairs > 0, "validation.pairs", self.pairs, "1 or more")
        require(is_ascending(self.iterations), "validation.iterations", self.iterations, "ascending, from 1")
        require_refinements("validation.iterations", self.iterations[-1])
        require_seed("validation.seed", self.seed)
        require_once("validation.initial_flows", self.initial_flows, "zero, dis or both")

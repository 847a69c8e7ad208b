"""A comparison of update operators: which ones, under which one recipe, and what is measured."""

import re
from dataclasses import dataclass, field
from typing import Literal

from flowgru.config.network import OptionValue
from flowgru.config.require import (
    is_ascending,
    require,
    require_choices,
    require_minutes,
    require_once,
    require_refinements,
    require_seed,
)
from flowgru.config.training import TrainConfig

Regime = Literal["equal_width", "equal_parameters"]
"""What all networks have in common: the width of the hidden state, or the number of their parameters."""


SHARED_PARTS = ("feature_encoder", "context_encoder", "motion_encoder", "flow_head", "upsampler")
"""The parts of a network that every update operator works with."""


@dataclass(frozen=True)
class RowConfig:
    """One of the things that are compared: an update operator with its options."""

    name: str
    """What the row is called in results and on the command line, and its folder's name."""
    operator: str
    """Name of the update operator, such as conv_gru; docs/operators.md describes them all."""
    options: dict[str, OptionValue] = field(default_factory=dict)
    """Options of the operator by their names, such as {reset: before}."""

    def __post_init__(self) -> None:
        plain = re.fullmatch(r"\w[\w.-]*", self.name) is not None
        require(plain, "a row's name", repr(self.name), "letters, digits, _ - and . (it names a folder)")


@dataclass(frozen=True)
class HeldOutConfig:
    """The generated pairs that the trained networks are measured on; they look as training.data says."""

    seed: int = 2_000_003
    """Seed of the pairs; another than those of training and validation, so that no pair or texture is shared."""
    pairs: int = 16
    """Number of pairs; 0 measures on `sets` alone."""
    height: int = 192
    """Height of the pairs in pixels."""
    width: int = 256
    """Width of the pairs in pixels; times and memory are measured at this size too."""
    initial_flows: tuple[Literal["zero", "dis"], ...] = ("zero",)
    """What the refinements begin at: zero flow, or the flow of OpenCV's DIS, with `training.hold` refinements that hold it.
    The errors on each set are measured from every one of them."""

    def __post_init__(self) -> None:
        require_choices(self, "test.")
        require_seed("test.seed", self.seed)
        require(self.pairs >= 0, "test.pairs", self.pairs, "0 or more")
        require_once("test.initial_flows", self.initial_flows, "zero, dis or both")
        require(min(self.height, self.width) >= 16, "test.height and test.width", (self.height, self.width), "from 16")


@dataclass(frozen=True)
class ComparisonConfig:
    """Update operators under one recipe: the same data in the same order, and the same initial weights where they fit."""

    rows: tuple[RowConfig, ...]
    """What is compared."""
    reference: str
    """The row whose number of parameters the others are given in the regime equal_parameters."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each row is trained once with each; a seed decides initial weights, pairs and every random choice."""
    regimes: tuple[Regime, ...] = ("equal_width", "equal_parameters")
    """equal_width gives every row the preset's hidden_size; equal_parameters the one that makes its whole network as
    large as the reference's."""
    training: TrainConfig = field(default_factory=TrainConfig)
    """The recipe of every training; its network's operator, options and hidden_size, and both seeds, are the runs' own."""
    initial_parts: tuple[str, ...] = SHARED_PARTS
    """The parts of the network that begin with the weights of `training.init_from`, where that is given."""
    minutes: float | None = None
    """Train every network for about so many minutes, the number of steps following from its measured speed, instead of
    for `training.steps` steps."""
    test: HeldOutConfig = field(default_factory=HeldOutConfig)
    """The generated pairs that the trained networks are measured on."""
    sets: tuple[str, ...] = ()
    """Data sets, or manifests ending in .csv, that they are measured on besides."""
    iterations: tuple[int, ...] = (1, 2, 4, 6, 8, 12, 16, 24, 32)
    """Numbers of refinements after which the error, and the time for a pair, is measured."""

    def __post_init__(self) -> None:
        require_choices(self)
        names = [row.name for row in self.rows]
        require(bool(names) and len({*names}) == len(names), "rows", names, "one or more, each with its own name")
        require(self.reference in names, "reference", repr(self.reference), f"one of the rows {', '.join(names)}")
        require_once("seeds", self.seeds, "one or more")
        require_once("regimes", self.regimes, "one or more")
        require(len({*self.sets}) == len(self.sets), "sets", self.sets, "without repetition")
        for seed in self.seeds:
            require_seed("seeds", seed)
        known = {*self.initial_parts} <= {*SHARED_PARTS}
        require(known, "initial_parts", self.initial_parts, f"out of {', '.join(SHARED_PARTS)}")
        if self.minutes is not None:
            require_minutes("minutes", self.minutes)
        require(is_ascending(self.iterations), "iterations", self.iterations, "ascending, from 1")
        require_refinements("iterations", self.iterations[-1])
        require(self.test.pairs > 0 or bool(self.sets), "test.pairs", 0, "1 or more where `sets` is empty")
        trained = {self.training.data.seed + seed for seed in self.seeds}
        validation = self.training.validation.seed
        others = "another seed than those of training.data (plus the runs' seeds)"
        require(validation not in trained, "training.validation.seed", validation, others)
        also = f"{others} and training.validation"
        require(self.test.seed not in {validation, *trained}, "test.seed", self.test.seed, also)

"""A training run, from its network to its last checkpoint."""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from flowgru.config.augmentation import STAGES, StageSet
from flowgru.config.choices import Precision
from flowgru.config.evaluation.validation import ValidationConfig
from flowgru.config.flatten import BEFORE
from flowgru.config.network import NetworkConfig
from flowgru.config.require import (
    MAX_PROCESSES,
    require,
    require_choices,
    require_refinements,
    require_seed,
)
from flowgru.config.synthetic import SyntheticSettings
from flowgru.errors import size_text, value_text

MAX_BATCH = 2**16
MAX_USES = 4
"""Of a generated pair: as it is, and mirrored in each of three ways."""


UNUSED = {"one_cycle": ("warmup_steps", "decay_steps"), "constant": ("warmup_share",)}
"""By schedules: the settings of an OptimizerConfig that they do not use."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How a gradient moves the weights; by default AdamW under a one-cycle schedule, as RAFT trains."""

    method: Literal["adamw", "muon"] = "adamw"
    """adamw, as RAFT trains; muon: the kernels of hidden convolutions move by their orthogonalised momentum, all other
    weights by AdamW. Both have the same learning rate."""
    learning_rate: float = 4e-4
    """Peak learning rate, reached after the warm-up."""
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    """one_cycle, RAFT's: the rate rises, then falls. Its cycle is 100 steps longer than the run, so that a short run does
    not end low: a run of 100 steps ends at half of the peak, of 1000 at a tenth, of 10,000 at a hundredth. constant: it
    rises and stays, until decay_steps before the end; such a run may be given another number of steps while it goes on."""
    warmup_share: float = 0.05
    """one_cycle: the part of the cycle, which is 100 steps longer than the run, in which the learning rate rises; it falls
    linearly for the rest."""
    warmup_steps: int = 100
    """constant: the number of steps in which the learning rate rises linearly."""
    decay_steps: int = 0
    """constant: the number of steps at the end of the run in which the learning rate falls linearly to 0."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; larger ones are scaled down to it."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which is validated and kept; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        require_choices(self, "optimizer.")
        require(0 < self.learning_rate < math.inf, "optimizer.learning_rate", self.learning_rate, "above 0, and finite")
        require(0 < self.warmup_share < 1, "optimizer.warmup_share", self.warmup_share, "between 0 and 1")
        for name in ("warmup_steps", "decay_steps"):
            require(getattr(self, name) >= 0, f"optimizer.{name}", getattr(self, name), "0 or more")
        for each in fields(self):
            value = getattr(self, each.name)
            holds = each.name not in UNUSED[self.schedule] or value == each.default
            require(holds, f"optimizer.{each.name}", value, f"{each.default} with schedule {self.schedule}")
        require(0 <= self.weight_decay < math.inf, "optimizer.weight_decay", self.weight_decay, "0 or more, and finite")
        require(self.clip_norm > 0, "optimizer.clip_norm", self.clip_norm, "above 0")
        require(0 <= self.ema_decay < 1, "optimizer.ema_decay", self.ema_decay, "at least 0 and below 1")


@dataclass(frozen=True)
class StartShares:
    """What the refinement of a training pair begins at, as shares of the pairs; they sum to 1."""

    zero: float = 1.0
    """Zero flow."""
    dis: float = 0.0
    """The flow of OpenCV's DIS as an estimation begins at it; zero where a picture is too small for it."""
    dis_fast: float = 0.0
    """The flow of OpenCV's DIS with its preset "ultrafast"."""
    truth: float = 0.0
    """The true flow with smooth noise whose deviation is up to 4 px."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("zero", "dis", "dis_fast", "truth")}
        for name, share in shares.items():
            require(0 <= share <= 1, f"starts.{name}", share, "a share, from 0 to 1")
        total = sum(shares.values())
        require(abs(total - 1) < 1e-6, "starts", shares, f"shares that sum to 1, and these sum to {total:g}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run: the same settings give the same weights on the same CPU."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Which network is trained."""
    data: SyntheticSettings = field(default_factory=SyntheticSettings)
    """The generated pairs, which it is trained on unless `stage` or `sets` say otherwise."""
    stage: Literal["chairs", "things", "sintel", "kitti"] | None = None
    """One of RAFT's stages: its data sets, augmented and mixed with RAFT's numbers."""
    sets: tuple[StageSet, ...] = ()
    """Data sets of one's own choice, by name or as manifests ending in .csv, each with its augmentation; `synthetic`
    are the generated pairs. docs/train.md says what each setting of an entry means."""
    uses: int = 1
    """How many times in a row each generated pair is used, up to 4: making it costs the most. Further uses are mirrored,
    each another way, and have other colours. Not for `stage` or `sets`, which have changes of their own."""
    root: str = "datasets"
    """The folder that holds the data sets' own folders."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How the optimizer changes the weights."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How the network is measured while it trains."""
    init_from: str | None = None
    """default, raft_large, raft_small, hf://owner/name or a model file, whose weights the run starts from as far as they
    fit; without it they are random."""
    steps: int = 10_000
    """Number of optimizer steps."""
    batch_size: int = 4
    """Pairs in a step."""
    iterations: int = 6
    """Number of refinements with gradient in a step."""
    gradient_accumulation_steps: int = 1
    """Number of parts into which each process splits its part of the batch, for less memory. The gradient is the same,
    except with batch norm, which sees one part at a time, and with the loss `mixture`, whose mean is each part's own."""
    freeze_batch_norm: bool = False
    """Leave batch norm's statistics as they are; RAFT does after its first stage."""
    loss: Literal["l1", "mixture"] = "l1"
    """l1 is RAFT's; mixture is SEA-RAFT's, and needs network.confidence."""
    part: Literal["all", "confidence"] = "all"
    """Which weights are trained: all of them, or only the head that says how sure the network is of its flow, while all
    others keep their values."""
    no_grad_iterations: int = 0
    """Largest number of refinements without gradient before those with gradient; half of the steps have none."""
    starts: StartShares = field(default_factory=StartShares)
    """The flows at which the refinements begin."""
    hold: int = 0
    """Largest number of refinements that leave the flow where it begins, before all others; each step has 0 to `hold`."""
    coarse_first: float = 0.0
    """Share of the steps whose refinements begin where the network itself comes to on the pictures at half their size, from
    the same initial flow; for a model that is used with more than one of estimate's `scales`."""
    coarse_loss: float = 0.0
    """Weight, in such a step, of the loss of the refinements at half the size; 0: they are not trained."""
    gamma: float = 0.8
    """Weight of a refinement's error relative to the next one's in the loss."""
    max_flow: float = 400.0
    """Longest true flow, in pixels, that the loss counts."""
    seed: int = 0
    """Seed of the initial weights, of the loop, of the order and the changes of the pairs of `stage` and `sets`, of `starts`
    and of `uses`; what the generated pairs show has a seed of its own, data.seed."""
    precision: Precision = "32"
    """Precision of the arithmetic in bits; bf16 and 16 compute in mixed precision, and 16 needs a GPU."""
    channels_last: bool = True
    """Keep the maps with their channels last in memory, which is faster except with instance norm."""
    workers: int = 1
    """Processes that make the pairs, generated or read from files, for each process of --devices; 0: the training process
    makes them itself."""
    generate_on: Literal["cpu", "cuda"] = "cpu"
    """Where generated pairs are painted: by the workers on the CPU, or by the training process on its GPU (not for `stage`
    or `sets`, whose changes are made on the CPU). A GPU draws other noise, and rounds differently: without noise, levels of
    the pictures may differ by 1 of 255 from those that a CPU makes."""
    generate_in_batches: bool = field(
        default=True, metadata={BEFORE: lambda settings: settings.get("generate_on") != "cuda"}
    )
    """Where generate_on is cuda, all pairs of a batch are painted by the same operations; the workers draw what there is to
    paint, and as many threads compute the flows of DIS at which refinements begin. false: the training process makes one
    pair after the other (with workers 0, and without `starts` of DIS)."""
    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_every: int = 200
    """Steps between two checkpoints; there is always one at the end."""
    keep_checkpoints: int = 3
    """Newest checkpoints that are kept, besides the best one."""

    def __post_init__(self) -> None:
        require_choices(self)
        require(
            not (self.stage and self.sets), "sets", [part.name for part in self.sets], "empty where `stage` is given"
        )
        agree = (self.loss == "mixture") == self.network.confidence
        require(
            agree,
            "network.confidence",
            self.network.confidence,
            f"{value_text(not self.network.confidence)} with loss {self.loss}",
        )
        require(self.part == "all" or self.loss == "mixture", "part", self.part, "all, unless the loss is mixture")
        require(
            self.part == "all" or bool(self.init_from),
            "part",
            self.part,
            "all, unless init_from names a trained network",
        )
        for name in (
            "steps",
            "batch_size",
            "gradient_accumulation_steps",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            require(getattr(self, name) > 0, name, getattr(self, name), "1 or more")
        self._check_clips()
        self._check_seeds()
        if self.generate_on == "cuda":
            given = "stage" if self.stage else "sets" if self.sets else None
            require(given is None, "generate_on", self.generate_on, f"cpu where `{given}` is given")
        if self.generate_on == "cuda" and not self.generate_in_batches:
            one_by_one = "where generate_on is cuda and generate_in_batches false"
            require(self.workers == 0, "workers", self.workers, f"0 {one_by_one}")
            searched = self.starts.dis + self.starts.dis_fast
            require(searched == 0, "starts", self.starts, f"without DIS {one_by_one}")
        require(1 <= self.uses <= MAX_USES, "uses", self.uses, f"from 1 to {MAX_USES}")
        require(
            self.uses == 1 or not (self.stage or self.sets), "uses", self.uses, "1 where `stage` or `sets` is given"
        )
        for name, least in (("iterations", 1), ("no_grad_iterations", 0), ("hold", 0)):
            require_refinements(name, getattr(self, name), least)
        require(0 <= self.workers <= MAX_PROCESSES, "workers", self.workers, f"from 0 to {MAX_PROCESSES}")
        require(self.batch_size <= MAX_BATCH, "batch_size", self.batch_size, f"at most {MAX_BATCH}")
        require_seed("seed", self.seed)
        require(0 <= self.coarse_first <= 1, "coarse_first", self.coarse_first, "a share, from 0 to 1")
        require(0 <= self.coarse_loss < math.inf, "coarse_loss", self.coarse_loss, "0 or more, and finite")
        require(
            not self.coarse_loss or self.coarse_first > 0, "coarse_loss", self.coarse_loss, "0 where coarse_first is 0"
        )
        for each in (part.augmentation for part in self.parts) if self.parts else (self.data,):
            halved = not self.coarse_loss or each.height % 2 == each.width % 2 == 0
            size = size_text((each.height, each.width))
            require(halved, "coarse_loss", self.coarse_loss, f"0 with pictures of {size}, of which one side is odd")
        require(0 < self.gamma <= 1, "gamma", self.gamma, "above 0 and at most 1")
        require(self.max_flow > 0, "max_flow", self.max_flow, "above 0")

    @property
    def parts(self) -> tuple[StageSet, ...]:
        """The sets that the run is trained on, of its stage or its own; none where it is on generated pairs alone."""
        return STAGES[self.stage] if self.stage else self.sets

    @property
    def pairs_in_clip(self) -> int:
        """How many neighbours in a batch are the pairs of one generated clip, in their order; 1 for single pairs."""
        return self.data.clip_frames - 1

    def _check_seeds(self) -> None:
        """That no generated pair is both trained on and measured."""
        trains = not self.parts or any(part.name == "synthetic" for part in self.parts)
        if trains and "synthetic" in self.validation.sets:
            others = f"another seed than data.seed, {self.data.seed}: these pairs are held out"
            require(self.validation.seed != self.data.seed, "validation.seed", self.validation.seed, others)

    def _check_clips(self) -> None:
        """What clips of several pairs, and a memory that is trained on them, need."""
        frames, pairs = self.data.clip_frames, self.pairs_in_clip
        if pairs > 1:
            pairs_alone = (
                (bool(self.stage or self.sets), "where `stage` or `sets` is given"),
                (self.uses > 1, f"where uses is {self.uses}"),
                (self.generate_on == "cuda", "where generate_on is cuda"),
            )
            for holds, where in pairs_alone:
                require(not holds, "data.clip_frames", frames, f"2 {where}")
            whole = f"a multiple of {pairs}, the pairs of a clip of {frames} frames"
            require(self.batch_size % pairs == 0, "batch_size", self.batch_size, whole)
        if self.network.memory and self.part == "all":
            require(pairs > 1, "data.clip_frames", frames, "3 or more with network.memory: a single pair has no past")
            require(not self.coarse_first, "coarse_first", self.coarse_first, "0 with network.memory")
            # A refinement without gradient hides the state that the memory adds to.
            require(not self.no_grad_iterations, "no_grad_iterations", self.no_grad_iterations, "0 with network.memory")

"""Every setting of networks, generated pairs and training, in words and numbers; reading this file needs no torch."""

from dataclasses import dataclass, field
from typing import Literal

from flowgru.errors import RequestError

Norm = Literal["instance", "batch", "channel", "none"]
"""How an encoder normalises: over a picture's extent for each channel, over the batch, or over the channels of a pixel."""


@dataclass(frozen=True)
class NetworkSizes:
    """The widths of everything around the update operator, in channels unless said otherwise."""

    stem: int
    """Width after the first convolution, at half the picture's resolution."""
    stages: tuple[int, int, int]
    """Widths of the three residual stages, at 1/2, 1/4 and 1/8 of the picture's resolution."""
    bottleneck: bool
    """Residual blocks squeeze to a quarter of the width in between (RAFT-small)."""
    feature_norm: Norm
    """Normalisation inside the feature encoder."""
    context_norm: Norm
    """Normalisation inside the context encoder."""
    normalized_features: bool
    """The matched features are centred over the picture and brought to one length in each pixel."""
    feature_size: int
    """Width of the matched features."""
    hidden_size: int
    """Width of the update operator's hidden state."""
    context_size: int
    """Width of the context that the update operator reads in each step."""
    correlation_levels: int
    """Number of levels of the correlation pyramid, each half as fine as the one before."""
    correlation_radius: int
    """Radius of the look-up window, in pixels of each level."""
    motion_correlation: tuple[int, ...]
    """Widths of the motion encoder's convolutions over the looked-up correlation: 1x1, then 3x3."""
    motion_flow: tuple[int, int]
    """Widths of the motion encoder's convolutions over the flow: 7x7, then 3x3."""
    motion_size: int
    """Width of the motion features, the last two of which are the flow itself."""
    flow_head: int
    """Width inside the flow head."""
    mask_head: int | None
    """Width inside the head of the convex upsampling's mask; None upsamples bilinearly."""


PRESETS: dict[str, NetworkSizes] = {
    "large": NetworkSizes(
        stem=64,
        stages=(64, 96, 128),
        bottleneck=False,
        feature_norm="instance",
        context_norm="batch",
        normalized_features=False,
        feature_size=256,
        hidden_size=128,
        context_size=128,
        correlation_levels=4,
        correlation_radius=4,
        motion_correlation=(256, 192),
        motion_flow=(128, 64),
        motion_size=128,
        flow_head=256,
        mask_head=256,
    ),
    "small": NetworkSizes(
        stem=32,
        stages=(32, 64, 96),
        bottleneck=True,
        feature_norm="instance",
        context_norm="none",
        normalized_features=False,
        feature_size=128,
        hidden_size=96,
        context_size=64,
        correlation_levels=4,
        correlation_radius=3,
        motion_correlation=(96,),
        motion_flow=(64, 32),
        motion_size=82,
        flow_head=128,
        mask_head=None,
    ),
    "compact": NetworkSizes(
        stem=24,
        stages=(24, 48, 80),
        bottleneck=False,
        feature_norm="channel",
        context_norm="channel",
        normalized_features=True,
        feature_size=128,
        hidden_size=80,
        context_size=48,
        correlation_levels=4,
        correlation_radius=3,
        motion_correlation=(80,),
        motion_flow=(48, 24),
        motion_size=80,
        flow_head=96,
        mask_head=96,
    ),
}
"""large and small have RAFT's sizes; compact is made to be trained and run on a CPU.

It normalises over the channels of each pixel, and only centres the matched features over the picture: what is learned on
small crops holds on large pictures.
"""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network: a preset of sizes and the update operator in it."""

    preset: Literal["large", "small", "compact"] = "compact"
    """Sizes of everything around the update operator."""
    operator: str = "conv_min_gru"
    """Name of the update operator: conv_gru, seq_conv_gru or conv_min_gru."""


@dataclass(frozen=True)
class SyntheticSettings:
    """What the generated pairs look like; the same settings give the same pairs."""

    height: int = 192
    """Of the pictures, in pixels."""

    width: int = 256
    """Of the pictures, in pixels."""

    seed: int = 0
    """Another seed gives other textures and other pairs."""

    layers: tuple[int, int] = (3, 20)
    """Fewest and most cut-outs over the background; few are more likely than many."""

    radius: tuple[float, float] = (0.05, 0.6)
    """Smallest and largest cut-out, as share of the picture's shorter side; every factor between equally likely."""

    holes: float = 0.2
    """Share of the solid cut-outs that have a hole."""

    speed: tuple[float, float] = (0.2, 60.0)
    """Slowest and fastest pair's typical displacement in pixels of a 192x256 picture; every factor between equally
    likely. The upper end grows with the picture's diagonal, up to `most_speed`."""

    most_speed: float = 150.0
    """No pair's typical displacement is above this, in pixels, however large the picture."""

    furthest: float = 0.4
    """No layer moves further than this share of the picture's diagonal, so that matches remain."""

    static_share: float = 0.06
    """Share of the pairs in which nothing moves, or nothing by more than about 0.3 px."""

    still_background_share: float = 0.15
    """Share of the pairs in which some cut-outs move over a background that stands still."""

    nonrigidity: float = 1.0
    """Strength of bending, relative to the pair's displacement; 0: every layer is rigid up to turn, zoom and shear."""

    colour: float = 0.15
    """Strength of the change of brightness, contrast, gamma and saturation; about a third of it between the two
    pictures of some pairs; 0: none."""

    shadow: float = 0.25
    """Strength of light and shade that differ a little between the pictures of some pairs; 0: none."""

    blur: float = 2.0
    """Largest deviation of blur in pixels; 0: none."""

    noise: float = 0.04
    """Largest deviation of the sensor's noise, as share of the range of values; 0: none."""

    photos: str | None = None
    """A folder of pictures that half of the layers are painted with, or "skimage" for the photographs that scikit-image
    ships; None: generated textures only."""

    num_textures: int = 64
    """Generated textures in the bank, and as many crops of photos where there are some."""

    def __post_init__(self) -> None:
        """Raises RequestError for settings that cannot be drawn from."""
        if min(self.height, self.width) < 16:
            raise RequestError(f"synthetic pairs of {self.height}x{self.width} px: both sides must be at least 16")
        for name, (low, high), lowest in (
            ("layers", self.layers, 0),
            ("radius", self.radius, 1e-6),
            ("speed", self.speed, 1e-6),
        ):
            if not lowest <= low <= high:
                raise RequestError(
                    f"{name} of ({low}, {high}) in the synthetic settings: expected {lowest} <= low <= high"
                )
        if self.layers[1] > 254:
            raise RequestError(f"layers up to {self.layers[1]} in the synthetic settings: expected at most 254")
        if self.num_textures < 1:
            raise RequestError(f"num_textures of {self.num_textures} in the synthetic settings: expected at least 1")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW under a one-cycle schedule, as RAFT trains."""

    learning_rate: float = 4e-4
    """Peak learning rate, reached after the warm-up."""
    warmup_share: float = 0.05
    """Part of the run in which the learning rate rises; it falls linearly for the rest."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; larger ones are scaled down to it."""
    ema_decay: float = 0.999
    """Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "optimizer.learning_rate", self.learning_rate, "above 0")
        _require(0 < self.warmup_share < 1, "optimizer.warmup_share", self.warmup_share, "between 0 and 1")
        _require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        _require(self.clip_norm > 0, "optimizer.clip_norm", self.clip_norm, "above 0")
        _require(0 <= self.ema_decay < 1, "optimizer.ema_decay", self.ema_decay, "at least 0 and below 1")


@dataclass(frozen=True)
class ValidationConfig:
    """Held-back synthetic pairs, larger than the training crops and refined further than was trained."""

    every: int = 1000
    """Steps between two validations; there is always one at the end."""
    pairs: int = 8
    """Number of pairs."""
    height: int = 440
    """Height of the pairs in pixels."""
    width: int = 1024
    """Width of the pairs in pixels."""
    seed: int = 1_000_003
    """Seed of the pairs; another than the training's, so that no pair or texture is shared."""
    iterations: tuple[int, ...] = (12, 24, 32)
    """Numbers of refinements after which the error is measured."""

    def __post_init__(self) -> None:
        _require(self.every > 0, "validation.every", self.every, "1 or more")
        _require(self.pairs > 0, "validation.pairs", self.pairs, "1 or more")
        ascending = all(a < b for a, b in zip((0, *self.iterations), self.iterations, strict=False))
        _require(bool(self.iterations) and ascending, "validation.iterations", self.iterations, "ascending, from 1")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run: the same settings give the same weights on the same CPU."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Which network is trained."""
    data: SyntheticSettings = field(default_factory=SyntheticSettings)
    """The generated pairs it is trained on."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How its weights are changed."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How it is judged meanwhile."""
    init_from: str | None = None
    """A model file whose weights the run starts from; None starts from random weights."""
    steps: int = 10_000
    """Number of optimizer steps."""
    batch_size: int = 4
    """Pairs in a step."""
    iterations: int = 6
    """Refinements with gradient in a step."""
    settling: int = 0
    """Largest number of refinements without gradient before those; half of the steps have none."""
    gamma: float = 0.8
    """Weight of a refinement's error relative to the next one's in the loss."""
    max_flow: float = 400.0
    """Longest true flow, in pixels, that the loss counts."""
    seed: int = 0
    """Seed of the initial weights and of every random choice of the loop; the data have their own."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Precision of the arithmetic."""
    channels_last: bool = True
    """Keep maps with their channels last in memory; faster but for instance norm."""
    workers: int = 1
    """Processes that generate pairs; 0 generates them in the training process."""
    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_every: int = 200
    """Steps between two checkpoints; there is always one at the end."""
    keep_checkpoints: int = 3
    """Newest checkpoints that are kept, besides the best one."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "iterations", "log_every", "checkpoint_every", "keep_checkpoints"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "1 or more")
        for name in ("settling", "workers"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(0 < self.gamma <= 1, "gamma", self.gamma, "above 0 and at most 1")
        _require(self.max_flow > 0, "max_flow", self.max_flow, "above 0")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise RequestError(f"{name} is {value}: it must be {expected}")

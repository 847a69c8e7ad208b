"""The sizes of a network, and which update operator is in it."""

from dataclasses import dataclass, field, replace
from typing import Literal

from flowgru.config.choices import Preset
from flowgru.config.require import require
from flowgru.errors import RequestError, did_you_mean

OptionValue = bool | int | float | str
"""What an option of an update operator may be."""

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


def check_preset(preset: object) -> None:
    """RequestError unless there is a preset of that name."""
    if preset not in [*PRESETS]:  # a list compares what a card may name and a dict cannot hash
        hint = did_you_mean(str(preset), PRESETS)
        raise RequestError(f"unknown preset {preset!r}: {hint}known are {', '.join(PRESETS)}")


WITHOUT_WEIGHTS = ("texture_floor", "texture_gate")
"""Settings of a network, besides its operator's options, of which its weights say nothing."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network: a preset of sizes and the update operator in it."""

    preset: Preset = "compact"
    """Sizes of everything around the update operator."""
    operator: str = "conv_min_gru"
    """Name of the update operator, such as conv_gru; docs/operators.md describes them all."""
    confidence: bool = False
    """The network also says how sure it is of each pixel's flow; trained by the loss `mixture`."""
    options: dict[str, OptionValue] = field(default_factory=dict)
    """Options of the update operator by their names, such as {reset: before}; the docstrings in flowgru/operators describe
    them."""
    hidden_size: int | None = None
    """Width of the update operator's hidden state in channels; without it that of the preset."""
    texture_floor: float = 1e-6
    """Mean square of a pixel's matched features below which they fade to zero instead of being brought to one length:
    where there is no texture there is nothing to match. Only for presets that bring them to one length."""
    texture_gate: bool = False
    """The flow moves by the less, the less texture the pair has: frames of one colour keep the flow that they began with.
    The feature encoder then repeats the edges of its maps, where it otherwise pads with zeros that look like texture. Only
    for presets that bring the matched features to one length."""
    memory: bool = False
    """An experiment, see docs/operators.md: a minGRU over time carries a hidden state from pair to pair of a clip, and adds
    to the one with which the refinement of each pair begins. It is trained on generated clips (data.clip_frames)."""

    def __post_init__(self) -> None:
        check_preset(self.preset)
        require(0 < self.texture_floor < 1, "network.texture_floor", self.texture_floor, "above 0 and below 1")
        require(
            not self.texture_gate or self.sizes.normalized_features,
            "network.texture_gate",
            self.texture_gate,
            f"false with the preset {self.preset}, whose features have no length to measure texture by",
        )
        require(self.hidden_size is None or self.hidden_size > 0, "network.hidden_size", self.hidden_size, "1 or more")

    @property
    def sizes(self) -> NetworkSizes:
        """The preset's widths, with this network's own."""
        sizes = PRESETS[self.preset]
        return sizes if self.hidden_size is None else replace(sizes, hidden_size=self.hidden_size)

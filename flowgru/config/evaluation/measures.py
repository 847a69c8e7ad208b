"""What `flowgru evaluate` measures besides the errors."""

from dataclasses import dataclass
from typing import Literal

from flowgru.config.evaluation.corruptions import ALL, CORRUPTION_NAMES
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import height_and_width, require, require_effect, require_effect_of
from flowgru.errors import RequestError, did_you_mean

HORIZONS = (8, 16, 32)
"""Frames after which the drift of chained flows is measured."""


@dataclass(frozen=True)
class MeasureSettings(ModelSettings):
    """What is measured besides the errors; ModelSettings say of which model."""

    corruptions: tuple[str, ...] = ()
    """Also measure under corruptions: all, or names with commas between: gaussian_noise, shot_noise, impulse_noise,
    defocus_blur, motion_blur, brightness, contrast, fog, rain, jpeg, pixelate, h264. `distance` says how far the flow of
    the corrupted frames is from that of the clean ones, which needs no true flow; the error is given beside it."""
    severity: Literal[1, 2, 3] | None = None
    """Strength of the corruptions, from 1 to 3; without it 2."""
    trust: bool = False
    """Also measure how well the errors of a flow can be told without the true flow: from the model's confidence, from the
    backward flow, from the length of the last update, and from how unlike the matched pixels are."""
    temporal: bool = False
    """Also measure how steady the flow is over time: flicker from pair to pair, the drift of a point that follows the flows
    over 8, 16 and 32 frames, and the flow of still pairs, on generated clips; flicker also on DATA that has consecutive
    pairs."""
    reach: bool = False
    """Also measure the error against the length of the true flow, and error, seconds and memory on one generated scene at
    several sizes."""
    time: bool = False
    """Also measure the seconds of each pair, with all that they depend on."""
    report: bool = False
    """With --output, also write report.html: one page with all tables and curves, and the pairs with the largest errors."""
    reach_sizes: tuple[str, ...] = ("288x512", "576x1024", "1152x2048", "2304x4096")
    """Sizes of the generated scene of --reach, each HEIGHTxWIDTH, with commas between."""
    clip_size: str = "192x256"
    """Size of the generated clips of --temporal, HEIGHTxWIDTH."""
    clip_frames: int = 33
    """Number of frames of the generated clips of --temporal; the drift over 32 frames needs 33."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (ALL, *CORRUPTION_NAMES)
        for name in self.corruptions:
            if name not in known:
                raise RequestError(
                    f"--corruptions has {name!r}: {did_you_mean(name, known)}known are {', '.join(known)}"
                )
        require_effect(self.severity is None or bool(self.corruptions), "--severity", "without --corruptions")
        for name, needs in (("reach_sizes", "reach"), ("clip_size", "temporal"), ("clip_frames", "temporal")):
            require_effect_of(self, name, getattr(self, needs), f"without --{needs}")
        require(len(self.reach_sizes) > 0, "--reach-sizes", "empty", "one size or more, such as 288x512")
        require(HORIZONS[0] < self.clip_frames <= 1000, "--clip-frames", self.clip_frames, f"{HORIZONS[0] + 1} to 1000")
        self.sizes_of_scene()
        self.size_of_clips()

    def names_of_corruptions(self) -> tuple[str, ...]:
        """The corruptions that are asked for, each once, in the order in which flowgru lists them."""
        return tuple(name for name in CORRUPTION_NAMES if name in self.corruptions or ALL in self.corruptions)

    def sizes_of_scene(self) -> list[tuple[int, int]]:
        """--reach-sizes as (height, width), the smallest first."""
        return sorted({_size("--reach-sizes", text) for text in self.reach_sizes}, key=lambda size: size[0] * size[1])

    def size_of_clips(self) -> tuple[int, int]:
        """--clip-size as (height, width)."""
        return _size("--clip-size", self.clip_size)

    def measures(self) -> list[str]:
        """The options that are asked for and write files of their own, as options are written."""
        names = ("corruptions", "trust", "temporal", "reach", "time", "report")
        return [f"--{name}" for name in names if getattr(self, name)]


def _size(option: str, text: str) -> tuple[int, int]:
    size = height_and_width(text)
    if size is None or min(size) < 16:
        raise RequestError(f"{option} has {text!r}: expected HEIGHTxWIDTH in pixels, such as 288x512, each 16 or more")
    return size

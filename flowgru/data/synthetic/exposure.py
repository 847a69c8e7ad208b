"""What light, lens and sensor make of a rendered pair: none of it moves anything."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.data.draws import Draws
from flowgru.layers.arithmetic import convolutions

Pair = Float[Tensor, "2 3 H W"]
"""First and second picture, RGB around [0, 1]."""

Frames = Float[Tensor, "T 3 H W"]
"""A pair, or the frames of a longer clip."""

GREY = (0.299, 0.587, 0.114)


class ColourChange(NamedTuple):
    """The colour (mix @ colour + offset) ** gamma in place of each."""

    mix: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3 1"]
    gamma: float


def draw_colour_change(draws: Draws, strength: float) -> ColourChange:
    """Saturation, white balance, contrast, brightness and gamma changed by about `strength`."""
    saturation = 1 + draws.normal(strength)
    grey = torch.tensor([GREY] * 3)
    mix = torch.lerp(grey, torch.eye(3), saturation)
    mix += torch.tensor([[draws.normal(0.1 * strength) for _ in range(3)] for _ in range(3)])
    contrast, brightness = math.exp(draws.normal(strength)), draws.normal(0.4 * strength)
    mix *= contrast
    offset = 0.5 + brightness - 0.5 * mix.sum(1, keepdim=True)
    return ColourChange(mix, offset, math.exp(draws.normal(strength)))


def change_colour(picture: Float[Tensor, "3 H W"], change: ColourChange) -> Float[Tensor, "3 H W"]:
    mix, offset, gamma = change
    mixed = torch.addmm(offset.to(picture), mix.to(picture), picture.reshape(3, -1)).clamp_(0, 1)
    return mixed.pow_(gamma).view(picture.shape)


class Shadows(NamedTuple):
    """Smooth light and shade over each picture; the second's has moved a little."""

    coarse: Float[Tensor, "2 1 rows columns"]
    strength: float

    def light(self, height: int, width: int) -> Float[Tensor, "2 1 H W"]:
        smooth = F.interpolate(self.coarse, (height, width), mode="bicubic", align_corners=False)
        return (self.strength * smooth).exp_()


def draw_shadows(draws: Draws, strength: float) -> Shadows:
    rows, columns = draws.integer(3, 6), draws.integer(3, 7)
    first, fresh = torch.randn(2, 1, rows, columns, generator=draws.generator)
    return Shadows(torch.stack((first, torch.lerp(first, fresh, draws.uniform(0.0, 0.5)))), strength)


def blur_kernel(along: float, across: float, angle: float) -> Float[Tensor, "1 1 k k"]:
    """A Gaussian with deviations `along` and `across` px; long and thin, it is the blur of a shaking hand."""
    reach = math.ceil(2.5 * max(along, across))
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    c, s = math.cos(angle), math.sin(angle)
    kernel = torch.exp(-0.5 * (((c * x + s * y) / along) ** 2 + ((c * y - s * x) / across) ** 2))
    return (kernel / kernel.sum())[None, None]


def blur(pictures: Float[Tensor, "B 3 H W"], kernel: Float[Tensor, "1 1 k k"]) -> Float[Tensor, "B 3 H W"]:
    """Each plane convolved with the kernel, its edge pixels repeated outwards; in float32 without TF32 on a GPU, too."""
    reach = kernel.shape[-1] // 2
    planes = F.pad(pictures.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    with convolutions(tf32=False):
        return F.conv2d(planes, kernel.to(planes)).view(pictures.shape)


def draw_blur(draws: Draws, strongest: float) -> Float[Tensor, "1 1 k k"]:
    along = max(draws.uniform(0.3, 1.0) * strongest, 0.25)
    across = max(along * draws.choice((1.0, 0.3)), 0.25)
    return blur_kernel(along, across, draws.angle())


class Fog(NamedTuple):
    """It hides a share of each pixel behind its colour: sigmoid(coarse + thickness) * densest."""

    coarse: Float[Tensor, "1 1 rows columns"]
    thickness: float
    densest: float
    colour: Float[Tensor, "3 1 1"]

    def density(self, height: int, width: int) -> Float[Tensor, "1 H W"]:
        uneven = F.interpolate(self.coarse, (height, width), mode="bicubic", align_corners=False)[0]
        return torch.sigmoid(uneven + self.thickness) * self.densest


def draw_fog(draws: Draws) -> Fog:
    coarse = torch.randn(1, 1, draws.integer(2, 5), draws.integer(2, 6), generator=draws.generator)
    thickness, densest = draws.normal(1.0), draws.uniform(0.2, 0.9)
    tint = torch.tensor([draws.normal(0.04) for _ in range(3)])
    return Fog(coarse, thickness, densest, (draws.uniform(0.5, 0.95) + tint)[:, None, None])


class Exposure(NamedTuple):
    """What happens to a rendered pair, in this order."""

    fog: Fog | None
    shadows: Shadows | None
    colour: ColourChange | None
    """Of both pictures."""
    second_colour: ColourChange | None
    """Of the second picture afterwards."""
    kernel: Float[Tensor, "1 1 k k"] | None
    """Of the blur."""
    only_second: bool
    """Whether the second picture alone is blurred."""
    noise: float
    """Deviation of the sensor's noise."""
    grey: bool
    """Whether the sensor sees no colour."""


def draw_exposure(
    draws: Draws,
    *,
    colour: float,
    shadow: float,
    blurred: float,
    noise: float,
    steady: bool,
    fog: float = 0.0,
    grey: float = 0.0,
) -> Exposure:
    """All pictures go through one colour change; without `steady`, some second pictures get a small one of their own.

    Strengths and shares as in SyntheticSettings; 0 turns each part off.
    """
    mist = draw_fog(draws) if fog and draws.chance(fog) else None
    shadows = draw_shadows(draws, shadow) if shadow and not steady and draws.chance(0.3) else None
    change = draw_colour_change(draws, colour) if colour else None
    second = draw_colour_change(draws, 0.3 * colour) if colour and not steady and draws.chance(0.4) else None
    kernel = draw_blur(draws, blurred) if blurred and draws.chance(0.3) else None
    only_second = kernel is not None and not (steady or draws.chance(0.7))
    deviation = draws.log_uniform(noise / 40.0, noise) if noise and draws.chance(0.8) else 0.0
    colourless = bool(grey) and draws.chance(grey)
    return Exposure(mist, shadows, change, second, kernel, only_second, deviation, colourless)


def expose(pair: Frames, exposure: Exposure, noise_generator: torch.Generator) -> Frames:
    """Photograph the rendered pair and round it to 8-bit levels; a longer clip with a `steady` exposure."""
    size = pair.shape[-2:]
    fog, shadows, change, second, kernel, only_second, noise, grey = exposure
    if fog is not None:
        density, colour_of_fog = fog.density(*size).to(pair), fog.colour.to(pair)
        pair = torch.lerp(pair, colour_of_fog.expand_as(pair), density.expand_as(pair))
    if shadows is not None:
        pair = pair * shadows.light(*size).to(pair)
    if change is not None:
        pair = torch.stack([change_colour(picture, change) for picture in pair])
    if second is not None:
        pair[1] = change_colour(pair[1], second)
    if kernel is not None and not only_second:
        pair = blur(pair, kernel)
    elif kernel is not None:
        pair[1:] = blur(pair[1:], kernel)
    if noise:
        grain = torch.randn(pair.shape, generator=noise_generator, device=pair.device)
        pair = pair.add(grain, alpha=noise)
    if grey:
        pair = without_colour(pair)
    return in_levels(pair)


def without_colour(pictures: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """How light each pixel is, in all three channels."""
    weights = torch.tensor(GREY, device=pictures.device)[:, None, None]
    return (weights * pictures.clamp(0, 1)).sum(dim=-3, keepdim=True).expand_as(pictures)


def in_levels(pictures: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Rounded to the levels of 8 bits."""
    return pictures.clamp(0, 1).mul_(255).round_().div_(255)

"""What light, lens and sensor make of a rendered pair: none of it moves anything."""

import math

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


def draw_colour_change(draws: Draws, strength: float) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 1"], float]:
    """Mix, offset and gamma of saturation, white balance, contrast and brightness changed by about `strength`."""
    saturation = 1 + draws.normal(strength)
    grey = torch.tensor([GREY] * 3)
    mix = torch.lerp(grey, torch.eye(3), saturation)
    mix += torch.tensor([[draws.normal(0.1 * strength) for _ in range(3)] for _ in range(3)])
    contrast, brightness = math.exp(draws.normal(strength)), draws.normal(0.4 * strength)
    mix *= contrast
    offset = 0.5 + brightness - 0.5 * mix.sum(1, keepdim=True)
    return mix, offset, math.exp(draws.normal(strength))


def change_colour(
    picture: Float[Tensor, "3 H W"], change: tuple[Float[Tensor, "3 3"], Float[Tensor, "3 1"], float]
) -> Float[Tensor, "3 H W"]:
    mix, offset, gamma = change
    mixed = torch.addmm(offset.to(picture), mix.to(picture), picture.reshape(3, -1)).clamp_(0, 1)
    return mixed.pow_(gamma).view(picture.shape)


def draw_shadows(draws: Draws, strength: float, height: int, width: int) -> Float[Tensor, "2 1 H W"]:
    """Smooth light and shade over each picture; the second's has moved a little."""
    rows, columns = draws.integer(3, 6), draws.integer(3, 7)
    first, fresh = torch.randn(2, 1, rows, columns, generator=draws.generator)
    coarse = torch.stack((first, torch.lerp(first, fresh, draws.uniform(0.0, 0.5))))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return (strength * smooth).exp_()


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


def draw_fog(draws: Draws, height: int, width: int) -> tuple[Float[Tensor, "1 H W"], Float[Tensor, "3 1 1"]]:
    """How much of each pixel fog hides, and its colour."""
    coarse = torch.randn(1, 1, draws.integer(2, 5), draws.integer(2, 6), generator=draws.generator)
    uneven = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0]
    density = torch.sigmoid(uneven + draws.normal(1.0)) * draws.uniform(0.2, 0.9)
    tint = torch.tensor([draws.normal(0.04) for _ in range(3)])
    return density, (draws.uniform(0.5, 0.95) + tint)[:, None, None]


def expose(
    pair: Frames,
    draws: Draws,
    noise_generator: torch.Generator,
    *,
    colour: float,
    shadow: float,
    blurred: float,
    noise: float,
    steady: bool,
    fog: float = 0.0,
) -> Frames:
    """Photograph the rendered pair and round it to 8-bit levels; a longer clip with `steady`.

    All pictures go through one colour change; without `steady`, some second pictures get a small one of their own.
    Strengths and shares as in SyntheticSettings; 0 turns each part off.
    """
    if fog and draws.chance(fog):
        density, colour_of_fog = (part.to(pair) for part in draw_fog(draws, *pair.shape[-2:]))
        pair = torch.lerp(pair, colour_of_fog.expand_as(pair), density.expand_as(pair))
    if shadow and not steady and draws.chance(0.3):
        pair = pair * draw_shadows(draws, shadow, *pair.shape[-2:]).to(pair)
    if colour:
        change = draw_colour_change(draws, colour)
        pair = torch.stack([change_colour(picture, change) for picture in pair])
        if not steady and draws.chance(0.4):
            pair[1] = change_colour(pair[1], draw_colour_change(draws, 0.3 * colour))
    if blurred and draws.chance(0.3):
        kernel = draw_blur(draws, blurred)
        if steady or draws.chance(0.7):
            pair = blur(pair, kernel)
        else:
            pair[1:] = blur(pair[1:], kernel)
    if noise and draws.chance(0.8):
        deviation = draws.log_uniform(noise / 40.0, noise)
        grain = torch.randn(pair.shape, generator=noise_generator, device=pair.device)
        pair = pair.add(grain, alpha=deviation)
    return pair.clamp(0, 1).mul_(255).round_().div_(255)

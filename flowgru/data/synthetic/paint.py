"""The paint that lays a texture of the bank, or one colour, onto the plane of a layer."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.data.draws import Draws
from flowgru.data.synthetic.textures import SIDE, Place, TextureBank


class Paint(NamedTuple):
    """A texture laid onto the plane of a layer: endless, because it is mirrored at its borders."""

    texture: Float[Tensor, "1 3 side side"] | Place
    axes: Float[Tensor, "2 2"]
    origin: Float[Tensor, "2 1"]
    mix: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3 1"]

    def colour(self, points: Float[Tensor, "2 H W"]) -> Float[Tensor, "3 H W"]:
        """RGB at points of the first picture's plane; a little outside of [0, 1] is possible."""
        assert isinstance(self.texture, Tensor), "the place of a texture has no colours"
        _, height, width = points.shape
        places = torch.addmm(self.origin, self.axes, points.reshape(2, -1)).view(1, 2, height, width)
        texels = F.grid_sample(self.texture, places.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)
        return torch.addmm(self.offset, self.mix, texels.view(3, -1)).view(3, height, width)


def flat_paint(colour: Float[Tensor, "3 1"]) -> Paint:
    """One colour everywhere."""
    nothing = colour.new_zeros
    return Paint(nothing(1, 3, 1, 1), nothing(2, 2), nothing(2, 1), nothing(3, 3), colour)


def draw_colour(draws: Draws) -> Float[Tensor, "3 1"]:
    """A grey, or any colour; of the greys half are black or white."""
    level = draws.choice((0.0, 1.0, draws.uniform(), draws.uniform()))
    return torch.full((3, 1), level) if draws.chance(0.7) else torch.rand(3, 1, generator=draws.generator)


def draw_shade(draws: Draws, bank: TextureBank, length: float) -> Paint:
    """One colour, or one that changes gently: by about a quarter at most, over `length` px or more."""
    axes = _draw_axes(draws, 2 / draws.log_uniform(length, 4 * length))
    strength = 0.0 if draws.chance(0.3) else draws.log_uniform(0.02, 0.25)
    shares = [draws.uniform(-1.0, 1.0) for _ in range(3)]
    steepest = sum(map(abs, shares))
    mix = torch.tensor([[strength * share / steepest * draws.uniform(0.7, 1.0) for share in shares] for _ in range(3)])
    grey, tint = draws.uniform(), draws.choice((0.0, 0.15))
    middle = torch.tensor([[grey + draws.normal(tint)] for _ in range(3)]).clamp_(0, 1)
    return _laid_out(draws, bank, bank.shades[0][0], axes, mix, middle)


def draw_paint(draws: Draws, bank: TextureBank) -> Paint:
    """A texture at a random place, scale, angle and colour."""
    pyramid = draws.choice(bank.photos if bank.photos and draws.chance(0.5) else bank.made)
    texels_per_pixel = draws.log_uniform(0.5, 2.0)
    level = 1 if texels_per_pixel > 1.3 else 0
    texture = pyramid[level]
    axes = _draw_axes(draws, texels_per_pixel * 2 / SIDE)
    mix, middle = torch.eye(3) * draws.uniform(0.6, 1.1), torch.full((3, 1), draws.uniform(0.35, 0.6))
    if draws.chance(0.5):
        other = torch.tensor([[draws.uniform(0.0, 0.4) for _ in range(3)] for _ in range(3)])
        mix = draws.choice((1, 1, 1, -1)) * (mix + other) / (1 + other.sum(1, keepdim=True))
        middle = torch.tensor([[draws.uniform(0.25, 0.75)] for _ in range(3)])
    return _laid_out(draws, bank, texture, axes, mix, middle)


def _draw_axes(draws: Draws, scale: float) -> Float[Tensor, "2 2"]:
    """Any angle, mirrored or not; a texture is 2 wide."""
    c, s, mirror = math.cos(angle := draws.angle()), math.sin(angle), draws.choice((-1, 1))
    return torch.tensor([[scale * c, -scale * s], [mirror * scale * s, mirror * scale * c]])


def _laid_out(
    draws: Draws,
    bank: TextureBank,
    texture: Float[Tensor, "1 3 side side"] | Place,
    axes: Float[Tensor, "2 2"],
    mix: Float[Tensor, "3 3"],
    middle: Float[Tensor, "3 1"],
) -> Paint:
    """Anywhere, and of the colour `middle` where the texture is half grey."""
    device = bank.device
    return Paint(
        texture,
        axes=axes.to(device),
        origin=torch.tensor([[draws.uniform(-2.0, 2.0)], [draws.uniform(-2.0, 2.0)]], device=device),
        mix=mix.to(device),
        offset=(middle - 0.5 * mix.sum(1, keepdim=True)).to(device),
    )

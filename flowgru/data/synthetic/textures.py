"""A bank of textures, made once per process."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.photos import photo_crops, photo_paths

SIDE = 384
BANK_STREAM = 2**32 - 1
"""The stream of the bank's seed that its textures are drawn from; pairs use the low ones."""

Texture = Float[Tensor, "3 side side"]
Pyramid = tuple[Float[Tensor, "1 3 _ _"], ...]
"""A texture, and the same at half the size."""


class Place(NamedTuple):
    """Where a texture lies in an atlas, in pixels, see flowgru.data.synthetic.batched.atlas."""

    left: int
    top: int
    side: int


class TextureBank(NamedTuple):
    """What layers are painted with, each at its size and at half of it: textures as in Pyramid, or places in an atlas."""

    made: tuple[tuple[Any, ...], ...]
    photos: tuple[tuple[Any, ...], ...]
    device: torch.device = torch.device("cpu")
    """Where points are painted."""
    shades: tuple[tuple[Any, ...], ...] = ()
    """What layers without texture are painted with, see shade(); nothing where there are none."""


def bank_of(settings: SyntheticSettings, device: torch.device) -> TextureBank:
    """The textures of pairs with these settings."""
    bank = texture_bank(settings.seed, settings.num_textures, settings.photos, device, num_patterns(settings))
    return bank._replace(shades=(pyramid(shade(), device),)) if settings.untextured else bank


def num_patterns(settings: SyntheticSettings) -> int:
    """Textures of the bank that repeat a patch."""
    return round(settings.patterns * settings.num_textures)


@functools.lru_cache(maxsize=4)
def texture_bank(
    seed: int, num_textures: int, photos: str | None, device: torch.device, num_patterns: int = 0
) -> TextureBank:
    """`num_textures` procedural textures, then patterns, and with photos as many crops of them as textures.

    The same for the same request.
    """
    draws = Draws(seed, BANK_STREAM)
    made = [MAKERS[k % len(MAKERS)](draws) for k in range(num_textures)]
    cut = photo_crops(draws, photo_paths(photos), num_textures, SIDE)
    made += [pattern(draws, cut or made) for _ in range(num_patterns)]
    made_pyramids, photo_pyramids = (tuple(pyramid(texture, device) for texture in part) for part in (made, cut))
    return TextureBank(made_pyramids, photo_pyramids, device)


def pyramid(texture: Texture, device: torch.device) -> Pyramid:
    full = texture[None].to(device)
    return full, F.avg_pool2d(full, 2)


def noise(draws: Draws, slope: float, channels: int) -> Float[Tensor, "C side side"]:
    """Fractal noise, spectrum ~ 1 / frequency^slope, zero mean and unit deviation, seamless."""
    spectrum = torch.fft.rfft2(torch.randn(channels, SIDE, SIDE, generator=draws.generator))
    across = torch.fft.fftfreq(SIDE)[:, None]
    frequency = torch.hypot(across, torch.fft.rfftfreq(SIDE)[None]).clamp_min(1 / SIDE)
    field = torch.fft.irfft2(spectrum / frequency**slope, s=(SIDE, SIDE))
    field -= field.mean((1, 2), keepdim=True)
    return field / field.std((1, 2), keepdim=True)


def plane() -> tuple[Float[Tensor, "side side"], Float[Tensor, "side side"]]:
    line = torch.arange(SIDE, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def palette(draws: Draws, number: int) -> Float[Tensor, "3 number"]:
    return torch.rand(3, number, generator=draws.generator)


def softened(texture: Texture) -> Texture:
    """Hard steps spread over about a pixel, as a lens does."""
    return F.avg_pool2d(F.pad(texture[None], (1, 1, 1, 1), "reflect"), 3, stride=1)[0]


def fractal(draws: Draws) -> Texture:
    """Clouds, plaster, sand: from smooth to rough."""
    slope = draws.uniform(0.6, 1.8)
    grey, colour = noise(draws, slope, 1), noise(draws, slope + 0.3, 3)
    return (0.5 + 0.2 * grey + 0.1 * colour).clamp_(0, 1)


def thresholded(draws: Draws) -> Texture:
    """Fractal noise cut at a few levels: camouflage, stains, maps."""
    number = draws.integer(2, 6)
    levels = (noise(draws, draws.uniform(1.2, 2.0), 1)[0] * number / 3 + number / 2).clamp_(0, number - 1).long()
    return softened(palette(draws, number)[:, levels] + 0.03 * noise(draws, 0.8, 1)).clamp_(0, 1)


def mosaic(draws: Draws) -> Texture:
    """Voronoi cells of flat colours, some with joints, under fine grain."""
    number = draws.integer(30, 400)
    seeds = SIDE * torch.rand(number, 2, generator=draws.generator)
    x, y = plane()
    nearest = torch.full_like(x, math.inf)
    second = nearest.clone()
    cell = torch.zeros_like(x, dtype=torch.long)
    for k, (seed_x, seed_y) in enumerate(seeds.tolist()):
        distance = (x - seed_x).square() + (y - seed_y).square()
        closer = distance < nearest
        second = torch.where(closer, nearest, torch.minimum(second, distance))
        nearest = torch.where(closer, distance, nearest)
        cell.masked_fill_(closer, k)
    texture = palette(draws, number)[:, cell]
    if draws.chance(0.4):
        texture = texture * ((second.sqrt() - nearest.sqrt()) > draws.uniform(1.0, 5.0))
    grain = draws.uniform(0.01, 0.08) * noise(draws, draws.uniform(0.5, 1.2), 1)
    return softened(texture + grain).clamp_(0, 1)


def repetition(draws: Draws) -> Texture:
    """Stripes, checks, dots or bricks: what matches in more than one place."""
    x, y = plane()
    period = draws.log_uniform(6.0, 60.0)
    u, v = x / period, y / (period * draws.uniform(0.5, 2.0))
    kind = draws.choice(("stripes", "checks", "dots", "bricks"))
    if kind == "stripes":
        cell = (u % 1 < draws.uniform(0.2, 0.8)).long()
    elif kind == "checks":
        cell = (u.floor() + v.floor()).long() % 2
    elif kind == "dots":
        cell = (torch.hypot(u % 1 - 0.5, v % 1 - 0.5) < draws.uniform(0.15, 0.45)).long()
    else:
        joint = draws.uniform(0.05, 0.2)
        cell = (((u + 0.5 * (v.floor() % 2)) % 1 > joint) & (v % 1 > joint)).long()
    wear = draws.uniform(0.0, 0.08) * noise(draws, draws.uniform(0.6, 1.5), 3)
    return softened(palette(draws, 2)[:, cell] + wear).clamp_(0, 1)


def writing(draws: Draws) -> Texture:
    """Rows of short strokes on a nearly plain ground, like print."""
    row, ink = draws.integer(8, 24), torch.zeros(SIDE, SIDE)
    for top in range(2, SIDE - row, row + draws.integer(2, 8)):
        left = draws.integer(2, 12)
        while left < SIDE - row:
            for _ in range(draws.integer(1, 3)):
                width, height = draws.integer(1, 3), draws.integer(row // 3, row - 1)
                if draws.chance(0.5):
                    width, height = draws.integer(row // 3, row // 2 + 1), draws.integer(1, 3)
                x, y = left + draws.integer(0, row // 2), top + draws.integer(0, row - height)
                ink[y : y + height, x : x + width] = 1
            left += row if draws.chance(0.8) else 2 * row
    paper, colour = palette(draws, 2).split(1, dim=1)
    ground = paper[..., None] + 0.02 * noise(draws, 1.2, 1)
    return softened(torch.lerp(ground, colour[..., None].expand_as(ground), ink)).clamp_(0, 1)


def rubble(draws: Draws) -> Texture:
    """Hundreds of small rectangles and discs on top of each other."""
    texture = palette(draws, 1)[..., None].repeat(1, SIDE, SIDE)
    x, y = plane()
    for _ in range(draws.integer(100, 300)):
        half, colour = draws.integer(3, 28), palette(draws, 1)[..., None]
        left, top = draws.integer(0, SIDE - 2 * half), draws.integer(0, SIDE - 2 * half)
        patch = texture[:, top : top + 2 * half, left : left + 2 * half]
        if draws.chance(0.5):
            patch = patch[:, : draws.integer(2, 2 * half)]
            patch.copy_(colour.expand_as(patch))
        else:
            inside = torch.hypot(x[: 2 * half, : 2 * half] - half + 0.5, y[: 2 * half, : 2 * half] - half + 0.5) < half
            patch.copy_(torch.where(inside, colour, patch))
    return softened(texture + 0.03 * noise(draws, 0.8, 1)).clamp_(0, 1)


def pattern(draws: Draws, patches: Sequence[Texture]) -> Texture:
    """A small patch of another texture again and again, as windows, tiles and cloth: it matches at every period."""
    side = draws.choice((12, 16, 24, 32, 48, 64, 96))  # divisors of SIDE: the plane goes on without a seam
    top, left = draws.integer(0, SIDE - side), draws.integer(0, SIDE - side)
    patch = draws.choice(patches)[:, top : top + side, left : left + side]
    frame = draws.integer(0, side // 6)
    if frame:
        patch = patch.clone()
        patch[:, :frame] = patch[:, :, :frame] = palette(draws, 1)[..., None]
    return softened(
        patch.repeat(1, SIDE // side, SIDE // side) + draws.uniform(0.0, 0.03) * noise(draws, 1.0, 1)
    ).clamp_(0, 1)


def shade() -> Texture:
    """Waves across, down, and of both, half a wave long: mirrored at its borders it goes on without a crease."""
    x, y = (0.5 - 0.5 * torch.cos(math.pi * (line + 0.5) / SIDE) for line in plane())
    return torch.stack((x, y, x * y))


def plain(draws: Draws) -> Texture:
    """A smooth gradient with little to hold on to, as sky, walls and skin."""
    low = torch.rand(1, 3, 4, 4, generator=draws.generator)
    smooth = F.interpolate(low, (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    return (smooth + draws.uniform(0.01, 0.04) * noise(draws, draws.uniform(0.5, 1.5), 1)).clamp_(0, 1)


MAKERS: tuple[Callable[[Draws], Texture], ...] = (
    fractal,
    mosaic,
    thresholded,
    fractal,
    repetition,
    rubble,
    writing,
    plain,
)

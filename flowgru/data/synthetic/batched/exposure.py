"""Exposes the rendered pictures of several pairs at once, see flowgru.data.synthetic.exposure."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from flowgru.data.synthetic.exposure import ColourChange, in_levels, without_colour
from flowgru.data.synthetic.motion import mapped
from flowgru.data.synthetic.pairs import DrawnPair
from flowgru.layers.arithmetic import convolutions

Pictures = Float[Tensor, "P 3 H W"]
"""Both pictures of each pair, one pair after the other."""


class Surfaces(NamedTuple):
    """Smooth surfaces over pictures, from coarse grids of any sizes: bicubic, as torch's interpolation makes them."""

    coarse: Float[Tensor, "M C rows columns"]
    """Filled up with zeros to the size of the largest."""
    down: Float[Tensor, "M 1 H rows"]
    """How much of each row of the grid there is in each row of the picture."""
    across: Float[Tensor, "M 1 columns W"]

    @classmethod
    def of(cls, grids: Sequence[Float[Tensor, "C _ _"]], height: int, width: int) -> "Surfaces":
        rows, columns = (max((grid.shape[axis] for grid in grids), default=1) for axis in (1, 2))
        channels = max((len(grid) for grid in grids), default=1)
        coarse = torch.zeros(len(grids), channels, rows, columns)
        down, across = torch.zeros(len(grids), 1, height, rows), torch.zeros(len(grids), 1, columns, width)
        for number, grid in enumerate(grids):
            _, grid_rows, grid_columns = grid.shape
            coarse[number, :, :grid_rows, :grid_columns] = grid
            down[number, 0, :, :grid_rows] = _bicubic(grid_rows, height).T
            across[number, 0, :grid_columns] = _bicubic(grid_columns, width)
        return cls(coarse, down, across)

    def at_full_size(self) -> Float[Tensor, "M C H W"]:
        return self.down @ (self.coarse @ self.across)


@functools.lru_cache(maxsize=64)
def _bicubic(number: int, size: int) -> Float[Tensor, "number size"]:
    """The share of each of `number` values in `size` that are interpolated between them."""
    each = torch.eye(number)[None, :, None]
    return F.interpolate(each, (1, size), mode="bicubic", align_corners=False)[0, :, 0]


class Changes(NamedTuple):
    """Changes of colour, and the pictures that go through them."""

    which: Int64[Tensor, "M"]
    mix: Float[Tensor, "M 3 3"]
    offset: Float[Tensor, "M 3 1"]
    gamma: Float[Tensor, "M 1 1"]

    @classmethod
    def of(cls, changes: Sequence[tuple[int, ColourChange]]) -> "Changes":
        """Of the numbers of pictures and their changes."""
        return cls(
            torch.tensor([number for number, _ in changes], dtype=torch.int64),
            _stacked([change.mix for _, change in changes], (3, 3)),
            _stacked([change.offset for _, change in changes], (3, 1)),
            torch.tensor([change.gamma for _, change in changes])[:, None, None],
        )

    def change(self, pictures: Pictures) -> Float[Tensor, "M 3 H W"]:
        mixed = mapped(self.mix, pictures.flatten(2), self.offset).clamp_(0, 1)
        return mixed.pow_(self.gamma).view(pictures.shape)


class Blurs(NamedTuple):
    """Blurs of pictures, each with a kernel of its own."""

    which: Int64[Tensor, "M"]
    kernels: Float[Tensor, "M 1 k k"]

    @classmethod
    def of(cls, blurs: Sequence[tuple[int, Float[Tensor, "1 1 _ _"]]]) -> "Blurs":
        """Of the numbers of pictures and their kernels, which get the size of the largest."""
        side = max((kernel.shape[-1] for _, kernel in blurs), default=1)
        filled = [F.pad(kernel[0], ((side - kernel.shape[-1]) // 2,) * 4) for _, kernel in blurs]
        which = torch.tensor([number for number, _ in blurs], dtype=torch.int64)
        return cls(which, _stacked(filled, (1, side, side)))

    def change(self, pictures: Pictures) -> Float[Tensor, "M 3 H W"]:
        """In float32 without TF32 on a GPU, too; the edge pixels are repeated outwards."""
        reach = self.kernels.shape[-1] // 2
        planes = F.pad(pictures, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
        with convolutions(tf32=False, tuned=False):  # every batch has other shapes
            found = F.conv2d(planes, self.kernels.repeat_interleave(3, dim=0), groups=planes.shape[1])
        return found.view(pictures.shape)


class Exposures(NamedTuple):
    """What happens to the rendered pictures of B pairs, in this order."""

    faded: Int64[Tensor, "_"]
    """The pictures that are of one colour."""
    fades: Float[Tensor, "_ 3 1 1"]
    foggy: Int64[Tensor, "_"]
    fog: Surfaces
    fog_numbers: Float[Tensor, "2 _ 1 1 1"]
    """Thickness and density of each fog."""
    fog_colours: Float[Tensor, "_ 3 1 1"]
    shady: Int64[Tensor, "_"]
    shade: Surfaces
    shade_strengths: Float[Tensor, "_ 1 1 1"]
    colours: Changes
    second_colours: Changes
    blurs: Blurs
    noise: tuple[float, ...]
    """Deviation for each pair."""
    noise_seeds: tuple[int, ...]
    grey: Int64[Tensor, "_"]

    @classmethod
    def of(cls, pairs: Sequence[DrawnPair], height: int, width: int) -> "Exposures":
        shown = [(number, pair.exposure) for number, pair in enumerate(pairs) if pair.exposure is not None]
        fades = [(2 * number + 1, pair.fade[..., None]) for number, pair in enumerate(pairs) if pair.fade is not None]
        # Fog and shade come in two pictures of each pair: the fog of both is the same.
        fogs = [(2 * number + k, each.fog) for number, each in shown if each.fog is not None for k in (0, 1)]
        shades = [
            (2 * number + k, each.shadows, k) for number, each in shown if each.shadows is not None for k in (0, 1)
        ]
        return cls(
            faded=torch.tensor([number for number, _ in fades], dtype=torch.int64),
            fades=_stacked([colour for _, colour in fades], (3, 1, 1)),
            foggy=torch.tensor([number for number, _ in fogs], dtype=torch.int64),
            fog=Surfaces.of([fog.coarse[0] for _, fog in fogs], height, width),
            fog_numbers=torch.tensor([[fog.thickness for _, fog in fogs], [fog.densest for _, fog in fogs]])[
                ..., None, None, None
            ],
            fog_colours=_stacked([fog.colour for _, fog in fogs], (3, 1, 1)),
            shady=torch.tensor([number for number, *_ in shades], dtype=torch.int64),
            shade=Surfaces.of([shadows.coarse[k] for _, shadows, k in shades], height, width),
            shade_strengths=torch.tensor([shadows.strength for _, shadows, _ in shades])[:, None, None, None],
            colours=Changes.of(
                [(2 * number + k, each.colour) for number, each in shown if each.colour is not None for k in (0, 1)]
            ),
            second_colours=Changes.of(
                [(2 * number + 1, each.second_colour) for number, each in shown if each.second_colour is not None]
            ),
            blurs=Blurs.of(
                [
                    (2 * number + k, each.kernel)
                    for number, each in shown
                    if each.kernel is not None
                    for k in ((1,) if each.only_second else (0, 1))
                ]
            ),
            noise=tuple(pair.exposure.noise if pair.exposure is not None else 0.0 for pair in pairs),
            noise_seeds=tuple(pair.noise_seed for pair in pairs),
            grey=torch.tensor(
                [2 * number + k for number, each in shown if each.grey for k in (0, 1)], dtype=torch.int64
            ),
        )


def expose_batch(pictures: Pictures, exposures: Exposures) -> Pictures:
    """Photograph the rendered pictures and round them to 8-bit levels."""
    pictures = _changed(pictures, exposures.faded, lambda faded: exposures.fades.expand_as(faded))
    pictures = _changed(pictures, exposures.foggy, lambda seen: _in_fog(seen, exposures))
    pictures = _changed(pictures, exposures.shady, lambda seen: seen * _light(exposures))
    for change in (exposures.colours, exposures.second_colours, exposures.blurs):
        pictures = _changed(pictures, change.which, change.change)
    return in_levels(_changed(_with_noise(pictures, exposures), exposures.grey, without_colour))


def _changed(pictures: Pictures, which: Int64[Tensor, "_"], change: Callable[[Tensor], Tensor]) -> Pictures:
    if not len(which):
        return pictures
    return pictures.index_copy(0, which, change(pictures.index_select(0, which)))


def _in_fog(pictures: Pictures, exposures: Exposures) -> Pictures:
    thickness, densest = exposures.fog_numbers
    density = torch.sigmoid(exposures.fog.at_full_size() + thickness) * densest
    return torch.lerp(pictures, exposures.fog_colours.expand_as(pictures), density.expand_as(pictures))


def _light(exposures: Exposures) -> Float[Tensor, "_ 1 H W"]:
    return (exposures.shade_strengths * exposures.shade.at_full_size()).exp_()


def _with_noise(pictures: Pictures, exposures: Exposures) -> Pictures:
    """Each pair's noise comes from a generator of its own, so that it is the same in any batch."""
    if not any(exposures.noise):
        return pictures
    pairs = pictures.unflatten(0, (-1, 2)).clone()
    for pair, deviation, seed in zip(pairs, exposures.noise, exposures.noise_seeds, strict=True):
        if deviation:
            generator = torch.Generator(pair.device).manual_seed(seed)
            pair.add_(torch.randn(pair.shape, generator=generator, device=pair.device), alpha=deviation)
    return pairs.flatten(0, 1)


def _stacked(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Those tensors of this shape in one; there may be none."""
    return torch.stack([*tensors]) if tensors else torch.zeros(0, *shape)

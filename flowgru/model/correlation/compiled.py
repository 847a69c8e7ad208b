"""The look-ups in the form of which torch.compile makes the fastest code; in plain PyTorch they would be slow or large.

All samples of a window lie equally far from the pixels beside them. So a window of (2 r + 1)^2 samples is a patch of
(2 r + 2)^2 whole pixels, fetched once, and one blend of its neighbours; bilinear sampling fetches four pixels each.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flowgru.grid import Coordinates
from flowgru.model.correlation.all_pairs import AllPairsCorrelation
from flowgru.types import Features

PARTS = 4
"""Products that are added before each sum over the channels: a processor waits for one sum, but not for four."""


class CompiledAllPairs(AllPairsCorrelation):
    """AllPairsCorrelation with another look-up."""

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        super().__init__(first, second, levels, radius)
        self.radius = radius

    def lookup(self, centres: Coordinates) -> Features:
        found = []
        for level, volume in enumerate(self.pyramid):
            index, inside, fraction = _patches(centres, level, self.radius, *volume.shape[2:])
            row = torch.arange(len(volume), device=volume.device)[:, None, None]
            found.append(_blend(_stored(torch.where(inside, volume.flatten(1)[row, index], 0.0)), fraction))
        return _as_features(found, centres)


class CompiledOnDemand:
    """OnDemandCorrelation without its blocks: fetching pixels and multiplying them becomes one loop that stores no pixel.

    Every window costs the same, however the flow bends.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        self.batch, channels = first.shape[:2]
        self.radius = radius
        self.first = _rows(first.float() / math.sqrt(channels))
        second = second.float()
        self.maps, self.sizes = [], []
        for level in range(levels):
            second = F.avg_pool2d(second, kernel_size=2) if level else second
            self.maps.append(_rows(second))
            self.sizes.append((second.shape[2], second.shape[3]))

    def lookup(self, centres: Coordinates) -> Features:
        found = []
        picture = torch.arange(len(self.first), device=centres.device)[:, None, None] // (len(self.first) // self.batch)
        for level, (rows, (height, width)) in enumerate(zip(self.maps, self.sizes, strict=True)):
            index, inside, fraction = _patches(centres, level, self.radius, height, width)
            index = index + height * width * picture
            products = [
                second[index] * first[:, None, None]
                for first, second in zip(self.first.chunk(PARTS, 1), rows.chunk(PARTS, 1), strict=True)
            ]
            found.append(_blend(_stored(torch.where(inside, sum(products[1:], products[0]).sum(-1), 0.0)), fraction))
        return _as_features(found, centres)


def _rows(features: Features) -> Float[Tensor, "pixels C"]:
    """A row for each pixel of each picture."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).contiguous()


def _patches(
    centres: Coordinates, level: int, radius: int, height: int, width: int
) -> tuple[Int[Tensor, "P side side"], Bool[Tensor, "P side side"], Float[Tensor, "2 P"]]:
    """Which pixels of a map hold the window around each centre, x slow; which of them exist; and how far off they are."""
    x, y = centres.permute(1, 0, 2, 3).reshape(2, -1) / 2**level
    columns, column_inside, to_right = _along(x, radius, width)
    rows, row_inside, down = _along(y, radius, height)
    index = rows[:, None, :] * width + columns[:, :, None]
    return index, row_inside[:, None, :] & column_inside[:, :, None], torch.stack([to_right, down])


def _along(
    centre: Float[Tensor, " P"], radius: int, size: int
) -> tuple[Int[Tensor, "P side"], Bool[Tensor, "P side"], Float[Tensor, " P"]]:
    """`_patches` along one axis. A window that sees nothing but zeros is moved to where it sees zeros nearby."""
    centre = centre.nan_to_num().clamp(-(radius + 1), size + radius)
    low = centre.floor()
    pixels = low.long()[:, None] + torch.arange(-radius, radius + 2, device=centre.device)
    return pixels.clamp(0, size - 1), (pixels >= 0) & (pixels < size), centre - low


def _stored(patches: Float[Tensor, "P side side"]) -> Float[Tensor, "P side side"]:
    """The same, as values in memory: without it the compiler fetches each pixel again for each of the four that read it."""
    side = patches.shape[2]
    return patches.as_strided(patches.shape, (side * side, side, 1))


def _blend(patches: Float[Tensor, "P side side"], fraction: Float[Tensor, "2 P"]) -> Float[Tensor, "P K"]:
    """The samples between the pixels of each patch, which lie at `fraction` (x, y) of the way to the next pixel."""
    to_right, down = fraction[:, :, None, None]
    columns = patches[:, :-1] * (1 - to_right) + patches[:, 1:] * to_right
    return (columns[:, :, :-1] * (1 - down) + columns[:, :, 1:] * down).flatten(1)


def _as_features(found: list[Float[Tensor, "P K"]], centres: Coordinates) -> Features:
    """The windows of all levels, a row for each pixel, as a map."""
    batch, _, height, width = centres.shape
    return torch.cat(found, dim=1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)

"""Overlapping tiles of a picture too large to be computed at once, and one smooth flow out of theirs."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.errors import RequestError, sides, size_text

OVERLAP = 0.25
"""Share of a tile's extent that it has in common with the next one: room for motion, and for the blend."""

MIN_TILE_SIDE = 128
"""Pixels on the least side of a tile; below it the network pads."""


class Tile(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, picture: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """What the picture shows there."""
        return picture[..., self.top : self.top + self.height, self.left : self.left + self.width]


def check_tiles(tiles: object) -> None:
    """RequestError unless these are rows and columns of tiles."""
    counts = tiles if isinstance(tiles, tuple | list) else ()
    if len(counts) != 2 or not all(type(count) is int and 0 < count < 100 for count in counts):
        raise RequestError(f"tiles is {tiles!r:.50}: expected (rows, columns), each from 1 to 99")


def tile_layout(height: int, width: int, rows: int, columns: int) -> list[Tile]:
    """rows x columns tiles of one size that cover the picture, row by row.

    RequestError where the tiles would be too small to show what moves.
    """
    check_tiles((rows, columns))
    tops, tile_height = _spread(height, rows)
    lefts, tile_width = _spread(width, columns)
    if (rows > 1 and tile_height < MIN_TILE_SIDE) or (columns > 1 and tile_width < MIN_TILE_SIDE):
        raise RequestError(
            f"{rows}x{columns} tiles of a picture of {sides((height, width))} are "
            f"{size_text((tile_height, tile_width))}: fewer tiles are needed, of {MIN_TILE_SIDE} pixels or more on each side"
        )
    return [Tile(top, left, tile_height, tile_width) for top in tops for left in lefts]


def most_tiles(length: int, count: int) -> int:
    """At most `count`, and only as many as leave MIN_TILE_SIDE to each tile along a side of `length` pixels."""
    return next((few for few in range(count, 1, -1) if _spread(length, few)[1] >= MIN_TILE_SIDE), 1)


def blend(
    values: list[Float[Tensor, "B C h w"]], tiles: list[Tile], height: int, width: int
) -> Float[Tensor, "B C H W"]:
    """The values of all tiles as one picture; where tiles overlap, each counts less towards its own edge."""
    if len(tiles) == 1:
        return values[0]
    total = values[0].new_zeros(*values[0].shape[:2], height, width)
    weights = values[0].new_zeros(height, width)
    for each, tile in zip(values, tiles, strict=True):
        rows = _ramp(tile.top, tile.height, height, like=each)
        weight = rows[:, None] * _ramp(tile.left, tile.width, width, like=each)
        tile.cut(total).add_(each * weight)
        tile.cut(weights[None, None]).add_(weight)
    return total / weights


def _spread(length: int, count: int) -> tuple[list[int], int]:
    """Where `count` overlapping pieces of one length begin, and that length, a multiple of 8 where it can be."""
    if count == 1:
        return [0], length
    piece = min(length, 8 * math.ceil(length / (8 * (count - OVERLAP * (count - 1)))))
    return [round(i * (length - piece) / (count - 1)) for i in range(count)], piece


def _ramp(start: int, piece: int, length: int, *, like: Tensor) -> Float[Tensor, "piece"]:
    """Weights that fall off over the overlap towards the edges inside the picture."""
    steps = (torch.arange(piece, device=like.device, dtype=like.dtype) + 0.5) / (OVERLAP * piece)
    weights = torch.ones_like(steps)
    if start > 0:
        weights = torch.minimum(weights, steps)
    if start + piece < length:
        weights = torch.minimum(weights, steps.flip(0))
    return weights

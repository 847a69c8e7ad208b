"""All textures of a bank in one picture, so that layers of any textures are painted by one look-up."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.textures import SIDE, Place, TextureBank, bank_of, num_patterns


@functools.lru_cache(maxsize=4)
def places(settings: SyntheticSettings) -> TextureBank:
    """Where each texture of the settings' bank lies, in its place: enough to draw pairs, and made without a texture."""
    num_made = settings.num_textures + num_patterns(settings)
    num_photos = settings.num_textures if settings.photos is not None else 0
    number_of_all = num_made + num_photos + (settings.untextured > 0)
    columns, _ = _cells(number_of_all)
    below = _rows(number_of_all, columns) * SIDE
    pyramids = []
    for number in range(number_of_all):
        row, column = divmod(number, columns)
        half_row, half_column = divmod(number, 2 * columns)
        half = SIDE // 2
        pyramids.append(
            (Place(column * SIDE, row * SIDE, SIDE), Place(half_column * half, below + half_row * half, half))
        )
    made, photos, shades = (
        tuple(pyramids[begin:end])
        for begin, end in ((0, num_made), (num_made, num_made + num_photos), (num_made + num_photos, None))
    )
    return TextureBank(made, photos, shades=shades)


@functools.lru_cache(maxsize=2)
def atlas(settings: SyntheticSettings, device: torch.device) -> Float[Tensor, "1 3 H W"]:
    """The picture of all textures of the settings' bank."""
    bank, where = bank_of(settings, torch.device("cpu")), places(settings)
    pairs = [
        pair
        for textures, spots in ((bank.made, where.made), (bank.photos, where.photos), (bank.shades, where.shades))
        for pair in zip(textures, spots, strict=True)
    ]
    columns, rows = _cells(len(pairs))
    picture = torch.zeros(1, 3, rows * SIDE // 2, columns * SIDE)
    for textures, spots in pairs:
        for texture, place in zip(textures, spots, strict=True):
            left, top, side = place
            picture[..., top : top + side, left : left + side] = texture
    return picture.to(device)


def _cells(number: int) -> tuple[int, int]:
    """Columns of so many textures in a picture about as high as wide, and its rows of half a texture's height."""
    columns = math.ceil(math.sqrt(1.25 * number))
    return columns, 2 * _rows(number, columns) + _rows(number, 2 * columns)


def _rows(number: int, columns: int) -> int:
    return -(-number // columns)

"""Pictures as a caller from Python may have them, as RGB in [0, 1].

    a path                     read as read_image does
    a PIL picture              as it stands: a noted turn is not applied
    an array or a tensor       grey [H, W]; or 1 (grey), 3 (RGB) or 4 (RGBA) channels, first or last

Their numbers are uint8, uint16 (65535 is white), bool, or floating-point in [0, 1]. Transparent pixels lie over black, as in
files. Where the channels may be first or last, three channels are likelier than one or four; where both are as likely,
they are last in an array and first in a tensor, with a warning.
"""

import os
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from PIL import Image
from torch import Tensor

from flowgru.data.formats.images import read_image
from flowgru.data.formats.pillow import rgb_of
from flowgru.errors import FlowgruError, InputFileError, RequestError, lacks_memory, one_line, size_text
from flowgru.kinds import FIRST, LAST, described, given_path, numbers_of, usual_channels
from flowgru.types import PictureLike

EXPECTED = "a path, a PIL picture, or an array or tensor [H, W], [H, W, 3] or [3, H, W]"

NUMBERS = "uint8, uint16, bool, or floating-point numbers in [0, 1]"


def picture_tensor(picture: PictureLike, name: str = "the picture") -> Float32[Tensor, "3 H W"]:
    """A picture as RGB in [0, 1], on the device it is on; it keeps its gradient.

    RequestError for what is no picture, naming the first value that is not finite or out of range; InputFileError for a
    file, or an opened PIL picture, that cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        picture = read_image(given_path(picture, name))
    elif isinstance(picture, Image.Image):
        picture = rgb_array(picture, name)
    values, is_array = numbers_of(picture, name, EXPECTED)
    if values.dim() not in (2, 3) or not values.numel():
        raise RequestError(f"{name} is {described(picture)}: expected {EXPECTED}, not empty")
    if values.dim() == 2:
        values = values[None]
    elif channels_of(picture, name, is_array=is_array) == LAST:
        values = values.permute(2, 0, 1)
    return _rgb(values, picture, name)


def rgb_array(picture: Image.Image, name: str) -> np.ndarray:
    """A PIL picture as 8-bit RGB. InputFileError where its file proves to be damaged."""
    if not (picture.width and picture.height):
        raise RequestError(
            f"{name} is empty, {size_text((picture.height, picture.width))}: expected a picture with pixels"
        )
    try:
        return rgb_of(picture, name)
    except FlowgruError:
        raise
    except Exception as error:  # Pillow decodes here, and its decoders raise nearly anything
        if lacks_memory(error):
            raise
        raise InputFileError(f"{name} cannot be decoded ({one_line(error)}): get its file again") from None


def channels_of(picture: Any, name: str, *, is_array: bool) -> str:
    """Whether the channels of a picture with three axes come first or last."""
    first, last = picture.shape[0], picture.shape[2]
    ranks = {3: 2, 1: 1, 4: 1}
    rank_first, rank_last = ranks.get(first, 0), ranks.get(last, 0)
    if not (rank_first or rank_last):
        raise RequestError(f"{name} is {described(picture)}: expected 1, 3 or 4 channels, first or last")
    if rank_first == rank_last:
        return usual_channels(picture, name, is_array=is_array)
    return FIRST if rank_first > rank_last else LAST


def _rgb(values: Shaped[Tensor, "C H W"], given: object, name: str) -> Float32[Tensor, "3 H W"]:
    """Grey, RGB or RGBA of any numbers as RGB in [0, 1]."""
    if values.is_floating_point():
        levels = _checked(values.float(), name)
        rgb = levels[:3] * levels[3:] if len(levels) == 4 else levels
    elif values.dtype in (torch.uint8, torch.uint16, torch.bool):
        levels = values.to(torch.int32)
        if values.dtype == torch.uint16:
            levels = _rounded(levels * 255, 65535)
        elif values.dtype == torch.bool:
            levels = levels * 255
        levels = _rounded(levels[:3] * levels[3:], 255) if len(levels) == 4 else levels
        rgb = levels.float() / 255
    else:
        raise RequestError(f"{name} is {described(given)}: expected {NUMBERS}")
    return (rgb.expand(3, -1, -1) if len(rgb) == 1 else rgb).contiguous()


def _rounded(products: Tensor, divisor: int) -> Tensor:
    """Integer division, rounded to the nearest, as of the pictures in files."""
    return (products + divisor // 2) // divisor


def _checked(pixels: Float32[Tensor, "C H W"], name: str) -> Float32[Tensor, "C H W"]:
    """The pixels, if they are in [0, 1]."""
    lowest, highest = (bound.item() for bound in torch.aminmax(pixels))
    # Resizing in float32 may pass the ends by a rounding error, which is not a wrong range.
    rounding = 1e-6
    if -rounding <= lowest and highest <= 1 + rounding:
        return pixels.clamp(0, 1)
    finite = torch.isfinite(pixels)
    good = finite & (pixels >= -rounding) & (pixels <= 1 + rounding)
    index = (~good).nonzero()[0].tolist()
    found = f"{pixels[tuple(index)].item():g} at channel {index[0]}, row {index[1]}, column {index[2]}"
    if not finite.all():
        num_bad = int((~finite).sum())
        raise RequestError(f"{name} holds {found} ({num_bad} values are not finite): expected values in [0, 1]")
    hint = ": divide by 255" if lowest >= 0 and highest <= 255 else ""
    raise RequestError(f"{name} has values in [{lowest:g}, {highest:g}], {found}: expected [0, 1]{hint}")


def is_pil(value: object) -> bool:
    """Whether it is a picture of Pillow."""
    return isinstance(value, Image.Image)


def pil_picture(rgb: np.ndarray) -> Image.Image:
    """8-bit RGB [H, W, 3] as a picture of Pillow."""
    return Image.fromarray(rgb)

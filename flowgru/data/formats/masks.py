"""Masks that are pictures: which of their pixels say yes."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from flowgru.data.formats.images import read_image
from flowgru.data.formats.pillow import readable
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, decode_16_bit, png_header
from flowgru.errors import InputFileError
from flowgru.files.bounded import read_bytes


def white_pixels(path: Path) -> Bool[np.ndarray, "H W"]:
    """Where a mask is white. InputFileError for one that is damaged, or white nowhere and not black."""
    levels = read_image(path)[..., 0]
    white = levels > 127
    if not white.any():
        _refuse_faint(path, int(levels.max()))
    return white


def bright_pixels(path: Path) -> Bool[np.ndarray, "H W"]:
    """Where a mask is not black. InputFileError for one that is damaged, and for 16 bits of which 8 bits are all black."""
    bright = read_image(path).max(axis=2) > 0
    if not bright.any():
        _refuse_faint(path, 0)
    return bright


def _highest_of_16_bits(path: Path) -> int:
    """The highest sample of a grey picture, or a PNG in colour, of 16 bits; 0 of all others."""
    start = read_bytes(path, 26)
    if start.startswith(PNG_SIGNATURE) and png_header(start, path).bit_depth == 16:
        samples = decode_16_bit(read_bytes(path), path)
        return int(samples.max() if samples.ndim == 2 else samples[..., :3].max())
    with readable(path), Image.open(path) as opened:
        return int(np.asarray(opened).max()) if opened.mode.startswith("I") else 0


def _refuse_faint(path: Path, most: int) -> None:
    """InputFileError unless a mask is black in all of its bits; most: its highest level in 8 bits."""
    white = 255
    if most == 0:
        most, white = _highest_of_16_bits(path), 65535
    if most:
        raise InputFileError(
            f"{path} has levels from 0 to {most}: a mask is white ({white}) where it holds, so multiply it by "
            f"{white // most}"
        )

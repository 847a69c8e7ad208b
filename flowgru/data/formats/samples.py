"""Stored samples as 8-bit levels of red, green and blue."""

import numpy as np
from jaxtyping import Shaped, UInt8


def eight_bit(samples: Shaped[np.ndarray, "*shape"], white: int | None = None) -> UInt8[np.ndarray, "*shape"]:
    """Samples as levels from 0 to 255, rounded to the nearest; white, or else the type's largest value, becomes 255."""
    if samples.dtype == np.uint8 and white is None:
        return samples
    white = white or 65535
    return _divide(samples.astype(np.uint32) * 255, white)


def over_black(rgba: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Lay a transparent picture over black, as a viewer without a background shows it."""
    return _divide(rgba[..., :3].astype(np.uint32) * rgba[..., 3:], 255)


def spread_grey(grey: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Grey as red, green and blue of one level."""
    return np.repeat(grey[..., None], 3, axis=2)


def _divide(samples: np.ndarray, divisor: int) -> np.ndarray:
    """Integer division, rounded to the nearest, to 8 bits."""
    return ((samples + divisor // 2) // divisor).astype(np.uint8)

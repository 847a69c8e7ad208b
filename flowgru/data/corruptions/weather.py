"""Light and weather: light and fog are alike in both frames, rain falls from one to the other."""

import cv2
import numpy as np
from jaxtyping import Float32

from flowgru.data.corruptions.noise import Frames

FOG_WHITE = 0.9
RAIN_WHITE = 0.85
"""The light of a drop, which shows the sky."""
_SHIFT = 4
"""OpenCV takes the ends of a line in parts of 1/16 pixel."""


def brightness(frames: Frames, added: float, draws: np.random.Generator) -> Frames:
    """Adds light: to V of HSV, so that colours keep their hue."""
    brighter = []
    for frame in frames:
        hsv = cv2.cvtColor(np.clip(frame, 0, 1), cv2.COLOR_RGB2HSV)
        hsv[..., 2] = np.minimum(hsv[..., 2] + np.float32(added), 1)
        brighter.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return np.stack(brighter)


def contrast(frames: Frames, factor: float, draws: np.random.Generator) -> Frames:
    """Moves all values towards the mean colour of both frames, until this share of their distance is left."""
    mean = frames.mean(axis=(0, 1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return mean + np.float32(factor) * (frames - mean)


def fog(frames: Frames, density: float, draws: np.random.Generator) -> Frames:
    """Lays fog of uneven density over both frames: it lies still while what is behind it moves."""
    veil = 1 - np.exp(-np.float32(density) * (0.4 + 1.2 * clouds(frames.shape[1], frames.shape[2], draws)))[..., None]
    return frames * (1 - veil) + np.float32(FOG_WHITE) * veil


def clouds(height: int, width: int, draws: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """A smooth random map in [0, 1] with structure at every scale: octaves of noise, each half as strong as the last."""
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 9):
        cells = 2**octave + 1
        coarse = draws.random((cells, cells), np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / np.float32(high - low) if high > low else np.full_like(total, 0.5)


def rain(frames: Frames, drops: float, draws: np.random.Generator) -> Frames:
    """Draws so many streaks for each 10,000 pixels; in the second frame each has fallen by its own speed.

    Near drops are longer, wider and faster than far ones. A drop that leaves the picture comes in on the other side.
    """
    height, width = frames.shape[1:3]
    number = max(1, round(drops * height * width / 10_000))
    nearness = draws.uniform(0.3, 1.0, number)
    slant = np.radians(draws.uniform(-15, 15) + draws.normal(0, 1.5, number))
    direction = np.stack([np.sin(slant), np.cos(slant)], axis=1)
    start = draws.uniform(0, 1, (number, 2)) * (width, height)
    length = np.maximum(4, 0.06 * height * nearness)
    streaks = []
    for fallen in (0.0, 2.5):  # in lengths of the streak: between two frames there is a gap
        place = (start + fallen * length[:, None] * direction) % (width, height)
        streaks.append(_streaks(height, width, place, place + length[:, None] * direction, nearness))
    veil = 0.7 * np.stack(streaks)[..., None]
    return frames * (1 - veil) + np.float32(RAIN_WHITE) * veil


def _streaks(
    height: int, width: int, begin: np.ndarray, end: np.ndarray, nearness: np.ndarray
) -> Float32[np.ndarray, "H W"]:
    """Lines from `begin` to `end` [N, 2] in pixels, as shares of what is hidden behind them."""
    canvas = np.zeros((height, width), np.uint8)
    ends = np.round(np.stack([begin, end], axis=1) * 2**_SHIFT).astype(int)
    for (first, last), near in zip(ends.tolist(), nearness.tolist(), strict=True):
        thickness = 2 if near > 0.85 and min(height, width) >= 200 else 1
        cv2.line(canvas, first, last, int(255 * near), thickness, cv2.LINE_AA, _SHIFT)
    return cv2.GaussianBlur(canvas, (3, 3), 0.6, borderType=cv2.BORDER_REPLICATE).astype(np.float32) / 255

"""Noise of a sensor: drawn anew for each frame."""

import numpy as np
from jaxtyping import Float32

Frames = Float32[np.ndarray, "2 H W 3"]
"""Both frames of a pair, RGB in [0, 1]."""


def gaussian_noise(frames: Frames, deviation: float, draws: np.random.Generator) -> Frames:
    """Adds noise of this standard deviation to every value."""
    return frames + np.float32(deviation) * draws.standard_normal(frames.shape, np.float32)


def shot_noise(frames: Frames, photons: float, draws: np.random.Generator) -> Frames:
    """Counts light where white is so many photons in the mean."""
    return draws.poisson(frames * photons).astype(np.float32) / np.float32(photons)


def impulse_noise(frames: Frames, share: float, draws: np.random.Generator) -> Frames:
    """Puts this share of the values at 0 or at 1."""
    drawn = draws.random(frames.shape, np.float32)
    return np.where(drawn < share / 2, 0, np.where(drawn < share, 1, frames)).astype(np.float32)

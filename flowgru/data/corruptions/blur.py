"""Blur of a lens or of a camera that moves, and a sensor with few pixels: alike in both frames."""

import cv2
import numpy as np

from flowgru.data.corruptions.noise import Frames


def defocus_blur(frames: Frames, radius: float, draws: np.random.Generator) -> Frames:
    """Spreads every pixel over a disc of this radius in pixels."""
    reach = int(np.ceil(radius))
    x = np.arange(-reach, reach + 1, dtype=np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(x, x[:, None]), 0, 1)
    return _filtered(frames, disc)


def motion_blur(frames: Frames, length: float, draws: np.random.Generator) -> Frames:
    """Spreads every pixel along a line of this length in pixels, whose direction is drawn."""
    angle, reach = draws.uniform(0, np.pi), int(np.ceil(length / 2))
    x = np.arange(-reach, reach + 1, dtype=np.float32)
    along = x * np.cos(angle) + x[:, None] * np.sin(angle)
    across = x[:, None] * np.cos(angle) - x * np.sin(angle)
    line = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return _filtered(frames, line)


def pixelate(frames: Frames, factor: float, draws: np.random.Generator) -> Frames:
    """Shows the picture with so many times as many pixels along each side, enlarged without smoothing."""
    height, width = frames.shape[1:3]
    small = max(1, round(width * factor)), max(1, round(height * factor))
    shrunk = [cv2.resize(frame, small, interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST) for frame in shrunk])


def _filtered(frames: Frames, kernel: np.ndarray) -> Frames:
    weights = (kernel / kernel.sum()).astype(np.float32)
    return np.stack([cv2.filter2D(frame, -1, weights, borderType=cv2.BORDER_REPLICATE) for frame in frames])

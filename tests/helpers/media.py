"""Small videos made for the tests, with PyAV, and pictures whose content tells the frame's number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def moving_frames(num_frames: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """RGB frames, red upper left and blue lower left, in which a white square moves 2 pixels to the right each time."""
    frames = []
    for index in range(num_frames):
        frame = np.full((height, width, 3), 40, np.uint8)
        frame[: height // 2, : width // 2] = (255, 0, 0)
        frame[height // 2 :, : width // 2] = (0, 0, 255)
        left = 2 * index % (width - 4)
        frame[height // 2 - 4 : height // 2 + 4, left : left + 8] = 255
        frames.append(frame)
    return frames


def noisy_frames(num_frames: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames that do not compress, so that every frame takes many bytes."""
    return list(np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), np.uint8))


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int | None = None,
    sample_aspect_ratio: Fraction | None = None,
    times: Sequence[int] | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write RGB frames at 10 a second; times gives each one its own time stamp, in tenths of a second."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=10, options=codec_options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 10)
        if sample_aspect_ratio is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """The mean absolute difference of two pictures, in levels."""
    return float(np.abs(first.astype(int) - second).mean())


def upright(picture: np.ndarray) -> dict[int, np.ndarray]:
    """By the orientation that Exif and TIFF note: a stored picture [H, W, 3] as it is to be seen."""
    return {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, 1),
    }

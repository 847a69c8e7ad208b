"""A pair of pictures as it would be under bad conditions: twelve corruptions, each in three severities.

Most are those of Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", in their severities 1, 3 and 5; that they are alike in both frames where the world makes it so follows
Schmalfuss et al. 2025, "RobustSpring". fog, rain and h264 are flowgru's own.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from flowgru.config.evaluation.corruptions import CORRUPTION_NAMES, SEVERITIES
from flowgru.data.corruptions.blur import defocus_blur, motion_blur, pixelate
from flowgru.data.corruptions.compression import h264, jpeg
from flowgru.data.corruptions.noise import Frames, gaussian_noise, impulse_noise, shot_noise
from flowgru.data.corruptions.weather import brightness, contrast, fog, rain
from flowgru.errors import RequestError, did_you_mean

Picture = TypeVar("Picture", bound=np.ndarray)


class Corruption(NamedTuple):
    """One way to spoil a pair."""

    spoil: Callable[[Frames, float, np.random.Generator], Frames]
    strengths: tuple[float, float, float]
    """Of the three severities, in the function's own unit."""


CORRUPTIONS = {
    "gaussian_noise": Corruption(gaussian_noise, (0.08, 0.18, 0.38)),
    "shot_noise": Corruption(shot_noise, (60, 12, 3)),
    "impulse_noise": Corruption(impulse_noise, (0.03, 0.09, 0.27)),
    "defocus_blur": Corruption(defocus_blur, (3, 6, 10)),
    "motion_blur": Corruption(motion_blur, (7, 15, 25)),
    "brightness": Corruption(brightness, (0.1, 0.3, 0.5)),
    "contrast": Corruption(contrast, (0.4, 0.2, 0.05)),
    "fog": Corruption(fog, (0.5, 1.0, 2.0)),
    "rain": Corruption(rain, (8, 20, 50)),
    "jpeg": Corruption(jpeg, (25, 15, 7)),
    "pixelate": Corruption(pixelate, (0.6, 0.4, 0.25)),
    "h264": Corruption(h264, (28, 35, 45)),
}
assert tuple(CORRUPTIONS) == CORRUPTION_NAMES


def corrupt_pair(
    first: Picture, second: Picture, name: str, severity: int = 2, seed: int = 0
) -> tuple[Picture, Picture]:
    """Both pictures [H, W, 3] of one size under a corruption, in the depth that they have: 8 or 16 bits a channel.

    A pure function of its arguments. What a codec does to 16 bits begins with 8 of them. RequestError for an unknown name
    or severity, and for pictures that are no such pair.
    """
    if name not in CORRUPTIONS:
        raise RequestError(
            f"unknown corruption {name!r}: {did_you_mean(name, CORRUPTIONS)}known are {', '.join(CORRUPTIONS)}"
        )
    if severity not in SEVERITIES:
        raise RequestError(f"the severity is {severity}: expected one of {', '.join(map(str, SEVERITIES))}")
    _require_pair(first, second)
    white = np.iinfo(first.dtype).max
    frames = np.stack([first, second]).astype(np.float32) / np.float32(white)
    spoil, strengths = CORRUPTIONS[name]
    draws = np.random.default_rng([seed, zlib.crc32(name.encode())])
    spoiled = np.clip(spoil(frames, float(strengths[severity - 1]), draws), 0, 1)
    one, two = np.round(spoiled * np.float32(white)).astype(first.dtype)
    return one, two


def _require_pair(first: np.ndarray, second: np.ndarray) -> None:
    for name, picture in (("first", first), ("second", second)):
        if picture.dtype not in (np.uint8, np.uint16) or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise RequestError(
                f"the {name} picture is {picture.dtype} {list(picture.shape)}: expected uint8 or uint16 [H, W, 3]"
            )
    if first.shape != second.shape or first.dtype != second.dtype:
        raise RequestError(
            f"first is {first.dtype} {list(first.shape)} and second {second.dtype} {list(second.shape)}: both frames of "
            "a pair must have one size and depth"
        )

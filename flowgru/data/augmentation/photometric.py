"""Changes of colour and erased boxes: what may differ in light and view, while nothing moves.

All arithmetic is NumPy's and OpenCV's, whose results do not depend on the number of threads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from flowgru.config import AugmentationSettings
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import GREY
from flowgru.grid import pixel_grid

Pictures = Float32[np.ndarray, "B 3 H W"]


class ColourChange(NamedTuple):
    """Factors of brightness, contrast and saturation (1 changes nothing), a turn of the hue, and their order."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    """Share of the whole circle; 0 changes nothing."""
    order: tuple[str, ...] = ("brightness", "contrast", "saturation", "hue")


def draw_colour_change(draws: Draws, settings: AugmentationSettings) -> ColourChange:
    """Every factor in the range and every order equally likely, as torchvision's ColorJitter draws them."""
    strengths = (settings.brightness, settings.contrast, settings.saturation)
    brightness, contrast, saturation = (1 + draws.uniform(-strength, strength) for strength in strengths)
    order = tuple(sorted(ColourChange._fields[:4], key=lambda _: draws.uniform()))
    return ColourChange(brightness, contrast, saturation, draws.uniform(-settings.hue, settings.hue), order)


def change_colour(pictures: Float[Tensor, "B 3 H W"], change: ColourChange) -> Float[Tensor, "B 3 H W"]:
    """RGB in [0, 1] changed by torchvision's formulas; the contrast is around the mean grey of all pictures together."""
    values = pictures.numpy()
    for name in change.order:
        values = _CHANGES[name](values, getattr(change, name))
    return torch.from_numpy(values)


def _grey(pictures: Pictures) -> np.ndarray:
    red, green, blue = (np.float32(weight) * pictures[:, channel] for channel, weight in enumerate(GREY))
    return (red + green + blue)[:, None]


def _blend(pictures: Pictures, other: np.ndarray | np.float32, factor: float) -> Pictures:
    mixed = pictures * np.float32(factor) + other * np.float32(1 - factor)
    return np.clip(mixed, 0, 1, out=mixed)


def _change_brightness(pictures: Pictures, factor: float) -> Pictures:
    return _blend(pictures, np.float32(0), factor)


def _change_contrast(pictures: Pictures, factor: float) -> Pictures:
    return _blend(pictures, np.float32(_grey(pictures).mean(dtype=np.float64)), factor)


def _change_saturation(pictures: Pictures, factor: float) -> Pictures:
    return _blend(pictures, _grey(pictures), factor)


def _turn_hue(pictures: Pictures, turn: float) -> Pictures:
    """Turns the hue, by OpenCV: it is torchvision's hexagonal HSV, but several times as fast."""
    turned = np.empty_like(pictures)
    for picture, result in zip(pictures, turned, strict=True):
        hsv = cv2.cvtColor(cv2.merge(list(picture)), cv2.COLOR_RGB2HSV)
        # In degrees. The way back takes them modulo the circle, but only if they are not negative.
        hsv[..., 0] += np.float32(360 * (turn % 1))
        cv2.split(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), list(result))
    return turned


_CHANGES = {
    "brightness": _change_brightness,
    "contrast": _change_contrast,
    "saturation": _change_saturation,
    "hue": _turn_hue,
}


class Box(NamedTuple):
    """A window of a picture, in pixels; it may reach out of it."""

    top: int
    left: int
    height: int
    width: int


def draw_boxes(draws: Draws, settings: AugmentationSettings, height: int, width: int) -> list[Box]:
    """Where a second picture is erased: boxes whose top left corner is anywhere in it."""
    shortest, below = settings.eraser_sides
    return [
        Box(
            draws.integer(0, height - 1),
            draws.integer(0, width - 1),
            draws.integer(shortest, below - 1),
            draws.integer(shortest, below - 1),
        )
        for _ in range(draws.integer(*settings.eraser_boxes))
    ]


def erase(sample: FlowSample, boxes: Sequence[Box]) -> FlowSample:
    """Boxes of the second picture painted over with its mean colour, as if something had come in front.

    The flow stays valid. Pixels whose match, or one of the four pixels that it is sampled from, is painted over cannot be
    seen any more: an occlusion mask says so.
    """
    second, occlusion = sample.second.clone(), sample.occlusion
    mean = torch.from_numpy(sample.second.numpy().mean((1, 2), dtype=np.float64)).to(second)
    x, y = (
        (pixel_grid(*sample.valid.shape, like=sample.flow) + sample.flow)[0] if occlusion is not None else (None, None)
    )
    for top, left, height, width in boxes:
        second[:, top : top + height, left : left + width] = mean.view(3, 1, 1)
        if occlusion is not None and x is not None and y is not None:
            covered = (x > left - 1) & (x < left + width) & (y > top - 1) & (y < top + height)
            occlusion = occlusion | (covered & sample.valid)
    return sample._replace(second=second, occlusion=occlusion)

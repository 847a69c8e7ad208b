"""A pair as it is trained on: erased, scaled, cropped, flipped and recoloured at random, as RAFT does it.

Against RAFT's published code: colours change after the crop instead of before the scaling, because a crop has up to ten
times fewer pixels than the picture. So contrast is around the crop's mean grey, and what is erased has the mean colour
before the change of colour.
"""

import torch

from flowgru.config import AugmentationSettings
from flowgru.data.augmentation.photometric import change_colour, draw_boxes, draw_colour_change, erase
from flowgru.data.augmentation.spatial import crop, flip, resize
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample

SPARE, SPARSE_SPARE = 8, 1
"""As many pixels larger than the crop a scaled pair is at least, with dense and with sparse flow."""

SPARSE_MARGINS = (20, 50)
"""Pixels below, and to the left and right of, a pair with sparse flow that a crop may be drawn to reach out; it is then
moved back to the edge. So the lower part and the sides, where KITTI has its flow, are seen more often."""


def augment(sample: FlowSample, settings: AugmentationSettings, draws: Draws) -> FlowSample:
    """The pair changed by what is drawn, at the size of the settings' crop.

    Its flow and masks still say what moves where: warping the second picture by the flow gives the first, but where it
    is occluded and up to changes of colour and the interpolation. Unknown flow is 0.
    """
    if draws.chance(settings.erasing):
        sample = erase(sample, draw_boxes(draws, settings, *sample.valid.shape))
    height, width = draw_size(draws, settings, *sample.valid.shape)
    if (height, width) != sample.valid.shape:
        sample = resize(sample, height, width, sparse=settings.sparse)
    top, left = draw_corner(draws, settings, height, width)
    sample = crop(sample, top, left, settings.height, settings.width)
    sample = flip(
        sample,
        horizontally=draws.chance(settings.horizontal_flip),
        vertically=draws.chance(settings.vertical_flip),
    )
    pictures = torch.stack((sample.first, sample.second))
    if draws.chance(settings.asymmetric):
        first, second = (change_colour(picture[None], draw_colour_change(draws, settings))[0] for picture in pictures)
    else:
        first, second = change_colour(pictures, draw_colour_change(draws, settings))
    return sample._replace(first=first, second=second, flow=torch.where(sample.valid, sample.flow, 0.0))


def draw_size(draws: Draws, settings: AugmentationSettings, height: int, width: int) -> tuple[int, int]:
    """Height and width that a pair is resized to; never too small for the crop."""
    spare = SPARSE_SPARE if settings.sparse else SPARE
    least = max((settings.height + spare) / height, (settings.width + spare) / width)
    if draws.chance(settings.scaling):
        vertical = horizontal = 2.0 ** draws.uniform(*settings.log2_scale)
        if draws.chance(settings.stretching):
            horizontal *= 2.0 ** draws.uniform(-settings.log2_stretch, settings.log2_stretch)
            vertical *= 2.0 ** draws.uniform(-settings.log2_stretch, settings.log2_stretch)
        return round(height * max(vertical, least)), round(width * max(horizontal, least))
    if height >= settings.height and width >= settings.width:
        return height, width
    return round(height * least), round(width * least)


def draw_corner(draws: Draws, settings: AugmentationSettings, height: int, width: int) -> tuple[int, int]:
    """Top and left of the crop in a pair of that size."""
    below, beside = SPARSE_MARGINS if settings.sparse else (0, 0)
    lowest, rightmost = height - settings.height, width - settings.width
    top, left = draws.integer(0, lowest + below), draws.integer(-beside, rightmost + beside)
    return min(top, lowest), min(max(left, 0), rightmost)

"""Two pictures of moving layers, their exact flow, and what of the first is hidden in the second."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from flowgru.data.synthetic.layers.shapes import Shape
from flowgru.data.synthetic.motion import Motion
from flowgru.data.synthetic.paint import Paint


class Layer(NamedTuple):
    """A painted plane that moves; without a shape it covers everything."""

    shape: Shape | None
    motion: Motion
    paint: Paint


class Rendering(NamedTuple):
    """A pair before light, lens and sensor."""

    pair: Float[Tensor, "2 3 H W"]
    flow: Float[Tensor, "2 H W"]
    occlusion: Bool[Tensor, "H W"]


INSTANTS = 7
"""Moments of one exposure that are painted where what moves is blurred."""


def render(layers: list[Layer], height: int, width: int, device: torch.device, *, exposure: float = 0.0) -> Rendering:
    """Paint both pictures from back to front, and note which layer is on top where.

    Each picture is the mean over an exposure of this share of the time between them, around its own moment, to which
    flow and occlusion belong; 0: a moment.
    """
    grid = pixel_grid(height, width, device)
    pair = torch.zeros(2, 3, height, width, device=device)
    tops = torch.zeros(2, height, width, dtype=torch.uint8, device=device)
    flow = torch.zeros(2, height, width, device=device)
    for number, layer in enumerate(layers):
        box = whole_pixels(layer.shape.box if layer.shape else None, height, width)
        if box is not None:
            places = grid[:, *box]
            top = paint_over(pair[0], tops[0], layer, number, box, places)
            flow[:, *box] = torch.where(top, layer.motion.forward(places) - places, flow[:, *box])
        box = whole_pixels(layer.motion.box_after(*layer.shape.box) if layer.shape else None, height, width)
        if box is not None:
            paint_over(pair[1], tops[1], layer, number, box, layer.motion.inverse(grid[:, *box]))
    if exposure:
        pair = torch.stack([_at(layers, grid, moment) for moment in moments(exposure)]).mean(dim=0)
    return Rendering(pair, flow, find_occlusion(grid + flow, tops[0], tops[1]))


def moments(exposure: float) -> list[float]:
    """Those of an exposure of this share of the time between two pictures, in parts of that time."""
    return torch.linspace(-0.5, 0.5, INSTANTS).mul_(exposure).tolist()


def _at(layers: list[Layer], grid: Float[Tensor, "2 H W"], moment: float) -> Float[Tensor, "2 3 H W"]:
    """Both pictures a moment later than their own, in parts of the time between them.

    For so short a time a point goes on as it goes between the pictures, so `moment` of its displacement before the place
    that is looked at is the place that is seen there.
    """
    height, width = grid.shape[1:]
    pair = torch.zeros(2, 3, height, width, device=grid.device)
    tops = torch.zeros(height, width, dtype=torch.uint8, device=grid.device)
    for layer in layers:
        first = later = None
        if layer.shape is not None:
            first, second = layer.shape.box, layer.motion.box_after(*layer.shape.box)
            first, later = (moved_box(box, first, second, moment) for box in (first, second))
        box = whole_pixels(first, height, width)
        if box is not None:
            places = grid[:, *box]
            paint_over(pair[0], tops, layer, 0, box, places - moment * (layer.motion.forward(places) - places))
        box = whole_pixels(later, height, width)
        if box is not None:
            places = grid[:, *box]
            before = places - moment * (places - layer.motion.inverse(places))
            paint_over(pair[1], tops, layer, 0, box, layer.motion.inverse(before))
    return pair


Box = tuple[float, float, float, float]


def moved_box(box: Box, first: Box, second: Box, moment: float) -> Box:
    """The box moved on by `moment` of the way from the first to the second, and as much larger as they may differ."""
    steps = [moment * (b - a) for a, b in zip(first, second, strict=True)]
    reach = max(abs(step) for step in steps)
    left, top, right, bottom = box
    return left - reach, top - reach, right + reach, bottom + reach


def paint_over(
    picture: Float[Tensor, "3 H W"],
    tops: UInt8[Tensor, "H W"],
    layer: Layer,
    number: int,
    box: tuple[slice, slice],
    points: Float[Tensor, "2 h w"],
) -> Bool[Tensor, "h w"]:
    """Lay a layer over a box of the picture, where the pixels show `points` of its plane; gives where it is on top."""
    colour = layer.paint.colour(points)
    if layer.shape is None:
        picture[:, *box] = colour
        return torch.ones_like(points[0], dtype=torch.bool)
    alpha = layer.shape.alpha(points)
    picture[:, *box].lerp_(colour, alpha.expand_as(colour))
    top = alpha > 0.5
    tops[box].masked_fill_(top, number)
    return top


def layers_on_top(layers: list[Layer], height: int, width: int, device: torch.device) -> UInt8[Tensor, "H W"]:
    """The number of the layer that is on top in each pixel of the first picture."""
    grid, tops = pixel_grid(height, width, device), torch.zeros(height, width, dtype=torch.uint8, device=device)
    for number, layer in enumerate(layers):
        if layer.shape is None:
            tops.fill_(number)
        elif (box := whole_pixels(layer.shape.box, height, width)) is not None:
            tops[box].masked_fill_(layer.shape.alpha(grid[:, *box]) > 0.5, number)
    return tops


def pixel_grid(height: int, width: int, device: torch.device) -> Float[Tensor, "2 H W"]:
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width))).float()


def whole_pixels(box: tuple[float, float, float, float] | None, height: int, width: int) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that the box touches; the whole picture for no box, None where it is outside."""
    if box is None:
        return slice(0, height), slice(0, width)
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2]) + 1), min(height, math.ceil(box[3]) + 1)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def find_occlusion(
    targets: Float[Tensor, "*batch 2 H W"],
    first_tops: UInt8[Tensor, "*batch H W"],
    second_tops: UInt8[Tensor, "*batch H W"],
) -> Bool[Tensor, "*batch H W"]:
    """True where a pixel's target is outside of the second picture's area, or mostly under another layer there.

    "Mostly" weighs the four pixels around the target as bilinear sampling does.
    """
    height, width = first_tops.shape[-2:]
    target_x, target_y = targets.unbind(-3)
    x, y = target_x.clamp(0, width - 1), target_y.clamp(0, height - 1)
    outside = ((x - target_x).abs() > 0.5) | ((y - target_y).abs() > 0.5)
    left, above = x.floor().clamp_(max=width - 2), y.floor().clamp_(max=height - 2)
    right_share, below_share = x - left, y - above
    corner = (above * width + left).long().flatten(-2)
    flat = second_tops.flatten(-2)
    same = [
        (flat.gather(-1, corner + step).view(first_tops.shape) == first_tops).to(x) for step in (0, 1, width, width + 1)
    ]
    upper, lower = torch.lerp(same[0], same[1], right_share), torch.lerp(same[2], same[3], right_share)
    return outside | (torch.lerp(upper, lower, below_share) < 0.5)

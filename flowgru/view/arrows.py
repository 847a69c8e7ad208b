"""Flow as arrows: from each point of a grid to where it is in the second picture."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from flowgru.data.formats.images import to_levels
from flowgru.data.formats.picture_kinds import picture_tensor
from flowgru.errors import RequestError, size_text
from flowgru.kinds import described, flow_tensor, positive_number, whole_number
from flowgru.types import FlowLike, PictureLike
from flowgru.view.colour_wheel import LONGEST_KNOWN, FlowArray, Picture

YELLOW = (255, 230, 0)


class Arrows(NamedTuple):
    """How arrows are drawn over a picture."""

    spacing: int
    """Pixels from one to the next."""
    scale: float
    """How many times as long as the flow they are."""

    @property
    def line_width(self) -> float:
        """In pixels: a twelfth of the spacing, and at least 1.3."""
        return max(1.3, self.spacing / 12)

    @property
    def factor(self) -> str:
        """The scale as it is written into a picture."""
        return f"x{self.scale:g}"

    def __str__(self) -> str:
        length = "as long as the flow" if self.scale == 1 else f"{self.scale:g} times as long as the flow"
        return f"arrows: one every {self.spacing} px, {length}"


_NUM_AT_ONCE = 128
"""Lines drawn together: about 2 MB a line if they all cross a 4K picture."""


def draw_arrows(
    image: PictureLike,
    flow: FlowLike,
    spacing: object = None,
    colour: object = YELLOW,
    line_width: object = None,
    scale: object = 1.0,
) -> Picture:
    """A copy of a picture, uint8 [H, W, 3], with an arrow every `spacing` pixels from (x, y) to (x + u, y + v), antialiased.

    image: a path, a PIL picture, an array or a tensor. flow: an array or tensor [2, H, W] or [H, W, 2], in pixels.
    spacing: without it, see arrow_spacing. line_width: in pixels; without it a twelfth of the spacing, and at least 1.3.
    scale: how many times as long as the flow the arrows are; legible_arrows gives one at which they can be read.

    A point that stands still is a dot; where the flow is unknown there is nothing. Arrows are cut at the border.
    RequestError if image and flow differ in size, or something is none of these.
    """
    pixels = picture_tensor(image, "image")
    size = tuple(pixels.shape[1:])
    vectors, form = flow_tensor(flow)
    if form.batched or tuple(vectors.shape[2:]) != size:
        raise RequestError(f"flow is {described(flow)}: expected one flow of the image's size, {size_text(size)}")
    space = arrow_spacing(*size) if spacing is None else whole_number("spacing", spacing, 1)
    arrows = Arrows(space, positive_number("scale", scale, ""))
    width = arrows.line_width if line_width is None else positive_number("line_width", line_width)
    array = np.ascontiguousarray(vectors[0].permute(1, 2, 0).numpy(force=True))
    return with_arrows(to_levels(pixels), array, arrows, _levels(colour), width)


def _levels(colour: Any) -> tuple[int, int, int]:
    """A colour, if it is one."""
    try:
        red, green, blue = (whole_number("colour", level, 0) for level in colour)
    except (TypeError, ValueError):
        red = green = blue = 256
    if max(red, green, blue) > 255:
        raise RequestError(f"colour is {colour!r}: expected three whole numbers from 0 to 255, such as {YELLOW}")
    return red, green, blue


def with_arrows(
    image: Picture,
    flow: FlowArray,
    arrows: Arrows,
    colour: tuple[int, int, int] = YELLOW,
    line_width: float | None = None,
) -> Picture:
    """`draw_arrows` of an 8-bit picture and a flow as files hold it."""
    spacing, scale = arrows
    line_width = arrows.line_width if line_width is None else line_width
    height, width = image.shape[:2]
    y, x = np.mgrid[spacing // 2 : height : spacing, spacing // 2 : width : spacing]
    start = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64)
    vector = flow[y, x].reshape(-1, 2).astype(np.float64)
    known = (np.abs(vector) <= LONGEST_KNOWN).all(axis=1)
    lines = _arrow_lines(start[known], scale * vector[known], longest_head=spacing / 3)

    drawn = image.copy()
    ink = _ink(lines, height, width, line_width)
    touched = ink > 0
    share = ink[touched][:, None]
    drawn[touched] = np.rint((1 - share) * image[touched] + share * np.array(colour, np.float32))
    return drawn


def arrow_spacing(height: int, width: int) -> int:
    """How many pixels the arrows of a picture stand apart: a 24th of its shorter side, between 16 and 48."""
    return int(np.clip(min(height, width) // 24, 16, 48))


def legible_arrows(longest: float, height: int, width: int) -> Arrows:
    """Arrows for a picture, or a clip, of flows up to `longest` pixels, at which they can be read.

    The scale is the largest of 1, 2 or 5, 10, 20, ..., or a half, a fifth, a tenth, ..., with which the longest arrow is no
    longer than one and a half spacings.
    """
    spacing = arrow_spacing(height, width)
    wanted = 1.5 * spacing / longest
    unit = 10.0 ** math.floor(math.log10(wanted))
    return Arrows(spacing, float(f"{unit * max(step for step in (1, 2, 5) if step * unit <= wanted * (1 + 1e-9)):.3g}"))


def _arrow_lines(
    start: Float64[np.ndarray, "N 2"], vector: Float64[np.ndarray, "N 2"], longest_head: float
) -> Float64[np.ndarray, "3*N 2 2"]:
    """Each arrow's shaft and the two strokes of its head, 30 degrees off: both ends of every line as (x, y)."""
    tip = start + vector
    length = np.linalg.norm(vector, axis=1, keepdims=True)
    back = -vector / np.maximum(length, 1e-12) * np.minimum(length / 3, longest_head)
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    strokes = [tip + back @ np.array([[cos, turn], [-turn, cos]]) for turn in (sin, -sin)]
    return np.concatenate([np.stack([tip, other], axis=1) for other in (start, *strokes)])


def _ink(
    lines: Float64[np.ndarray, "N 2 2"], height: int, width: int, line_width: float
) -> Float[np.ndarray, "{height} {width}"]:
    """How much of each pixel the lines cover, 0 to 1: a ramp one pixel wide along the edge of every line."""
    ink = np.zeros(height * width)
    extent = np.abs(lines[:, 1] - lines[:, 0])
    steep = extent[:, 1] > extent[:, 0]
    for swapped in (False, True):  # a steep line is drawn as a flat one, with x and y swapped
        chosen = lines[steep == swapped]
        if swapped:
            chosen = chosen[:, :, ::-1]
        num_columns, num_rows = (height, width) if swapped else (width, height)
        for first in range(0, len(chosen), _NUM_AT_ONCE):
            some = chosen[first : first + _NUM_AT_ONCE]
            column, row, cover = _cover_of_flat_lines(some, num_columns, num_rows, reach=line_width / 2 + 0.5)
            np.maximum.at(ink, column * width + row if swapped else row * width + column, cover)
    return ink.reshape(height, width).astype(np.float32)


def _cover_of_flat_lines(
    lines: Float64[np.ndarray, "N 2 2"], num_columns: int, num_rows: int, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and cover of every pixel within `reach` of a line that is at least as wide as high."""
    x, y = lines[:, 0].T
    run, rise = (lines[:, 1] - lines[:, 0]).T
    left = np.clip(np.floor(np.minimum(x, x + run) - reach), 0, num_columns).astype(np.int64)
    right = np.clip(np.ceil(np.maximum(x, x + run) + reach) + 1, 0, num_columns).astype(np.int64)

    # Every line visits each of its columns, and there the few rows around it.
    counts = right - left
    line = np.repeat(np.arange(len(lines)), counts)
    column = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts - left, counts)
    x, y, run, rise = (values[line] for values in (x, y, run, rise))
    along = np.clip((column - x) / np.where(run == 0, 1, run), 0, 1)
    num_beside = math.ceil(reach * math.sqrt(2) + 0.5)
    row = np.rint(y + along * rise).astype(np.int64)[:, None] + np.arange(-num_beside, num_beside + 1)

    x, y, run, rise, column = (values[:, None] for values in (x, y, run, rise, column))
    nearest = np.clip(((column - x) * run + (row - y) * rise) / np.maximum(run**2 + rise**2, 1e-12), 0, 1)
    distance = np.hypot(column - x - nearest * run, row - y - nearest * rise)
    visible = (distance < reach) & (row >= 0) & (row < num_rows)
    return np.broadcast_to(column, row.shape)[visible], row[visible], np.minimum(reach - distance[visible], 1)

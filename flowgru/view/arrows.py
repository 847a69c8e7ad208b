"""Flow as arrows: from each point of a grid to where it is in the second picture."""

import math

import numpy as np
from jaxtyping import Float, Float64

from flowgru.errors import RequestError
from flowgru.view.colour_wheel import LONGEST_KNOWN, FlowArray, Picture, require_one_size

_NUM_AT_ONCE = 128
"""Lines drawn together: about 2 MB a line if they all cross a 4K picture."""


def draw_arrows(
    image: Picture,
    flow: FlowArray,
    spacing: int = 16,
    colour: tuple[int, int, int] = (255, 230, 0),
    line_width: float = 1.3,
) -> Picture:
    """A copy of the image with an arrow every `spacing` pixels, from (x, y) to (x + u, y + v), antialiased.

    A point that stands still is a dot; where the flow is unknown there is nothing. Arrows are cut at the border.
    RequestError if image and flow differ in size or the spacing is below 1.
    """
    require_one_size(image=image, flow=flow)
    if spacing < 1:
        raise RequestError(f"the arrows' spacing is {spacing}: expected at least 1, in pixels")
    height, width = image.shape[:2]
    y, x = np.mgrid[spacing // 2 : height : spacing, spacing // 2 : width : spacing]
    start = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64)
    vector = flow[y, x].reshape(-1, 2).astype(np.float64)
    known = (np.abs(vector) <= LONGEST_KNOWN).all(axis=1)
    lines = _arrow_lines(start[known], vector[known], longest_head=spacing / 3)

    drawn = image.copy()
    ink = _ink(lines, height, width, line_width)
    touched = ink > 0
    share = ink[touched][:, None]
    drawn[touched] = np.rint((1 - share) * image[touched] + share * np.array(colour, np.float32))
    return drawn


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

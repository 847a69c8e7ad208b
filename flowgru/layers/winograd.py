"""A convolution by minimal filtering, from matrix products: the values of the direct one, but for rounding.

Over many channels, the n (or n^2) multiplications of a tile are as many products of (tiles x in) with (in x out) matrices,
and the transforms before and after are products of small constant matrices with long rows.
"""

import threading

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.layers.winograd_matrices import Filter, minimal_filter, transformed

STRIP_BYTES = 16 * 2**20
"""Of transformed input at a time, so that it is still in the processor's cache when it is multiplied."""

NUM_BUFFERS = 3
"""How many times as much its steps keep in all."""


def filtered(input: Float[Tensor, "B C h w"], weight: Float[Tensor, "K C r q"], bias: Tensor | None) -> Tensor:
    """The convolution [B, K, h, w] with zeros around the input, channels last in memory, by minimal filtering.

    Not for gradients. Each kernel size is 1 or in POINTS.
    """
    output = empty_output(input, weight)
    rows, columns = (minimal_filter(taps) for taps in weight.shape[2:])
    kernels = transformed(weight)
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    down, height, width = len(rows.to_outputs), *input.shape[2:]
    tiles_down = -(-height // down)
    strips = -(-4 * tiles_down * len(kernels) * width * weight.shape[1] // STRIP_BYTES)
    step = -(-tiles_down // strips)
    for picture, result in zip(input, output, strict=True):
        for first in range(0, tiles_down, step):
            count = min(step, tiles_down - first)
            planes = _products(_planes(picture, first * down, count, rows, columns), kernels, columns)
            strip = _joined(planes, count, rows).view(count * down, -1, len(weight))
            part = result[:, first * down : (first + count) * down]
            torch.add(strip[: part.shape[1], :width].permute(2, 0, 1), bias[:, None, None], out=part)
    return output


strip_buffers = threading.local()


def _buffer(step: str, rows: int, size: int) -> Float[Tensor, "rows size"]:
    """Memory for a step's result, the same in every call: taking it anew would last as long as the arithmetic.

    Its rows are never a multiple of 4 KiB apart, where they would share a few places in the cache.
    """
    apart = -(-size // 1024) * 1024 + 64
    kept: np.ndarray | None = getattr(strip_buffers, step, None)
    if kept is None or len(kept) < rows * apart:
        kept = None
        setattr(strip_buffers, step, None)  # given back before anything new is taken
        kept = np.empty(rows * apart + 16, np.float32)
        kept = kept[
            -(kept.ctypes.data // 4) % 16 :
        ]  # PyTorch's tensors begin at 64 bytes, too: where decides about bits
        setattr(strip_buffers, step, kept)
    # A tensor of an inference mode could not be written outside it, so NumPy keeps the memory.
    return torch.from_numpy(kept[: rows * apart]).view(rows, apart)[:, :size]


def _planes(
    picture: Float[Tensor, "C h w"], top: int, count: int, rows: Filter, columns: Filter
) -> Float[Tensor, "i size"]:
    """B d of the columns of `count` rows of tiles, from the row `top` on, with zeros around the picture.

    A plane is [count, length, C] and a little more, because tiles overlap by wide - across pixels: each line ends with as
    many zeros, so that the tiles of all lines are equally far apart, and the last line needs them after its end.
    """
    (down, tall), (across, wide) = rows.to_outputs.shape, columns.to_outputs.shape
    channels, height, width = picture.shape
    overlap = wide - across
    length = -(-(width + overlap) // across) * across
    line, left, top = length * channels, overlap // 2, top - (tall - down) // 2
    planes = _buffer("planes", tall, count * line + overlap * channels)
    planes[:, count * line :] = 0
    if tall == 1:
        padded = planes[0, : count * line].view(count, length, channels)
    else:
        padded = _buffer("padded", (count - 1) * down + tall, line).unflatten(1, (length, channels))
    first, last = max(top, 0), min(top + len(padded), height)
    inside = padded[first - top : last - top]
    for outside in (padded[: first - top], padded[last - top :], inside[:, :left], inside[:, left + width :]):
        outside.zero_()
    inside[:, left : left + width].copy_(picture[:, first:last].permute(1, 2, 0))
    if tall > 1:
        apart = padded.stride(0)
        overlapping = padded.as_strided((count, tall, line), (down * apart, apart, 1))
        by_row = planes[:, : count * line].unflatten(1, (count, line)).transpose(0, 1)
        torch.bmm(rows.to_tile.expand(count, -1, -1), overlapping, out=by_row)
    return planes


def _products(
    planes: Float[Tensor, "i size"], kernels: Float[Tensor, "i j C K"], columns: Filter
) -> Float[Tensor, "i size2"]:
    """Each plane's tiles d B^T, times its kernels, times A^T: planes [count, length, K]."""
    across, wide = columns.to_outputs.shape
    channels, outputs = kernels.shape[2:]
    number = (planes.shape[1] // channels - (wide - across)) // across
    results = _buffer("results", len(planes), number * across * outputs)
    tiles = _buffer("tiles", 1, number * wide * channels).view(number, wide, channels)
    products = _buffer("products", 1, number * wide * outputs).view(number, wide, outputs)
    for plane, kernel, result in zip(planes, kernels, results, strict=True):
        if wide == 1:
            torch.mm(plane.view(number, channels), kernel[0], out=result.view(number, outputs))
            continue
        overlapping = plane.as_strided((number, wide, channels), (across * channels, channels, 1))
        torch.bmm(columns.to_tile.expand(number, -1, -1), overlapping, out=tiles)
        torch.bmm(tiles.transpose(0, 1), kernel, out=products.transpose(0, 1))
        torch.bmm(columns.to_outputs.expand(number, -1, -1), products, out=result.view(number, across, outputs))
    return results


def _joined(planes: Float[Tensor, "i size"], count: int, rows: Filter) -> Float[Tensor, "strip"]:
    """A of the columns of the planes: [count, m, length, K]."""
    down, tall = rows.to_outputs.shape
    if tall == 1:
        return planes[0]
    by_row = planes.unflatten(1, (count, -1)).transpose(0, 1)
    strip = _buffer("strip", 1, by_row.shape[2] * down * count)
    torch.bmm(rows.to_outputs.expand(count, -1, -1), by_row, out=strip.view(count, down, -1))
    return strip[0]


def empty_output(input: Tensor, weight: Tensor) -> Tensor:
    """Memory for the convolution that keeps the extent, channels last."""
    shape = (len(input), len(weight), *input.shape[2:])
    return torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=torch.channels_last)

"""The channel norm as a Triton kernel, with the ReLU that follows it, and the gradient of both as another one.

The channels of a pixel are neighbours in memory, and a program has ROWS pixels in registers at a time. Statistics and sums
are float32, whatever the maps are; the gradient computes the statistics again, for nothing but the maps is kept.
TRITON_INTERPRET=1 before the import runs the kernels on a CPU, for tests. They have not run on a GPU yet.
"""

from typing import no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowgru.kernels.start import start_kernel

EPS = 1e-5
"""Of torch's layer norm."""

TILE = 2048
"""Values of a map that a program holds at a time."""

MAX_PARTIAL_SUMS = 528
"""Programs of the gradient, each with a sum for every weight: four for each multiprocessor of an H100."""


class FusedChannelNorm(torch.autograd.Function):
    """FusedChannelNorm.apply(maps, weight, bias, relu): the normalised maps, of the maps' own type, channels last."""

    @staticmethod
    def forward(
        ctx, maps: Float[Tensor, "B C H W"], weight: Float[Tensor, " C"], bias: Float[Tensor, " C"], relu: bool
    ) -> Tensor:
        rows = _rows(maps)
        normed = torch.empty_like(rows)
        launch(norm_kernel, (rows, weight, bias, normed), programs=triton.cdiv(len(rows), _tile(rows)[0]), relu=relu)
        ctx.save_for_backward(rows, weight, bias)
        ctx.relu = relu
        return _as_maps(normed, maps)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        rows, weight, bias = ctx.saved_tensors
        grad, rows_grad = _rows(grads[0]), torch.empty_like(rows)
        programs = min(triton.cdiv(len(rows), _tile(rows)[0]), MAX_PARTIAL_SUMS)
        sums = torch.empty(programs, 2, rows.shape[1], dtype=torch.float32, device=rows.device)
        launch(norm_backward_kernel, (rows, weight, bias, grad, rows_grad, sums), programs=programs, relu=ctx.relu)
        weight_grad, bias_grad = sums.sum(0)
        return _as_maps(rows_grad, grads[0]), weight_grad.to(weight.dtype), bias_grad.to(bias.dtype), None


def _rows(maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "pixels C"]:
    """A row for each pixel: a view, where the channels lie last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()


def _as_maps(rows: Float[Tensor, "pixels C"], like: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    batch, channels, height, width = like.shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _tile(rows: Float[Tensor, "pixels C"]) -> tuple[int, int]:
    """Pixels and channels of a tile, both powers of 2."""
    block = triton.next_power_of_2(rows.shape[1])
    return max(1, TILE // block), block


def launch(kernel, tensors: tuple[Tensor, ...], *, programs: int, relu: bool) -> None:
    """Runs the kernel over all rows of the first tensor."""
    pixels, block = _tile(tensors[0])
    num_rows, channels = tensors[0].shape
    if not num_rows:
        return
    start_kernel(kernel, (programs,), tensors, num_rows, channels, EPS=EPS, RELU=relu, ROWS=pixels, BLOCK=block)


@triton.jit
@no_type_check
def _places(tile, num_rows, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Where the values of a tile [ROWS, BLOCK] are, and which of them exist."""
    row = (tile * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    channel = tl.arange(0, BLOCK)[None, :]
    return row * channels + channel, (row < num_rows) & (channel < channels)


@triton.jit
@no_type_check
def _normalised(values, inside, channels, EPS: tl.constexpr):
    """Each row with mean 0 and variance 1, and what its deviations were multiplied by."""
    mean = tl.sum(values, 1)[:, None] / channels
    centred = tl.where(inside, values - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1)[:, None] / channels + EPS)
    return centred * scale, scale


@triton.jit
@no_type_check
def norm_kernel(
    rows, weight, bias, normed, num_rows, channels,
    EPS: tl.constexpr, RELU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    channel = tl.arange(0, BLOCK)
    w = tl.load(weight + channel, channel < channels, 0).to(tl.float32)[None, :]
    b = tl.load(bias + channel, channel < channels, 0).to(tl.float32)[None, :]
    place, inside = _places(tl.program_id(0), num_rows, channels, ROWS, BLOCK)
    x, _ = _normalised(tl.load(rows + place, inside, 0).to(tl.float32), inside, channels, EPS)
    y = x * w + b
    if RELU:
        y = tl.where(y <= 0, 0.0, y)  # what is no number stays so
    tl.store(normed + place, y.to(normed.dtype.element_ty), inside)


@triton.jit
@no_type_check
def norm_backward_kernel(
    rows, weight, bias, grad, rows_grad, sums, num_rows, channels,
    EPS: tl.constexpr, RELU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """With x the normalised row, g the gradient by x: scale (g - mean(g) - x mean(g x)); each program sums its weights'."""
    channel = tl.arange(0, BLOCK)
    known = channel < channels
    w = tl.load(weight + channel, known, 0).to(tl.float32)[None, :]
    b = tl.load(bias + channel, known, 0).to(tl.float32)[None, :]
    by_weight, by_bias = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num_rows, ROWS), tl.num_programs(0)):
        place, inside = _places(tile, num_rows, channels, ROWS, BLOCK)
        x, scale = _normalised(tl.load(rows + place, inside, 0).to(tl.float32), inside, channels, EPS)
        g = tl.load(grad + place, inside, 0).to(tl.float32)
        if RELU:
            g = tl.where(x * w + b <= 0, 0.0, g)
        by_weight += tl.sum(g * x, 0)
        by_bias += tl.sum(g, 0)
        g = g * w
        mean, along = tl.sum(g, 1)[:, None] / channels, tl.sum(g * x, 1)[:, None] / channels
        tl.store(rows_grad + place, (scale * (g - mean - x * along)).to(rows_grad.dtype.element_ty), inside)
    sums += tl.program_id(0) * 2 * channels + channel
    tl.store(sums, by_weight, known)
    tl.store(sums + channels, by_bias, known)

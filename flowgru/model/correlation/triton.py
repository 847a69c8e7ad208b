"""The look-up on demand as Triton kernels: on a CUDA device, or under Triton's interpreter (TRITON_INTERPRET=1)."""

import math
from typing import no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowgru.grid import Coordinates
from flowgru.kernels.start import start_kernel
from flowgru.model.correlation.triton_all_pairs import Sizes, along, windows
from flowgru.types import Features


class TritonCorrelation:
    """RAFT's look-up without its volume, in values and gradients the same but for rounding.

    All samples of a window share one fractional offset: a window of (2r + 1)^2 samples is a patch of (2r + 2)^2 matches at
    whole pixels, which one kernel computes on all levels, and a bilinear blend of it, which is another one. Averaging is
    linear, so correlating with pooled features is pooling the correlation.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        channels, height, width = first.shape[1:]
        self.levels, self.radius = levels, radius
        self.first = first.float().permute(0, 2, 3, 1).reshape(-1, channels).contiguous() / math.sqrt(channels)
        pooled = [second.float()]
        for _ in range(levels - 1):
            pooled.append(F.avg_pool2d(pooled[-1], kernel_size=2))
        rows = torch.cat([level.flatten(2) for level in pooled], dim=2).transpose(1, 2)
        self.second = rows.reshape(-1, channels).contiguous()
        self.sizes = Sizes(len(self.first), height * width, height, width, rows.shape[1])

    def lookup(self, centres: Coordinates) -> Features:
        with torch.autocast(centres.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            centres = centres.float().contiguous()
            patches = _Patches.apply(self.first, self.second, centres.detach(), self.sizes, self.levels, self.radius)
            return windows(patches, centres, self.sizes, self.levels, self.radius, patches=True)


class _Patches(torch.autograd.Function):
    """Matches of every pixel with patches of whole pixels [pixels, levels * (2r + 2)^2], zero outside the picture."""

    @staticmethod
    def forward(
        ctx,
        first: Float[Tensor, "pixels C"],
        second: Float[Tensor, "rows C"],
        centres: Coordinates,
        sizes: Sizes,
        levels: int,
        radius: int,
    ) -> Tensor:
        ctx.save_for_backward(first, second, centres)
        ctx.options = options = sizes, levels, radius
        patches = first.new_empty(len(first), levels * (2 * radius + 2) ** 2)
        launch(match_kernel, (first, second, centres, patches), *options)
        return patches

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        first, second, centres = ctx.saved_tensors
        first_grad, second_grad = torch.empty_like(first), torch.zeros_like(second)
        given = (first, second, centres, grads[0].contiguous(), first_grad, second_grad)
        launch(match_backward_kernel, given, *ctx.options)
        return first_grad, second_grad, None, None, None, None


def launch(kernel, tensors: tuple[Tensor, ...], sizes: Sizes, levels: int, radius: int) -> None:
    """Runs the kernel for every row of the first tensor."""
    num_pixels, channels = tensors[0].shape
    start_kernel(
        kernel,
        (num_pixels,),
        tensors,
        channels,
        *sizes[1:],
        LEVELS=levels,
        RADIUS=radius,
        PLACES=triton.next_power_of_2((2 * radius + 2) ** 2),
        PART=min(32, triton.next_power_of_2(channels)),
    )


@triton.jit
@no_type_check
def _centre(centres, pixel, per_picture):
    """Where the pixel points in the second picture, and in which one."""
    picture = pixel // per_picture
    x = tl.load(centres + picture * 2 * per_picture + pixel % per_picture)
    y = tl.load(centres + picture * 2 * per_picture + per_picture + pixel % per_picture)
    return picture, tl.where(x == x, x, 0.0), tl.where(y == y, y, 0.0)


@triton.jit
@no_type_check
def _targets(x, y, scale, begin, height, width, RADIUS: tl.constexpr, PLACES: tl.constexpr):
    """The second picture's row for each place of a pixel's patch on a level that begins in row `begin`; which there are."""
    SIDE: tl.constexpr = 2 * RADIUS + 2
    left, _ = along(x, scale, width, RADIUS)
    top, _ = along(y, scale, height, RADIUS)
    place = tl.arange(0, PLACES)
    column, line = left + place % SIDE, top + place // SIDE
    inside = (place < SIDE * SIDE) & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    return place, begin + tl.where(inside, line * width + column, 0), inside


@triton.jit
@no_type_check
def match_kernel(
    first, second, centres, patches, channels, per_picture, height, width, row,
    LEVELS: tl.constexpr, RADIUS: tl.constexpr, PLACES: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 2
    pixel = tl.program_id(0).to(tl.int64)
    picture, x, y = _centre(centres, pixel, per_picture)
    begin, scale = picture * row, 1.0
    for level in tl.static_range(LEVELS):
        place, target, inside = _targets(x, y, scale, begin, height, width, RADIUS, PLACES)
        total = tl.zeros((PLACES,), dtype=tl.float32)
        for start in range(0, channels, PART):
            channel = start + tl.arange(0, PART)
            known = channel < channels
            own = tl.load(first + pixel * channels + channel, mask=known, other=0.0)
            both = inside[:, None] & known[None, :]
            there = tl.load(second + target[:, None] * channels + channel[None, :], mask=both, other=0.0)
            total += tl.sum(there * own[None, :], axis=1)
        tl.store(patches + (pixel * LEVELS + level) * SIDE * SIDE + place, total, mask=place < SIDE * SIDE)
        begin += height * width
        height, width, scale = height // 2, width // 2, scale / 2


@triton.jit
@no_type_check
def match_backward_kernel(
    first, second, centres, grads, first_grad, second_grad, channels, per_picture, height, width, row,
    LEVELS: tl.constexpr, RADIUS: tl.constexpr, PLACES: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 2
    pixel = tl.program_id(0).to(tl.int64)
    picture, x, y = _centre(centres, pixel, per_picture)
    for start in range(0, channels, PART):
        channel = start + tl.arange(0, PART)
        known = channel < channels
        own = tl.load(first + pixel * channels + channel, mask=known, other=0.0)
        total = tl.zeros((PART,), dtype=tl.float32)
        begin, scale, lines, columns = picture * row, 1.0, height, width
        for level in tl.static_range(LEVELS):
            place, target, inside = _targets(x, y, scale, begin, lines, columns, RADIUS, PLACES)
            grad = tl.load(grads + (pixel * LEVELS + level) * SIDE * SIDE + place, mask=inside, other=0.0)
            which = target[:, None] * channels + channel[None, :]
            both = inside[:, None] & known[None, :]
            total += tl.sum(tl.load(second + which, mask=both, other=0.0) * grad[:, None], axis=0)
            # Sums in any order; nobody reads them before the kernel has ended.
            tl.atomic_add(second_grad + which, own[None, :] * grad[:, None], mask=both, sem="relaxed")
            begin += lines * columns
            lines, columns, scale = lines // 2, columns // 2, scale / 2
        tl.store(first_grad + pixel * channels + channel, total, mask=known)

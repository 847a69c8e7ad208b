"""The look-up in the volume of all pairs as one Triton kernel for all levels, and its gradient as another one.

All samples of a window share one fractional offset. A program has PIXELS pixels of the first picture, and goes through the
levels; each sample is blended from four neighbours, which the next samples find in the cache. In the gradient each value of
the volume gathers from the up to four samples that it was part of, so nothing is added in an order that may change.
TRITON_INTERPRET=1 before the import runs the kernels on a CPU, for tests. They have not run on a GPU yet.
"""

import math
from typing import NamedTuple, no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowgru.grid import Coordinates
from flowgru.kernels.start import start_kernel
from flowgru.types import Features

PIXELS = 4
"""Of a program: enough samples to fill its threads."""


class Sizes(NamedTuple):
    """What the kernels take after their tensors; picture and window alike on every level."""

    num_pixels: int
    """Of the first pictures of the whole batch."""
    per_picture: int
    height: int
    """Of the finest level of the second picture; each further one has half of it, rounded down."""
    width: int
    row: int
    """Pixels of all levels of a second picture."""


class TritonAllPairsCorrelation:
    """AllPairsCorrelation, in values and gradients the same but for rounding, with all levels side by side in one volume.

    Averaging is linear, so correlating with averaged features is averaging the correlation: one product makes all levels.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        channels, self.height, self.width = first.shape[1:]
        self.levels, self.radius = levels, radius
        with torch.autocast(first.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            scaled = first.float().flatten(2).transpose(1, 2) / math.sqrt(channels)
            pooled = [second.float()]
            for _ in range(levels - 1):
                pooled.append(F.avg_pool2d(pooled[-1], kernel_size=2))
            self.volume = (scaled @ torch.cat([level.flatten(2) for level in pooled], dim=2)).flatten(0, 1)
        self.sizes = Sizes(len(self.volume), self.height * self.width, self.height, self.width, self.volume.shape[1])

    def lookup(self, centres: Coordinates) -> Features:
        return windows(self.volume, centres.float().contiguous(), self.sizes, self.levels, self.radius, patches=False)


def windows(
    volume: Float[Tensor, "pixels row"],
    centres: Coordinates,
    sizes: Sizes,
    levels: int,
    radius: int,
    *,
    patches: bool,
) -> Features:
    """The windows around all centres, on all levels, as Correlation.lookup gives them.

    patches: of each level, a row has only the (2r + 2)^2 values that its window is blended from, line by line.
    """
    batch, _, height, width = centres.shape
    found = _Windows.apply(volume, centres, sizes._replace(row=volume.shape[1]), levels, radius, patches)
    return found.view(batch, height, width, -1).permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """`windows` as rows [pixels, levels * window], x along the slow index of a window."""

    @staticmethod
    def forward(
        ctx,
        volume: Float[Tensor, "pixels row"],
        centres: Coordinates,
        sizes: Sizes,
        levels: int,
        radius: int,
        patches: bool,
    ) -> Tensor:
        found = volume.new_empty(sizes.num_pixels, levels * (2 * radius + 1) ** 2)
        launch(lookup_kernel, (volume, centres, found), sizes, levels, radius, PATCHES=patches)
        ctx.save_for_backward(volume, centres)
        ctx.sizes, ctx.levels, ctx.radius, ctx.patches = sizes, levels, radius, patches
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        volume, centres = ctx.saved_tensors
        grad, by_centres = grads[0].contiguous(), ctx.needs_input_grad[1]
        volume_grad = torch.empty_like(volume) if ctx.patches else torch.zeros_like(volume)
        centres_grad = torch.empty_like(centres) if by_centres else None
        given = (volume, centres, grad, volume_grad, centres if centres_grad is None else centres_grad)
        options = {"PATCHES": ctx.patches, "BY_CENTRES": by_centres}
        launch(lookup_backward_kernel, given, ctx.sizes, ctx.levels, ctx.radius, **options)
        return volume_grad, centres_grad, None, None, None, None


def launch(kernel, tensors: tuple[Tensor, ...], sizes: Sizes, levels: int, radius: int, **options: bool) -> None:
    """Runs the kernel for every pixel of the first pictures."""
    start_kernel(
        kernel,
        (triton.cdiv(sizes.num_pixels, PIXELS),),
        tensors,
        *sizes,
        LEVELS=levels,
        RADIUS=radius,
        PIXELS=PIXELS,
        PLACES=triton.next_power_of_2((2 * radius + 2) ** 2),
        **options,
    )


@triton.jit
@no_type_check
def _pixels(centres, num_pixels, per_picture, PIXELS: tl.constexpr):
    """Numbers of this program's pixels, which of them exist, where their centres are, and the centres, as columns."""
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS))[:, None].to(tl.int64)
    known = pixel < num_pixels
    place = pixel // per_picture * 2 * per_picture + pixel % per_picture
    x = tl.load(centres + place, known, 0)
    y = tl.load(centres + place + per_picture, known, 0)
    return pixel, known, place, tl.where(x == x, x, 0.0), tl.where(y == y, y, 0.0)


@triton.jit
@no_type_check
def along(centre, scale, size, RADIUS: tl.constexpr):
    """The first whole pixel of a window on a level, and how far behind it the samples are.

    A window that sees nothing but zeros is moved to where it, and its gradient, see zeros nearby.
    """
    centre = tl.minimum(tl.maximum(centre * scale, -RADIUS - 2.0), size + RADIUS + 0.0)
    low = tl.floor(centre)
    return low.to(tl.int32) - RADIUS, centre - low


@triton.jit
@no_type_check
def _stored(left, top, height, width, SIDE: tl.constexpr, PATCHES: tl.constexpr):
    """Where windows begin among the values of a level, and how many lines and columns of it there are."""
    if PATCHES:
        return left * 0, top * 0, SIDE + 1, SIDE + 1
    else:
        return left, top, height, width


@triton.jit
@no_type_check
def _corner(values, x, y, height, width, known):
    """Values [PIXELS, PLACES] of one level at whole pixels; zeros outside."""
    inside = known & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return tl.load(values + y * width + x, inside, 0)


@triton.jit
@no_type_check
def lookup_kernel(
    volume, centres, found, num_pixels, per_picture, height, width, row,
    LEVELS: tl.constexpr, RADIUS: tl.constexpr, PIXELS: tl.constexpr, PLACES: tl.constexpr, PATCHES: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 1
    pixel, known, _, x, y = _pixels(centres, num_pixels, per_picture, PIXELS)
    sample = tl.arange(0, PLACES)[None, :]
    known = known & (sample < SIDE * SIDE)
    values = volume + pixel * row
    scale = 1.0
    for level in tl.static_range(LEVELS):
        left, right_share = along(x, scale, width, RADIUS)
        top, below_share = along(y, scale, height, RADIUS)
        left, top, lines, columns = _stored(left, top, height, width, SIDE, PATCHES)
        column, line = left + sample // SIDE, top + sample % SIDE
        upper_left = _corner(values, column, line, lines, columns, known)
        upper_right = _corner(values, column + 1, line, lines, columns, known)
        lower_left = _corner(values, column, line + 1, lines, columns, known)
        lower_right = _corner(values, column + 1, line + 1, lines, columns, known)
        upper = upper_left + right_share * (upper_right - upper_left)
        lower = lower_left + right_share * (lower_right - lower_left)
        place = pixel * (LEVELS * SIDE * SIDE) + level * SIDE * SIDE + sample
        tl.store(found + place, upper + below_share * (lower - upper), known)
        values += lines * columns
        height, width, scale = height // 2, width // 2, scale / 2


@triton.jit
@no_type_check
def _gradient_at(grad, i, j, known, SIDE: tl.constexpr):
    """The gradient of the samples in column i and line j of the windows; zeros where there is none."""
    inside = known & (i >= 0) & (i < SIDE) & (j >= 0) & (j < SIDE)
    return tl.load(grad + i * SIDE + j, inside, 0)


@triton.jit
@no_type_check
def lookup_backward_kernel(
    volume, centres, grad, volume_grad, centres_grad, num_pixels, per_picture, height, width, row,
    LEVELS: tl.constexpr, RADIUS: tl.constexpr, PIXELS: tl.constexpr, PLACES: tl.constexpr,
    PATCHES: tl.constexpr, BY_CENTRES: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 1
    pixel, known, centre, x, y = _pixels(centres, num_pixels, per_picture, PIXELS)
    place = tl.arange(0, PLACES)[None, :]
    i, j = place // (SIDE + 1), place % (SIDE + 1)
    each = known & (place < (SIDE + 1) * (SIDE + 1))
    values, values_grad = volume + pixel * row, volume_grad + pixel * row
    grad += pixel * (LEVELS * SIDE * SIDE)
    by_x, by_y = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
    scale = 1.0
    for _ in tl.static_range(LEVELS):
        left, right_share = along(x, scale, width, RADIUS)
        top, below_share = along(y, scale, height, RADIUS)
        here, before = _gradient_at(grad, i, j, each, SIDE), _gradient_at(grad, i - 1, j, each, SIDE)
        above, corner = _gradient_at(grad, i, j - 1, each, SIDE), _gradient_at(grad, i - 1, j - 1, each, SIDE)
        upper = (1 - right_share) * here + right_share * before
        lower = (1 - right_share) * above + right_share * corner
        left, top, lines, columns = _stored(left, top, height, width, SIDE, PATCHES)
        column, line = left + i, top + j
        inside = each & (column >= 0) & (column < columns) & (line >= 0) & (line < lines)
        gathered = (1 - below_share) * upper + below_share * lower
        tl.store(values_grad + line * columns + column, gathered, inside)
        if BY_CENTRES:
            value = _corner(values, column, line, lines, columns, each)
            # A value's share of a sample grows or falls with the offset as its distance does.
            by_x += scale * tl.sum(value * ((1 - below_share) * (before - here) + below_share * (corner - above)), 1)
            by_y += scale * tl.sum(value * ((1 - right_share) * (above - here) + right_share * (corner - before)), 1)
        values += lines * columns
        values_grad += lines * columns
        grad += SIDE * SIDE
        height, width, scale = height // 2, width // 2, scale / 2
    if BY_CENTRES:
        tl.store(centres_grad + centre, by_x[:, None], known)
        tl.store(centres_grad + centre + per_picture, by_y[:, None], known)

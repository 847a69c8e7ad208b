"""The look-up on demand as a Triton kernel: on a CUDA device, or under Triton's interpreter (TRITON_INTERPRET=1)."""

import math
from typing import NamedTuple, no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowgru.grid import Coordinates
from flowgru.types import Features


class TritonCorrelation:
    """RAFT's look-up without its volume, in values and gradients the same but for rounding.

    All samples of a window share one fractional offset: a window of (2r + 1)^2 samples is a patch of (2r + 2)^2 matches at
    whole pixels, which the kernel computes, and one bilinear blend of it, which PyTorch does. Averaging is linear, so
    correlating with pooled features is pooling the correlation.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        channels = first.shape[1]
        self.radius = radius
        self.first = _rows(first.float() / math.sqrt(channels))
        self.levels: list[tuple[Tensor, int, int]] = []
        second = second.float()
        for level in range(levels):
            second = F.avg_pool2d(second, kernel_size=2) if level else second
            self.levels.append((_rows(second), second.shape[2], second.shape[3]))

    def lookup(self, centres: Coordinates) -> Features:
        batch, _, height, width = centres.shape
        with torch.autocast(centres.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            points = _rows(centres.float().nan_to_num())
            found = [self._windows(points / 2**level, level, height * width) for level in range(len(self.levels))]
            return torch.cat(found, dim=1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def _windows(self, points: Float[Tensor, "pixels 2"], level: int, per_picture: int) -> Float[Tensor, "pixels K"]:
        """The windows around the points on one level, x along the slow index."""
        second, height, width = self.levels[level]
        reach = self.radius + 1  # a window that sees nothing but zeros is moved to where it sees zeros nearby
        x, y = points[:, 0].clamp(-reach, width - 1 + reach), points[:, 1].clamp(-reach, height - 1 + reach)
        corners = torch.stack([x, y], dim=1).detach().floor().int() - self.radius
        patches = _Patches.apply(self.first, second, corners, 2 * self.radius + 2, height, width, per_picture)
        right = (x - corners[:, 0] - self.radius)[:, None, None]
        down = (y - corners[:, 1] - self.radius)[:, None, None]
        rows = torch.lerp(patches[:, :-1], patches[:, 1:], down)
        return torch.lerp(rows[:, :, :-1], rows[:, :, 1:], right).transpose(1, 2).flatten(1)


def _rows(values: Float[Tensor, "B C h w"]) -> Float[Tensor, "rows C"]:
    """A row for each pixel."""
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]).contiguous()


class _Sizes(NamedTuple):
    """What the kernels take after their tensors."""

    channels: int
    height: int
    width: int
    per_picture: int
    side: int


class _Patches(torch.autograd.Function):
    """Matches of every pixel with a patch of whole pixels [pixels, side, side], zero outside the picture."""

    @staticmethod
    def forward(
        ctx,
        first: Float[Tensor, "pixels C"],
        second: Float[Tensor, "rows C"],
        corners: Int[Tensor, "pixels 2"],
        side: int,
        height: int,
        width: int,
        per_picture: int,
    ) -> Tensor:
        ctx.save_for_backward(first, second, corners)
        ctx.sizes = sizes = _Sizes(first.shape[1], height, width, per_picture, side)
        patches = first.new_empty(len(first), side, side)
        launch(match_kernel, (first, second, corners, patches), sizes)
        return patches

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        first, second, corners = ctx.saved_tensors
        first_grad, second_grad = torch.empty_like(first), torch.zeros_like(second)
        given = (first, second, corners, grads[0].contiguous(), first_grad, second_grad)
        launch(match_backward_kernel, given, ctx.sizes)
        return first_grad, second_grad, None, None, None, None, None


def launch(kernel, tensors: tuple[Tensor, ...], sizes: _Sizes) -> None:
    """Runs the kernel for every row of the first tensor, on that tensor's device, which need not be the current one."""
    places, part = triton.next_power_of_2(sizes.side**2), min(32, triton.next_power_of_2(sizes.channels))
    with torch.cuda.device_of(tensors[0]):
        kernel[(len(tensors[0]),)](*tensors, *sizes, PLACES=places, PART=part)


@triton.jit
@no_type_check
def _targets(corners, pixel, height, width, per_picture, side, PLACES: tl.constexpr):
    """The second picture's row for each place of a pixel's patch, and whether there is one."""
    place = tl.arange(0, PLACES)
    x = tl.load(corners + 2 * pixel) + place % side
    y = tl.load(corners + 2 * pixel + 1) + place // side
    inside = (place < side * side) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    row = (pixel // per_picture) * height * width + y * width + x
    return place, tl.where(inside, row, 0), inside


@triton.jit
@no_type_check
def match_kernel(
    first,
    second,
    corners,
    patches,
    channels,
    height,
    width,
    per_picture,
    side,
    PLACES: tl.constexpr,
    PART: tl.constexpr,
):
    pixel = tl.program_id(0).to(tl.int64)
    place, row, inside = _targets(corners, pixel, height, width, per_picture, side, PLACES)
    total = tl.zeros((PLACES,), dtype=tl.float32)
    for start in range(0, channels, PART):
        channel = start + tl.arange(0, PART)
        known = channel < channels
        own = tl.load(first + pixel * channels + channel, mask=known, other=0.0)
        there = tl.load(
            second + row[:, None] * channels + channel[None, :], mask=inside[:, None] & known[None, :], other=0.0
        )
        total += tl.sum(there * own[None, :], axis=1)
    tl.store(patches + pixel * side * side + place, total, mask=place < side * side)


@triton.jit
@no_type_check
def match_backward_kernel(
    first,
    second,
    corners,
    grads,
    first_grad,
    second_grad,
    channels,
    height,
    width,
    per_picture,
    side,
    PLACES: tl.constexpr,
    PART: tl.constexpr,
):
    pixel = tl.program_id(0).to(tl.int64)
    place, row, inside = _targets(corners, pixel, height, width, per_picture, side, PLACES)
    grad = tl.load(grads + pixel * side * side + place, mask=inside, other=0.0)
    for start in range(0, channels, PART):
        channel = start + tl.arange(0, PART)
        known = channel < channels
        own = tl.load(first + pixel * channels + channel, mask=known, other=0.0)
        which = row[:, None] * channels + channel[None, :]
        both = inside[:, None] & known[None, :]
        there = tl.load(second + which, mask=both, other=0.0)
        tl.store(first_grad + pixel * channels + channel, tl.sum(there * grad[:, None], axis=0), mask=known)
        # Sums in any order; nobody reads them before the kernel has ended.
        tl.atomic_add(second_grad + which, own[None, :] * grad[:, None], mask=both, sem="relaxed")

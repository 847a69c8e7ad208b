"""The correlation computed again in every look-up, only where the windows are: nothing of (h w)^2 values is ever made."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowgru.grid import Coordinates, sample, window_offsets
from flowgru.types import Features

BLOCK = 8
"""Pixels on the side of the blocks that are matched together."""

WORKING_BYTES = 8 * 2**20
"""What the matches of one chunk take: more is no faster on a CPU, whose cache holds no more."""


class Map(NamedTuple):
    """One level of the second picture's features, a row for each pixel, within a margin of zeros."""

    rows: Float[Tensor, "rows C"]
    height: int
    width: int


class Chunk(NamedTuple):
    """Groups of first-picture pixels, whole blocks or single pixels, whose windows fit into frames of one size."""

    level: int
    group: int
    """Pixels in each group."""
    which: Tensor
    """[n]: the groups' numbers."""
    origin: Tensor
    """[n, 2]: x and y of the frames' top left pixels, without the margin."""
    shape: tuple[int, int]
    """Height and width of the frames."""
    targets: Tensor
    """[n * height * width]: the rows of the map that lie in the frames."""


class OnDemandCorrelation:
    """RAFT's look-up without its volume, in values and gradients the same but for rounding.

    Averaging is linear, so correlating with pooled features is pooling the correlation. Where the flow is smooth, the
    windows of neighbouring pixels overlap: a block of 8x8 pixels is matched with one frame of the second picture, the
    smallest of a few sizes that holds all of its windows, by one matrix product; a block whose windows are too far apart is
    matched pixel by pixel. The backward pass matches again instead of remembering, so training keeps nothing either.
    """

    def __init__(
        self, first: Features, second: Features, levels: int, radius: int, working_bytes: int = WORKING_BYTES
    ) -> None:
        self.batch, channels, self.height, self.width = first.shape
        self.radius, self.working_bytes = radius, working_bytes
        self.margin = 2 * radius + 2  # a window that is moved to the picture's edge lies wholly in it
        self.rows, self.columns = -(-self.height // BLOCK), -(-self.width // BLOCK)
        self.first = self._blocked(first.float() / math.sqrt(channels), mode="constant")
        self.maps: list[Map] = []
        second = second.float()
        for level in range(levels):
            second = F.avg_pool2d(second, kernel_size=2) if level else second
            padded = F.pad(second, 4 * [self.margin]).permute(0, 2, 3, 1)
            self.maps.append(Map(padded.reshape(-1, channels), *padded.shape[1:3]))
        self.window = window_offsets(radius, like=self.first)

    def lookup(self, centres: Coordinates) -> Features:
        points = self._blocked(centres.float().nan_to_num(), mode="replicate")
        found = _Lookup.apply(self, points, self.first, *(level.rows for level in self.maps))
        blocks = found.reshape(self.batch, self.rows, self.columns, BLOCK, BLOCK, -1).permute(0, 5, 1, 3, 2, 4)
        whole = blocks.reshape(self.batch, -1, BLOCK * self.rows, BLOCK * self.columns)
        return whole[:, :, : self.height, : self.width]

    def chunks(self, points: Float[Tensor, "pixels 2"]) -> Iterator[Chunk]:
        """All that is to be matched, in pieces of at most working_bytes."""
        for level, into in enumerate(self.maps):
            centres = self.within_reach(points, level)
            group, which = BLOCK**2, torch.arange(len(points) // BLOCK**2, device=points.device)
            low, high = self._extent(centres.reshape(-1, group, 2))
            least = (BLOCK >> level) + self.margin
            for side in (least + 2, least + 8, 2 * least + 8):
                shape = min(side, into.height), min(side, into.width)
                fits = (high - low)[which].le(low.new_tensor(shape[::-1])).all(dim=1)
                yield from self._split(level, group, which[fits], low, shape)
                which = which[~fits]
            pixels = (which[:, None] * group + torch.arange(group, device=which.device)).flatten()
            yield from self._split(level, 1, pixels, self._extent(centres[:, None])[0], (self.margin, self.margin))

    def within_reach(self, points: Float[Tensor, "pixels 2"], level: int) -> Float[Tensor, "pixels 2"]:
        """The centres on that level; a window that sees nothing but zeros is moved to where it sees zeros nearby."""
        into, reach = self.maps[level], self.radius + 1
        points = points / 2**level
        x = points[:, 0].clamp(-reach, into.width - 2 * self.margin - 1 + reach)
        y = points[:, 1].clamp(-reach, into.height - 2 * self.margin - 1 + reach)
        return torch.stack([x, y], dim=1)

    def match(
        self,
        chunk: Chunk,
        first: Float[Tensor, "n P C"],
        second: Float[Tensor, "n_f C"],
        points: Float[Tensor, "n P 2"],
    ) -> Float[Tensor, "n P K"]:
        """The windows around `points` of one chunk; the only arithmetic there is."""
        count, group, channels = first.shape
        matches = first @ second.reshape(count, -1, channels).transpose(1, 2)
        local = (points - chunk.origin[:, None]).reshape(-1, 1, 1, 2) + self.window
        return sample(matches.reshape(-1, 1, *chunk.shape), local).reshape(count, group, -1)

    def _split(
        self, level: int, group: int, which: Tensor, low: Float[Tensor, "groups 2"], shape: tuple[int, int]
    ) -> Iterator[Chunk]:
        into, (height, width) = self.maps[level], shape
        channels, window = into.rows.shape[1], self.window.numel()
        each = 4 * (height * width * (channels + group + 2) + group * (channels + 3 * window))
        inside = (torch.arange(height, device=low.device)[:, None] * into.width).add(
            torch.arange(width, device=low.device)
        )
        last = low.new_tensor([into.width - width, into.height - height])
        count = max(1, self.working_bytes // each)
        for part in which.split(count) if len(which) else ():
            corner = torch.minimum(low[part] + self.margin, last).long()  # a frame wider than needed stays in the map
            picture = part * group // (len(self.first) // self.batch)
            start = (picture * into.height + corner[:, 1]) * into.width + corner[:, 0]
            targets = (start[:, None] + inside.flatten()).flatten()
            yield Chunk(level, group, part, (corner - self.margin).to(low.dtype), shape, targets)

    def _extent(self, centres: Float[Tensor, "groups P 2"]) -> tuple[Tensor, Tensor]:
        """The first pixel that the windows of each group read, and the first one after them."""
        return centres.amin(1).floor() - self.radius, centres.amax(1).floor() + self.radius + 2

    def _blocked(self, values: Float[Tensor, "B C h w"], mode: str) -> Float[Tensor, "pixels C"]:
        """A row for each pixel, block after block; the picture is filled up to whole blocks."""
        batch, channels, height, width = values.shape
        grown = F.pad(values, (0, BLOCK * self.columns - width, 0, BLOCK * self.rows - height), mode=mode)
        blocks = grown.reshape(batch, channels, self.rows, BLOCK, self.columns, BLOCK)
        return blocks.permute(0, 2, 4, 3, 5, 1).reshape(-1, channels)


class _Lookup(torch.autograd.Function):
    """All windows of a look-up [pixels, levels * window], chunk by chunk, forwards and backwards."""

    @staticmethod
    def forward(ctx, correlation: OnDemandCorrelation, points: Tensor, first: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(points, first, *maps)
        ctx.correlation = correlation
        found = first.new_empty(len(points), len(maps), correlation.window[..., 0].numel())
        with torch.autocast(first.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            for chunk in correlation.chunks(points):
                centres = correlation.within_reach(points, chunk.level).reshape(-1, chunk.group, 2)[chunk.which]
                pixels = first.reshape(-1, chunk.group, first.shape[1])[chunk.which]
                windows = correlation.match(chunk, pixels, maps[chunk.level][chunk.targets], centres)
                found.view(-1, chunk.group, *found.shape[1:])[chunk.which, :, chunk.level] = windows
        return found.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        points, first, *maps = ctx.saved_tensors
        correlation = ctx.correlation
        grad = grads[0].reshape(len(points), len(maps), -1)
        points_grad, first_grad, *map_grads = (torch.zeros_like(each) for each in (points, first, *maps))
        with torch.autocast(first.device.type, enabled=False):
            for chunk in correlation.chunks(points):
                group = chunk.group
                with torch.enable_grad():
                    leaves = (
                        first.reshape(-1, group, first.shape[1])[chunk.which].requires_grad_(),
                        maps[chunk.level][chunk.targets].requires_grad_(),
                        points.reshape(-1, group, 2)[chunk.which].requires_grad_(),
                    )
                    centres = correlation.within_reach(leaves[2].reshape(-1, 2), chunk.level).reshape_as(leaves[2])
                    windows = correlation.match(chunk, leaves[0], leaves[1], centres)
                wanted = grad.reshape(-1, group, *grad.shape[1:])[chunk.which, :, chunk.level]
                to_first, to_second, to_points = torch.autograd.grad(windows, leaves, wanted)
                first_grad.view(-1, group, first.shape[1])[chunk.which] += to_first
                map_grads[chunk.level].index_add_(0, chunk.targets, to_second)
                points_grad.view(-1, group, 2)[chunk.which] += to_points
        return None, points_grad, first_grad, *map_grads

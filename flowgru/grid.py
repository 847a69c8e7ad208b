"""Pixel grids: sampling, warping, carrying along, padding and upsampling.

Integer coordinates are pixel centres and (0, 0) is the top left one. Every sampling uses align_corners=True, as RAFT does.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.types import CoarseFlow, Features, Flow, Valid

Coordinates = Float[Tensor, "B 2 H W"]
"""Where to look: x in channel 0, y in channel 1, in pixels of the picture that is sampled."""

LEAST_ARRIVAL = 0.25
"""Share of a pixel that must arrive by a forward warp, for what has arrived to be taken for the pixel."""

LEAST_SHARE = 1e-3
"""A value that is not finite counts in a warped pixel from this share of it on: less is what rounding leaves."""


def lengths(vectors: Float[Tensor, "*batch 2 H W"]) -> Float[Tensor, "*batch H W"]:
    """How long each vector is, in the unit of its components: for a flow, in pixels."""
    return torch.hypot(*vectors.unbind(-3))  # on a CPU torch's norm over two values takes many times as long


def pixel_grid(height: int, width: int, *, like: Tensor) -> Float[Tensor, "1 2 H W"]:
    """The coordinates of every pixel, on the device and in the precision of `like`."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def in_picture(
    x: Float[Tensor, "*places"], y: Float[Tensor, "*places"], height: int, width: int
) -> Bool[Tensor, "*places"]:
    """Whether places lie in a picture, whose pixels reach half a pixel beyond their centres; False of what is no number."""
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def window_offsets(radius: int, *, like: Tensor) -> Float[Tensor, "side side 2"]:
    """(x, y) offsets of a window, x along the first axis."""
    steps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)


def sample(values: Float[Tensor, "N C H W"], coordinates: Float[Tensor, "N h w 2"]) -> Float[Tensor, "N C h w"]:
    """Values at real-valued (x, y) coordinates: bilinear, zero outside the picture."""
    values, scale = _with_extent(values, coordinates)
    return _grid_sample(values, coordinates * scale - 1)


def sample_windows(
    values: Float[Tensor, "N C H W"], centres: Float[Tensor, "N 2"], offsets: Float[Tensor, "h w 2"]
) -> Float[Tensor, "N C h w"]:
    """sample(values, centre + offsets) of each of the N, with one pass over the coordinates instead of three."""
    values, scale = _with_extent(values, centres)
    return _grid_sample(values, (centres * scale - 1)[:, None, None] + offsets * scale)


def _grid_sample(values: Float[Tensor, "N C H W"], grid: Float[Tensor, "N h w 2"]) -> Float[Tensor, "N C h w"]:
    """torch's grid_sample; on CUDA never cuDNN's, which refuses 65536 maps and more in one call."""
    if values.device.type == "cuda":
        return torch.ops.aten.grid_sampler_2d(values, grid, 0, 0, True)  # bilinear, zeros outside, align_corners
    return F.grid_sample(values, grid, align_corners=True)


def _with_extent(
    values: Float[Tensor, "N C H W"], like: Tensor
) -> tuple[Float[Tensor, "N C H2 W2"], Float[Tensor, "2"]]:
    """Values in which (x, y) has an extent, and what takes (x, y), as precise as `like`, to grid_sample's range of 2."""
    if min(values.shape[-2:]) == 1:  # one pixel has no extent to normalise by; outside there are zeros anyway
        values = F.pad(values, (0, 1, 0, 1))
    height, width = values.shape[-2:]
    # Not new_tensor of a list, which would freeze the extent of an exported graph.
    return values, 2 / torch.cat([like.new_full((1,), width - 1), like.new_full((1,), height - 1)])


def backward_warp(second: Float[Tensor, "B C H W"], flow: Flow) -> tuple[Float[Tensor, "B C H W"], Valid]:
    """The second picture brought back onto the first by the flow, and where the flow stays inside the picture.

    out[y, x] = second[y + v, x + u], bilinear, with (u, v) the flow in pixels; outside pixels are 0 and not valid.
    """
    height, width = flow.shape[-2:]
    target = pixel_grid(height, width, like=flow) + flow
    inside = (target[:, 0] >= 0) & (target[:, 0] <= width - 1) & (target[:, 1] >= 0) & (target[:, 1] <= height - 1)
    return torch.where(inside[:, None], sample(second, target.permute(0, 2, 3, 1)), 0), inside


def backward_warp_of_any(second: Float[Tensor, "B C H W"], flow: Flow) -> tuple[Float[Tensor, "B C H W"], Valid]:
    """As backward_warp, of values that need not be finite: each of these counts from LEAST_SHARE of a pixel on."""
    finite = second.isfinite()
    warped, inside = backward_warp(second.where(finite, 0), flow)
    if not finite.all():  # as they are they would spoil pixels in which they have no share: 0 times NaN is NaN
        for there, value in (
            (second == math.inf, math.inf),
            (second == -math.inf, -math.inf),
            (second.isnan(), math.nan),
        ):
            share, _ = backward_warp(there.to(second.dtype), flow)
            warped = warped + torch.zeros_like(warped).masked_fill(share > LEAST_SHARE, value)
    return warped, inside


def forward_warp(
    first: Float[Tensor, "B C H W"], flow: Float[Tensor, "B 2 H W"], taken: Valid | None = None
) -> tuple[Float[Tensor, "B C H W"], Valid]:
    """The first picture carried along by the flow, and where enough of it arrives: a quarter of a pixel.

    Each pixel is shared, bilinearly, among the four pixels around the place that the flow leads it to, and what arrives at
    a pixel is averaged by these shares, whatever lies in front of what: average splatting (Niklaus and Liu 2020, "Softmax
    Splatting for Video Frame Interpolation", section 3.2). Where less arrives, the result is 0 and not valid.
    taken: which pixels take part; without it, all whose flow is finite.
    """
    batch, channels, height, width = first.shape
    landing = pixel_grid(height, width, like=flow) + flow
    weighted = torch.cat([first, torch.ones_like(first[:, :1])], dim=1).transpose(0, 1).flatten(1)
    arrived = torch.zeros_like(weighted)
    before = height * width * torch.arange(batch, device=flow.device)[:, None, None]
    corner = landing.floor()
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        weight = (1 - (landing[:, 0] - x).abs()) * (1 - (landing[:, 1] - y).abs())
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        inside = inside if taken is None else inside & taken
        # As whole numbers: float32 holds every one only up to 2^24, the pixels of a picture of 4096x4096.
        row, column = (each.nan_to_num().clamp(0, most - 1).long() for each, most in ((y, height), (x, width)))
        index = before + row * width + column
        share = torch.where(inside, weight, 0).flatten()
        # What has next to no share must not count where it is not finite, and times 0 it would.
        counts = weighted.isfinite() | (share > LEAST_SHARE)
        arrived = arrived.index_add(1, index.flatten(), torch.where(counts, weighted * share, 0))
    reached = arrived[-1] > LEAST_ARRIVAL
    mean = torch.where(reached, arrived[:-1] / arrived[-1].clamp(min=LEAST_ARRIVAL), 0)
    return mean.reshape(channels, batch, height, width).transpose(0, 1), reached.reshape(batch, height, width)


def splat(values: CoarseFlow, displacement: CoarseFlow) -> CoarseFlow:
    """Values carried along by a displacement; where nothing arrives the pixel keeps its own value.

    (RAFT's warm start fills with the nearest arrival instead.)
    """
    carried, reached = forward_warp(values, displacement)
    return torch.where(reached[:, None], carried, values)


PaddingMode = Literal["sintel", "kitti"]
"""Where RAFT adds what is missing in height: half above and half below, or all below; the width is always split.

Published errors on KITTI are those of the mode "kitti", all others those of "sintel".
"""


class Padding(NamedTuple):
    """How many pixels were added on each side."""

    left: int
    right: int
    top: int
    bottom: int

    def coarse_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of coarse pixels in a picture that has grown by this from height x width."""
        return (height + self.top + self.bottom) // 8, (width + self.left + self.right) // 8

    def remove(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """The part of a padded picture that is the picture itself."""
        height, width = values.shape[-2:]
        return values[..., self.top : height - self.bottom, self.left : width - self.right]


def padding_for(
    height: int, width: int, mode: PaddingMode = "sintel", *, multiple: int = 8, at_least: int = 128
) -> Padding:
    """The padding that brings a picture to a size the network can take.

    Below 128 pixels the coarsest level of RAFT's correlation pyramid is one pixel wide.
    """
    rows = max(-(-height // multiple) * multiple, at_least) - height
    columns = max(-(-width // multiple) * multiple, at_least) - width
    top = rows // 2 if mode == "sintel" else 0
    return Padding(columns // 2, columns - columns // 2, top, rows - top)


def upsample_bilinear(values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
    """Coarse values at the picture's size, by bilinear interpolation (RAFT-small)."""
    return F.interpolate(values, scale_factor=8, mode="bilinear", align_corners=True)


def upsample_convex(values: Float[Tensor, "B C h w"], mask: Features) -> Float[Tensor, "B C H W"]:
    """Coarse values at the picture's size: each pixel a learned convex combination of 3x3 coarse neighbours (RAFT, 3.3).

    mask [B, 9*64, h, w] holds, for each of the 8x8 pixels in a coarse pixel, one score per neighbour; their softmax
    gives the weights. The sums are one batched matrix product: broadcasting over [B, C, 9, 8, 8, h, w] is much slower.
    """
    batch, channels, height, width = values.shape
    cells = height * width
    weights = mask.permute(0, 2, 3, 1).reshape(batch, cells, 9, 64).softmax(dim=2)
    neighbours = F.unfold(values, kernel_size=3, padding=1).reshape(batch, channels, 9, cells).permute(0, 3, 1, 2)
    summed = neighbours.contiguous() @ weights  # of any other layout, a batch is copied matrix by matrix
    blocks = summed.reshape(batch, height, width, channels, 8, 8)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, 8 * height, 8 * width)

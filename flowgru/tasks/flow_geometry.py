"""What is done to an estimated flow: brought to another size, carried along by itself, checked against the way back."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.grid import pixel_grid, warp
from flowgru.types import CoarseFlow


def resize_flow(flow: Float[Tensor, "B 2 h w"], size: tuple[int, ...]) -> Float[Tensor, "B 2 H W"]:
    """The flow of a resized picture at another size, in that size's pixels."""
    height, width = flow.shape[2:]
    if (height, width) == tuple(size):
        return flow
    scale = flow.new_tensor([size[1] / width, size[0] / height])[:, None, None]
    return F.interpolate(flow, tuple(size), mode="bilinear", align_corners=False) * scale


def splat(values: CoarseFlow, displacement: CoarseFlow) -> CoarseFlow:
    """Values carried along by a displacement: what arrives at a pixel is averaged, weighted bilinearly.

    Where nothing arrives the pixel keeps its own value. (RAFT's warm start fills with the nearest arrival instead.)
    """
    height, width = values.shape[2:]
    landing = (pixel_grid(height, width, like=values) + displacement)[0]
    weighted = torch.cat([values[0], torch.ones_like(values[0, :1])]).flatten(1)
    arrived = torch.zeros_like(weighted)
    corner = landing.floor()
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[0] + dx, corner[1] + dy
        weight = (1 - (landing[0] - x).abs()) * (1 - (landing[1] - y).abs())
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        arrived.index_add_(1, index.flatten(), weighted * (weight * inside).flatten())
    reached = arrived[2] > 0.25
    mean = arrived[:2] / arrived[2].clamp(min=0.25)
    return torch.where(reached, mean, weighted[:2]).reshape_as(values)


def occlusion_mask(forward: Float[Tensor, "2 H W"], backward: Float[Tensor, "2 H W"]) -> Bool[Tensor, "H W"]:
    """True where a pixel of the first frame is not seen in the second: the two flows do not lead back to it.

    With b the backward flow at the place the forward flow f leads to, |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram,
    Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large displacement optical flow", section 3), or
    that place lies outside the picture.
    """
    returned, inside = warp(backward[None], forward[None])
    gap = (forward + returned[0]).square().sum(dim=0)
    lengths = forward.square().sum(dim=0) + returned[0].square().sum(dim=0)
    return (gap > 0.01 * lengths + 0.5) | ~inside[0]

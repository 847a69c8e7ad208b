"""What is done to pictures and to flow around the network: brought to another size, and checked against the way back."""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.errors import sides, size_text
from flowgru.grid import backward_warp_of_any, in_picture, pixel_grid

MAX_CHANGE_OF_ASPECT = 1.05
"""From here on a resized picture looks stretched; below is what sides are rounded by."""


def computed_size(size: tuple[int, ...], resize: tuple[int, int] | float | None) -> tuple[int, int]:
    """Height and width at which frames of `size` are computed."""
    if isinstance(resize, tuple):
        return resize
    scale = 1.0 if resize is None else resize
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def warn_of_distortion(size: tuple[int, ...], resize: tuple[int, int] | float | None) -> None:
    """Warns where frames of `size` are to be computed at another aspect, as by width and height in the wrong order."""
    if not isinstance(resize, tuple) or (change := _change_of_aspect(size, resize)) <= MAX_CHANGE_OF_ASPECT:
        return
    swapped, of_same_height = resize[::-1], (resize[0], max(1, round(resize[0] * size[1] / size[0])))
    kept = swapped if _change_of_aspect(size, swapped) <= MAX_CHANGE_OF_ASPECT else of_same_height
    warnings.warn(
        f"resize {sides(resize)} changes the aspect of frames of {size_text(size)} by {change - 1:.0%}, and the flow is "
        f"computed on distorted frames: {sides(kept)} keeps it",
        stacklevel=2,
    )


def _change_of_aspect(size: tuple[int, ...], other: tuple[int, ...]) -> float:
    ratio = other[0] * size[1] / (other[1] * size[0])
    return max(ratio, 1 / ratio)


def resize_picture(picture: Float[Tensor, "B 3 h w"], size: tuple[int, ...]) -> Float[Tensor, "B 3 H W"]:
    """The picture at another size."""
    return F.interpolate(picture, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def resize_flow(flow: Float[Tensor, "B 2 h w"], size: tuple[int, ...]) -> Float[Tensor, "B 2 H W"]:
    """The flow of a resized picture at another size, in that size's pixels."""
    height, width = flow.shape[2:]
    if (height, width) == tuple(size):
        return flow
    u, v = F.interpolate(flow, tuple(size), mode="bilinear", align_corners=False).split(1, dim=1)
    # By numbers, not by a tensor of both: a GPU would be waited for, and a graph of it could not be recorded.
    return torch.cat([u * (size[1] / width), v * (size[0] / height)], dim=1)


def occlusion_mask(forward: Float[Tensor, "2 H W"], backward: Float[Tensor, "2 H W"]) -> Bool[Tensor, "H W"]:
    """True where a pixel of the first frame is not seen in the second: the two flows do not lead back to it.

    With b the backward flow at the place the forward flow f leads to, |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram,
    Brox and Keutzer 2010, "Dense point trajectories by GPU-accelerated large displacement optical flow", section 3), or
    that place lies outside the picture, or a flow is not finite. Pixels reach half a pixel beyond their centres, so that one
    at the edge is not hidden where its flow trembles; there, b is that of the nearest pixel.
    """
    height, width = forward.shape[1:]
    grid = pixel_grid(height, width, like=forward)[0]
    x, y = grid + forward
    within = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)]) - grid
    returned, _ = backward_warp_of_any(backward[None], within[None])
    return ~leads_back(forward, returned[0], dim=0) | ~in_picture(x, y, height, width)


def leads_back(flow: Float[Tensor, "*shape"], back: Float[Tensor, "*shape"], dim: int) -> Bool[Tensor, "*places"]:
    """Whether a flow and the flow back agree, see occlusion_mask; `dim` holds the two coordinates, in pixels."""
    gap = (flow + back).square().sum(dim=dim)
    largest = 0.01 * (flow.square().sum(dim=dim) + back.square().sum(dim=dim)) + 0.5
    return (gap <= largest) & gap.isfinite()

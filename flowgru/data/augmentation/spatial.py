"""Scaling, cropping and flipping a pair with its flow and masks.

Pixel centres keep their places: centre x of a picture that becomes s times as wide lies at s (x + 1/2) - 1/2 afterwards.
Samples that come in are never changed; those that go out may share memory with them.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from flowgru.data.sample import FlowSample
from flowgru.grid import in_picture, pixel_grid


def resize(sample: FlowSample, height: int, width: int, *, sparse: bool = False) -> FlowSample:
    """The pair at another size, its flow in pixels of that size.

    Pictures are interpolated bilinearly. So is a dense flow, and a pixel is valid if all that was mixed in it is; masks
    take the nearest pixel's value. A sparse flow's vectors, with their masks, move to the pixel that their place is
    nearest to, the last of several in one place wins; all other pixels become invalid.

    Sparse placing differs from RAFT's published code in two ways. It keeps the vectors of row 0 and column 0, which RAFT
    drops; and it rounds s (x + 1/2) - 1/2, where the pictures' pixels go, instead of s x, which lies (s - 1) / 2 beside it.
    """
    old_height, old_width = sample.valid.shape
    scale = torch.tensor([width / old_width, height / old_height]).view(2, 1, 1)
    pictures = {
        "first": _interpolated(sample.first, height, width),
        "second": _interpolated(sample.second, height, width),
    }
    if sparse:
        y, x = sample.valid.nonzero(as_tuple=True)
        # Rounding s (x + 1/2) - 1/2 is rounding s (x + 1/2) down: it never leaves the picture. NumPy's assignment is
        # in order, torch's is not.
        rows, columns = (
            ((2 * y + 1) * height // (2 * old_height)).numpy(),
            ((2 * x + 1) * width // (2 * old_width)).numpy(),
        )

        def scattered(values: Tensor) -> Tensor:
            placed = torch.zeros(*values.shape[:-2], height, width, dtype=values.dtype)
            placed.numpy()[..., rows, columns] = values[..., y, x].numpy()
            return placed

        return sample._replace(
            flow=scattered(sample.flow * scale),
            valid=scattered(sample.valid),
            occlusion=None if sample.occlusion is None else scattered(sample.occlusion),
            **pictures,
        )
    # Unknown flow may be any number, and even a weight of 0 keeps NaN.
    flow = _interpolated(torch.where(sample.valid, sample.flow, 0.0), height, width) * scale
    valid = torch.ones(height, width, dtype=torch.bool)
    if not sample.valid.all():
        valid = _interpolated((~sample.valid).float()[None], height, width)[0] == 0
    occlusion = None if sample.occlusion is None else _nearest(sample.occlusion, height, width)
    return sample._replace(flow=flow * valid, valid=valid, occlusion=occlusion, **pictures)


def crop(sample: FlowSample, top: int, left: int, height: int, width: int) -> FlowSample:
    """A window of both pictures; what moves out of it is occluded from then on, but its flow stays valid."""
    window = (..., slice(top, top + height), slice(left, left + width))
    flow, valid, occlusion = sample.flow[window], sample.valid[window], sample.occlusion
    if occlusion is not None:
        x, y = (pixel_grid(height, width, like=flow) + flow)[0]
        occlusion = occlusion[window] | (~in_picture(x, y, height, width) & valid)
    first, second = sample.first[window], sample.second[window]
    return sample._replace(first=first, second=second, flow=flow, valid=valid, occlusion=occlusion)


def flip(sample: FlowSample, *, horizontally: bool = False, vertically: bool = False) -> FlowSample:
    """Left and right, or top and bottom, or both change places."""
    sides = [-1] * horizontally + [-2] * vertically
    signs = torch.tensor([-1.0 if horizontally else 1.0, -1.0 if vertically else 1.0]).view(2, 1, 1)
    return sample._replace(
        first=sample.first.flip(sides),
        second=sample.second.flip(sides),
        flow=sample.flow.flip(sides) * signs,
        valid=sample.valid.flip(sides),
        occlusion=None if sample.occlusion is None else sample.occlusion.flip(sides),
    )


def _interpolated(planes: Tensor, height: int, width: int) -> Tensor:
    """Bilinear and without smoothing, plane by plane: OpenCV is several times as fast as torch at this."""
    resized = [
        cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes.contiguous().numpy()
    ]
    return torch.from_numpy(np.stack(resized))


def _nearest(mask: Tensor, height: int, width: int) -> Tensor:
    levels = mask.contiguous().numpy().view(np.uint8)
    return torch.from_numpy(cv2.resize(levels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_))

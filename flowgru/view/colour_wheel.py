"""Flow as colour: the hue says where to, the saturation how far, white stands still and black is unknown.

The wheel is that of Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 92 (2011).
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from flowgru.errors import RequestError, sides
from flowgru.kinds import flow_tensor, positive_number
from flowgru.types import FlowLike

Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB, height first."""

FlowArray = Float[np.ndarray, "_ _ 2"]
"""A flow as files hold it: (u, v) of each pixel."""

LONGEST_KNOWN = 1e9
"""A longer component says that the flow is unknown there: Middlebury's files mark it so."""

_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_NUM_STEPS = (15, 6, 4, 11, 13, 6)
"""From red to yellow, green, cyan, blue, magenta and back to red."""


def _colour_wheel() -> Float[Tensor, "55 3"]:
    """The wheel's colours in [0, 1], from the one that means right over down, left and up."""
    entries = [
        [start + (255 * step // num_steps) * (end - start) // 255 for start, end in zip(*corners, strict=True)]
        for *corners, num_steps in zip(_CORNERS[:-1], _CORNERS[1:], _NUM_STEPS, strict=True)
        for step in range(num_steps)
    ]
    return torch.tensor(entries, dtype=torch.float32) / 255


def require_one_size(**arrays: np.ndarray) -> None:
    """Refuse pictures, flows and masks that do not show the same pixels."""
    if len({array.shape[:2] for array in arrays.values()}) > 1:
        sizes = ", ".join(f"{name} {sides(array.shape)}" for name, array in arrays.items())
        raise RequestError(f"the sizes differ: {sizes} (height x width): expected one size for all")


@torch.no_grad()
def flow_to_image(flow: FlowLike, max_flow: object = None) -> UInt8[np.ndarray, "*B H W 3"]:
    """The colours of a flow, as a uint8 array [H, W, 3], RGB, that Pillow and matplotlib show; of a batch [B, H, W, 3].

    flow: an array or tensor [2, H, W] or [H, W, 2], in pixels, or a batch of them.

    The full colours mean `max_flow` pixels. A longer vector keeps them: Baker's code darkens it instead, which makes
    edges that move from frame to frame. Without `max_flow` the longest known vector of the whole input has the full
    colours, so give it wherever two pictures are compared. A pixel is black, and does not count for the scale, where
    a component is NaN, infinite or beyond 1e9. RequestError for what is no flow, or a scale that is not above 0.
    """
    vectors, form = flow_tensor(flow)
    scale = None if max_flow is None else positive_number("max_flow", max_flow)
    colours = flow_colours(vectors, scale).permute(0, 2, 3, 1)
    return np.ascontiguousarray((colours if form.batched else colours[0]).numpy(force=True))


def flow_picture(flow: FlowArray, max_flow: float | None = None) -> Picture:
    """`flow_to_image` of a flow as files hold it."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is unknown
        vectors = torch.from_numpy(np.array(np.moveaxis(flow, 2, 0), dtype=np.float32, order="C"))
    return np.ascontiguousarray(flow_colours(vectors, max_flow).permute(1, 2, 0).numpy())


@torch.no_grad()
def flow_colours(flow: Float[Tensor, "*B 2 H W"], max_flow: float | None = None) -> UInt8[Tensor, "*B 3 H W"]:
    """The colours of `flow_to_image`, on the flow's device.

    Equal to torchvision.utils.flow_to_image on known flow, but for the longest vector of about one picture in fifty:
    torchvision's norm rounds above 1 there, and a channel that should be 0 comes out as 255.
    """
    if max_flow is not None:
        positive_number("max_flow", max_flow)
    vectors = flow.float()
    known = _known(vectors)
    vectors = vectors.where(known.unsqueeze(-3), 0)
    longest = _length(vectors).max() if max_flow is None else vectors.new_tensor(max_flow)
    vectors = vectors / (longest + torch.finfo(torch.float32).eps)
    return _colours(vectors) * known.unsqueeze(-3)


def robust_max(flow: FlowArray, percentile: float = 99.0) -> float:
    """A scale for one flow, in pixels: this percentile of the lengths of its known vectors, and at least 1.

    The few longest vectors are often mistakes and would make everything else pale. At least 1 pixel, so that the
    noise of a scene at rest stays pale.
    """
    known = (np.abs(flow) <= LONGEST_KNOWN).all(axis=2)  # NaN is not <= anything
    lengths = np.hypot(*flow[known].astype(np.float64).T)
    return max(1.0, float(np.percentile(lengths, percentile))) if lengths.size else 1.0


def suggest_max_flow(flows: Iterable[FlowArray]) -> float:
    """One scale for all frames of a clip, in pixels: the largest of their robust maxima.

    Rounded up to two significant digits, so that what the legend says is exact. A few flows from all over the clip do.
    """
    longest = max(map(robust_max, flows), default=1.0)
    unit = 10.0 ** (math.floor(math.log10(longest)) - 1)
    return float(f"{math.ceil(longest / unit - 1e-9) * unit:.6g}")


def _known(flow: Float[Tensor, "*B 2 H W"]) -> Bool[Tensor, "*B H W"]:
    return (flow.abs() <= LONGEST_KNOWN).all(dim=-3)  # NaN is not <= anything


def _length(flow: Float[Tensor, "*B 2 H W"]) -> Float[Tensor, "*B H W"]:
    return flow.pow(2).sum(dim=-3).sqrt()


def _colours(flow: Float[Tensor, "*B 2 H W"]) -> UInt8[Tensor, "*B 3 H W"]:
    """The colours of vectors whose unit is the scale."""
    u, v = flow.unbind(-3)
    wheel = _colour_wheel().to(flow.device)
    position = (torch.atan2(-v, -u) / torch.pi + 1) / 2 * (len(wheel) - 1)
    before = position.floor().long()
    after = (before + 1) % len(wheel)
    share = (position - before)[..., None]
    full = (1 - share) * wheel[before] + share * wheel[after]
    saturation = _length(flow).clamp(max=1)[..., None]
    return (255 * (1 - saturation * (1 - full))).floor().byte().movedim(-1, -3)

"""Chains of flows: where each one leads a point, and which of several is to be believed.

A flow over several frames has few errors to add up but may be wrong, for the frames look different; flows from frame to
frame are easy to estimate, and drift. So each point may reach a frame by several chains, and takes the one whose links
agree best with the flows back (in the spirit of MFT: Neoral, Serych and Matas 2024, "MFT: Long-Term Tracking of Every
Pixel", section 3, where a trained head says how far each flow is to be believed).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from flowgru.estimation.geometry import leads_back
from flowgru.grid import in_picture, sample

LEAST_VARIANCE = 0.01
"""Of a link whose two flows agree to the bit, in square pixels: agreeing flows are off by a tenth of a pixel, too."""

AROUND = tuple((x, y) for y in (-2.0, 0.0, 2.0) for x in (-2.0, 0.0, 2.0))
"""Places around a point, in pixels from it, at which its two flows are compared."""

LEAST_CONFIDENCE = 0.05
"""A model that is less sure of a flow is taken for as sure as this, so that a variance stays finite."""


class Link(NamedTuple):
    """The flows between an earlier frame and a later one."""

    forward: Float[Tensor, "2 H W"]
    backward: Float[Tensor, "2 H W"]
    confidence: Float[Tensor, "H W"] | None = None
    """How sure the model is of the forward flow, from 0 to 1; None where it does not say."""


class Followed(NamedTuple):
    """Where points are in one frame, and how good the chains are that led there."""

    positions: Float[Tensor, "P 2"]
    """x to the right and y down, in pixels; those of points that are not seen are a guess, perhaps outside the picture."""
    num_hidden: Int64[Tensor, "P"]
    """Links of the chain over which the point is hidden; it is seen where there is none."""
    variance: Float[Tensor, "P"]
    """Of each coordinate in square pixels, as far as flows and flows back disagree along the chain."""

    @property
    def visible(self) -> Bool[Tensor, "P"]:
        """Whether each point is seen in the frame."""
        return self.num_hidden == 0


def begin(points: Float[Tensor, "P 2"]) -> Followed:
    """The points in their first frame, where they are seen."""
    return Followed(points, torch.zeros_like(points[:, 0], dtype=torch.int64), torch.zeros_like(points[:, 0]))


def extend(source: Followed, link: Link) -> Followed:
    """Each point's chain with one link more.

    The point is hidden over a link by the rule of flowgru.estimation.geometry.occlusion_mask: the two flows do not lead
    back, or lead out of the picture. The square of their disagreement adds up four errors (of two flows in two coordinates),
    so that a quarter of it is the variance of one; it is the mean over places around the point, for at a single one flows
    may agree by chance. A model that is less sure of a flow adds as many times more.
    """
    flow, back = _there_and_back(source.positions, link)
    target = source.positions + flow
    height, width = link.forward.shape[1:]
    hidden = ~leads_back(flow, back, dim=1) | ~in_picture(target[:, 0], target[:, 1], height, width)
    around = [source.positions + source.positions.new_tensor(offset) for offset in AROUND]
    gaps = [torch.add(*_there_and_back(places, link)).square().sum(dim=1) for places in around]
    variance = LEAST_VARIANCE + torch.stack(gaps).mean(dim=0) / 4
    if link.confidence is not None:
        variance = variance / _at(link.confidence[None], source.positions)[:, 0].clamp(min=LEAST_CONFIDENCE)
    return Followed(target, source.num_hidden + hidden, source.variance + variance)


def _there_and_back(positions: Float[Tensor, "P 2"], link: Link) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P 2"]]:
    """The flow at each place, and the flow back at the place that it leads to."""
    flow = _at(link.forward, positions)
    return flow, _at(link.backward, positions + flow)


def best_of(chains: Sequence[Followed]) -> Followed:
    """Of each point's chains the one with the fewest links over which it is hidden, and of these that of least variance."""
    hidden = torch.stack([chain.num_hidden for chain in chains])
    variance = torch.stack([chain.variance for chain in chains])
    most = torch.finfo(variance.dtype).max  # below that of the chains that are masked
    variance = variance.nan_to_num(nan=most, posinf=most)
    choice = variance.masked_fill(hidden > hidden.amin(dim=0), torch.inf).argmin(dim=0)
    points = torch.arange(choice.numel(), device=choice.device)
    positions = torch.stack([chain.positions for chain in chains])
    return Followed(positions[choice, points], hidden[choice, points], variance[choice, points])


def _at(values: Float[Tensor, "C H W"], positions: Float[Tensor, "P 2"]) -> Float[Tensor, "P C"]:
    """Values at real-valued places, bilinear; outside the picture those of its nearest edge."""
    height, width = values.shape[1:]
    limit = positions.new_tensor([width - 1, height - 1])
    inside = positions.nan_to_num(nan=0.0).clamp(positions.new_zeros(2), limit)
    return sample(values[None], inside[None, None])[0, :, 0].T

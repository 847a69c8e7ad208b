"""How far an estimated flow is from the true one, by every convention in use, each under a name of its own.

Every measure is a mean, kept as a sum and a count in double precision, so that pictures may come one by one and in any
order. The error of a pixel is the distance between its estimated and true displacement (end-point error, EPE), in
pixels; "pooled" means over the valid pixels of all pictures together.

A measure over no pixel is NaN. An estimate that is not finite makes every mean error it enters infinite, and is an
outlier.
"""

import math
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.grid import lengths
from flowgru.types import Flow, Valid

PIXEL_THRESHOLDS = (1, 3, 5)
WAUC_STEPS = 100
WAUC_LIMIT = 5.0
"""Largest threshold of wauc, in pixels."""


class Metric(NamedTuple):
    """A measure, beside its name in METRICS."""

    unit: str
    says: str
    """What is averaged over what, and who reports it so."""


METRICS = {
    "epe": Metric("px", "end-point error, pooled"),
    "epe_per_image": Metric("px", "mean of the pictures' own mean end-point errors (RAFT on KITTI; ptlflow)"),
    "epe_all_pixels": Metric(
        "px", "pooled over every pixel whose true flow is given, masked as invalid or not (RAFT on Chairs and Sintel)"
    ),
    **{
        f"inlier_{threshold}px": Metric(
            "%", f"valid pixels with an error below {threshold} px (RAFT's {threshold}px is this as a fraction)"
        )
        for threshold in PIXEL_THRESHOLDS
    },
    **{
        f"outlier_{threshold}px": Metric("%", f"valid pixels with an error above {threshold} px (Spring)")
        for threshold in PIXEL_THRESHOLDS
    },
    "fl_all": Metric(
        "%", "valid pixels with an error above 3 px and above 5 % of the true length (KITTI's Fl-all, RAFT's F1-all)"
    ),
    "wauc": Metric(
        "%", f"weighted area under the curve of inliers over thresholds up to {WAUC_LIMIT:g} px (VIPER, Spring)"
    ),
    "epe_s0_10": Metric("px", "pooled where the true flow is shorter than 10 px (Sintel)"),
    "epe_s10_40": Metric("px", "pooled where the true flow has 10 px to below 40 px (Sintel)"),
    "epe_s40_plus": Metric("px", "pooled where the true flow has 40 px or more (Sintel)"),
    "epe_matched": Metric("px", "pooled where the pixel is seen in the second picture (Sintel)"),
    "epe_unmatched": Metric("px", "pooled where the pixel is occluded in the second picture (Sintel)"),
    "static_flow": Metric(
        "px", "mean length of the flow from the first picture to itself, over all pixels; the truth is 0"
    ),
}
"""The measures by their names, in the order of a report; FlowErrors gathers them."""


def endpoint_error(flow: Flow, target: Flow, valid: Valid) -> Float[Tensor, "B"]:
    """Mean distance between estimated and true flow, in pixels, over the valid pixels of each picture; NaN without any."""
    error = lengths(flow.double() - target.double())
    return torch.where(valid, error, 0).sum(dim=(1, 2)) / valid.sum(dim=(1, 2))


class FlowErrors:
    """Gathers the errors of any number of pictures."""

    def __init__(self) -> None:
        self._totals = dict.fromkeys(METRICS, 0.0)
        self._counts = dict.fromkeys(METRICS, 0)

    def update(self, flow: Float[Tensor, "2 h w"], sample: FlowSample) -> None:
        """Adds the errors of one estimate. RequestError where it does not have the true flow's size.

        A picture without valid pixels counts in nothing but epe_all_pixels, and is warned about.
        """
        if flow.shape != sample.flow.shape:
            raise RequestError(
                f"the estimate for {sample.name} is {list(flow.shape)}: expected {list(sample.flow.shape)}, "
                "the size of the true flow"
            )
        valid = sample.valid.cpu()
        target = sample.flow.detach().cpu().double()
        error = lengths(flow.detach().cpu().double() - target)
        given = valid | (target != 0).any(dim=0)  # readers put 0 where there is no true flow
        self._add("epe_all_pixels", error[given])
        if not valid.any():
            warnings.warn(f"{sample.name} has no pixel with valid flow: it is left out", stacklevel=2)
            return

        error, length = error[valid], lengths(target)[valid]
        self._add("epe", error)
        self._add("epe_per_image", error.mean()[None])
        for threshold in PIXEL_THRESHOLDS:
            self._add(f"inlier_{threshold}px", 100.0 * (error < threshold))
            self._add(f"outlier_{threshold}px", 100.0 * ~(error <= threshold))  # so that NaN is one
        self._add("fl_all", 100.0 * ~((error <= 3) | (error <= 0.05 * length)))
        self._add("wauc", _wauc(error))
        self._add("epe_s0_10", error[length < 10])
        self._add("epe_s10_40", error[(length >= 10) & (length < 40)])
        self._add("epe_s40_plus", error[length >= 40])
        if sample.occlusion is not None:
            occluded = sample.occlusion.cpu()[valid]
            self._add("epe_matched", error[~occluded])
            self._add("epe_unmatched", error[occluded])

    def update_static(self, flow: Float[Tensor, "2 h w"]) -> None:
        """Adds the flow that was estimated from a picture to itself."""
        self._add("static_flow", lengths(flow.detach().cpu().double()))

    def merge(self, other: "FlowErrors") -> None:
        """Adds all that another one has gathered."""
        for name in METRICS:
            self._totals[name] += other._totals[name]
            self._counts[name] += other._counts[name]

    def result(self) -> dict[str, float]:
        """Every measure by its name."""
        return {name: self._totals[name] / self._counts[name] if self._counts[name] else math.nan for name in METRICS}

    def _add(self, name: str, values: Tensor) -> None:
        self._totals[name] += values.nan_to_num(nan=math.inf, posinf=math.inf).sum(dtype=torch.float64).item()
        self._counts[name] += values.numel()


def _wauc(error: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Each pixel's share of the weighted area, in percent.

    100 / sum_i w_i * sum_i w_i [error <= 5 i / 100] with w_i = 1 - (i - 1) / 100, i = 1 ... 100 (Richter, Hayder and
    Koltun 2017, "Playing for Benchmarks").
    """
    weights = 1 - torch.arange(WAUC_STEPS, dtype=torch.float64) / WAUC_STEPS
    # reached[k]: the weight of thresholds k + 1 ... 100, for an error between thresholds k and k + 1
    reached = torch.cat([weights.flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64)])
    passed = (error * (WAUC_STEPS / WAUC_LIMIT)).ceil().sub(1).nan_to_num(nan=WAUC_STEPS, posinf=WAUC_STEPS)
    return 100 * reached[passed.clamp(0, WAUC_STEPS).long()] / weights.sum()

"""How well a method knows where its flow is wrong."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

STEPS = 100
"""Shares of the pixels at which a sparsification curve is read."""


def sparsification_error(errors: Float[Tensor, "N"], confidence: Float[Tensor, "N"]) -> float:
    """AUSE: how far the order that a confidence gives is from the order of the errors themselves; 0 is perfect.

    The mean error of the pixels that remain once the least confident ones are taken away, relative to that of all pixels,
    as a curve over the share that was taken; minus the same curve where the largest errors are taken away first; the mean
    of this difference over shares from 0 to 1 (Ilg et al. 2018, "Uncertainty Estimates and Multi-Hypotheses Networks for
    Optical Flow", section 5.1). NaN where there is no pixel or no error, infinite where an error is.
    """
    mean = errors.double().mean()
    if mean.isinf():
        return float("inf")
    if not len(errors) or not mean > 0:
        return float("nan")
    taken = (torch.arange(STEPS, dtype=torch.float64) / STEPS * len(errors)).long().to(errors.device)
    by_confidence = errors[confidence.argsort(stable=True)]
    best = errors.sort(descending=True).values
    return float(((_remaining(by_confidence, taken) - _remaining(best, taken)) / mean).mean())


def kept_errors(errors: Float[Tensor, "N"], confidence: Float[Tensor, "N"], coverage: float) -> float:
    """Risk: the mean error of this share of the pixels, those with the most confidence; NaN over no pixel."""
    number = round(coverage * len(errors))
    kept = errors[confidence.argsort(descending=True, stable=True)[:number]]
    return float(kept.double().mean()) if number else float("nan")


def _remaining(errors: Float[Tensor, "N"], taken: Tensor) -> Float[Tensor, "steps"]:
    """The mean of the errors from each place of `taken` on."""
    sums = errors.double().flip(0).cumsum(0).flip(0)
    return sums[taken] / (len(errors) - taken)


def calibration_error(
    probability: Float[Tensor, "N"], happened: Bool[Tensor, "N"], bins: int = 10
) -> tuple[float, list[tuple[float, float, float]]]:
    """How far stated probabilities are from what happened, and (stated, happened, share of the pixels) of every bin.

    Pixels are put into bins of equal width by their probability; the error is the mean over pixels of the distance, in
    their bin, between the mean probability and the share in which it happened (expected calibration error, Guo et al.
    2017, "On Calibration of Modern Neural Networks", equation 3). Bins without a pixel are left out.
    """
    place = (probability * bins).long().clamp(0, bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        if not inside.any():
            continue
        stated, observed = probability[inside].double().mean().item(), happened[inside].double().mean().item()
        rows.append((stated, observed, inside.double().mean().item()))
    return distance_of_bins(rows), rows


def distance_of_bins(bins: Sequence[tuple[float, float, float]]) -> float:
    """The mean distance of what is stated from what happened, over bins of (stated, happened, share of the pixels)."""
    return sum((share * abs(stated - observed) for stated, observed, share in bins), 0.0)

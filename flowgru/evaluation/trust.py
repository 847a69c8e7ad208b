"""How well a method knows where its flow is wrong."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 100
"""Shares of the pixels at which a sparsification curve is read."""
BINS = 10
CLOSE = 1.0
"""Error in pixels up to which a pixel counts as right in the calibration."""


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
    by_confidence = ordered(errors, confidence)
    best = errors.sort(descending=True).values
    return float(((_remaining(by_confidence, taken) - _remaining(best, taken)) / mean).mean())


def kept_errors(errors: Float[Tensor, "N"], confidence: Float[Tensor, "N"], coverage: float) -> float:
    """Risk: the mean error of this share of the pixels, those with the most confidence; NaN over no pixel."""
    number = round(coverage * len(errors))
    kept = ordered(errors, -confidence)[:number]
    return float(kept.mean()) if number else float("nan")


def ordered(values: Float[Tensor, "N"], sign: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """The values of the pixels by their sign, the lowest first; those of one sign, which nothing orders, have their mean."""
    order = sign.argsort()
    _, place, number = sign[order].unique_consecutive(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(number), dtype=torch.float64, device=values.device).index_add(
        0, place, values[order].double()
    )
    return (sums / number)[place]


def _remaining(errors: Float[Tensor, "N"], taken: Tensor) -> Float[Tensor, "steps"]:
    """The mean of the errors from each place of `taken` on."""
    sums = errors.double().flip(0).cumsum(0).flip(0)
    return sums[taken] / (len(errors) - taken)


class CalibrationBin(NamedTuple):
    """Pixels of like trust."""

    number: int
    """From 1 on, the most trusted first."""
    value: float
    """The mean of the sign where it is finite; of a probability, what is stated."""
    within: float
    """The share of the pixels with an error of at most CLOSE."""
    epe: float
    """Their mean error in pixels."""
    share: float
    """Of all pixels."""


def calibration(
    sign: Float[Tensor, "N"], errors: Float[Tensor, "N"], *, stated: bool
) -> tuple[float | None, list[CalibrationBin]]:
    """How often pixels of like trust have an error of at most CLOSE px, in bins, those left out that have no pixel.

    stated: the sign is the stated probability of so small an error; bins have equal width then. The first value is the mean
    over pixels of the distance, in their bin, between the mean probability and how often it comes true (expected calibration
    error, Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3). Otherwise the sign is larger where less
    is trusted, bins have equally many pixels, and there is no such value.
    """
    close, rows = (errors <= CLOSE).double(), []
    if stated:
        places = BINS - 1 - (sign * BINS).long().clamp(0, BINS - 1)
    else:
        close, errors, sign = ordered(close, sign), ordered(errors, sign), sign.sort().values
        places = torch.arange(len(sign), device=sign.device) * BINS // len(sign)
    for number in range(BINS):
        inside = places == number
        if inside.any():
            shares = close[inside].mean().item(), errors[inside].double().mean().item(), inside.double().mean().item()
            finite = sign[inside & sign.isfinite()]
            value = finite.double().mean().item() if len(finite) else torch.inf
            rows.append(CalibrationBin(number + 1, value, *shares))
    return sum(each.share * abs(each.value - each.within) for each in rows) if stated else None, rows

"""Numbers and verdicts of a report in words: no digit that the seeds do not support, and nothing that diverged left out."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from flowgru.comparison.statistics import Difference, Estimate, mean_interval

NONE = "–"
"""What stands where nothing was measured."""
MAX_WRITTEN_OUT = 1e6
"""From here on an error or a time is written with a power of ten: what nearly diverged needs no more digits."""
CHANGE = 5.0
"""Percent by which an error must change to be called helped, or diverged."""
RULE = (
    f"More refinements help where the mean error after the largest number is at least {CHANGE:.0f} % lower than after the "
    f"number trained with, diverge where it is at least {CHANGE:.0f} % higher or not finite, and are flat in between."
)


def number_text(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; those before the point all stand."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "diverged"
    if abs(value) >= MAX_WRITTEN_OUT:
        return f"{value:.1e}"
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return f"{value:,.{max(0, decimals)}f}".replace("-", "−")


def count_text(value: float | None) -> str:
    """A count, whole."""
    return number_text(value) if value is None or not math.isfinite(value) else f"{value:,.0f}"


class EstimateText(NamedTuple):
    """A mean and its interval in words, and whether a seed has diverged."""

    mean: str
    """The mean, or what stands in its place."""
    interval: str = ""
    """Half the interval with its sign, or of how many seeds one diverged; empty where there is neither."""
    diverged: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.mean, self.interval)))

    @property
    def lines(self) -> str:
        """The interval below the mean."""
        return f"{self.mean}\n{self.interval}"


def estimate_text(estimate: Estimate | Difference | None, sign: str = "") -> EstimateText:
    """A mean and its interval, rounded to two digits of the interval: 5.213 and ± 0.041.

    Without an interval the mean has three digits. `sign` "+" marks positive numbers too.
    """
    if estimate is None:
        return EstimateText(NONE)
    if estimate.num_diverged:
        number = f"in {estimate.num_diverged} of {estimate.num_seeds}" if estimate.num_seeds > 1 else ""
        return EstimateText("diverged", number, diverged=True)
    plus = sign if estimate.mean > 0 else ""
    if not estimate.half_width:
        return EstimateText(plus + number_text(estimate.mean), "" if estimate.half_width is None else "± 0")
    if max(abs(estimate.mean), estimate.half_width) >= MAX_WRITTEN_OUT:
        return EstimateText(f"{estimate.mean:.1e}", f"± {estimate.half_width:.1e}")
    exponent = int(f"{estimate.half_width:.1e}".partition("e")[2])  # of what 0.0996 is rounded to, 0.10
    decimals = min(4, 1 - exponent)
    mean, half = (f"{round(value, decimals):,.{max(0, decimals)}f}" for value in (estimate.mean, estimate.half_width))
    mean = mean.lstrip("-") if not float(mean.replace(",", "")) else plus + mean
    return EstimateText(mean.replace("-", "−"), f"± {half}")


def seeds_estimate(values: Mapping[int, float]) -> Estimate | None:
    """The estimate over the seeds that were measured, if any."""
    return mean_interval(list(values.values())) if values else None


class Verdict(NamedTuple):
    """What more refinements than trained do to an error, by RULE."""

    kind: Literal["unknown", "helps", "flat", "diverges", "diverged in training"]
    change: float | None = None
    """The change of the error in percent; None where an error is not finite or not there."""

    def __str__(self) -> str:
        if self.kind == "unknown":
            return NONE
        return self.kind if self.change is None else f"{self.kind} ({self.change:+.0f} %)".replace("-", "−")

    @property
    def is_bad(self) -> bool:
        return self.kind in ("diverges", "diverged in training")


def beyond_training(errors: Mapping[int, Estimate], trained: int | None) -> Verdict:
    """What becomes of an error beyond the refinements trained with.

    `errors` maps numbers of refinements to the error. Where there is no error after exactly the trained number, the
    largest number below it counts.
    """
    below = [number for number in errors if trained is not None and number <= trained]
    beyond = [number for number in errors if trained is not None and number > trained]
    if not below or not beyond:
        return Verdict("unknown")
    before, after = errors[max(below)], errors[max(beyond)]
    if before.num_diverged:
        return Verdict("diverged in training")
    if any(errors[number].num_diverged for number in beyond):
        return Verdict("diverges")
    change = 100 * (after.mean / before.mean - 1) if before.mean else 0.0
    return Verdict("diverges" if change >= CHANGE else "helps" if change <= -CHANGE else "flat", change)


def joined(names: list[str]) -> str:
    """Names as a phrase: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

"""What a few seeds say: means with their 95 % intervals, paired differences, and which points nothing else beats.

A value that is not finite is a result too, that of a run which diverged: it is counted, and there is no mean then.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean over seeds and how far it is known."""

    mean: float
    """NaN where a seed diverged."""
    half_width: float | None
    """Half the 95 % interval around the mean, by Student's t; None for one seed, or where a seed diverged."""
    num_seeds: int
    num_diverged: int
    """Seeds whose value is not finite."""


class Difference(NamedTuple):
    """The mean over seeds of one row's value minus another's, both with the same seed."""

    mean: float
    half_width: float | None
    p_value: float | None
    """Two-sided p-value of the paired t-test that the mean is 0; None where there is no interval."""
    num_seeds: int
    num_diverged: int
    """Seeds with which one of the two diverged."""

    @property
    def excludes_zero(self) -> bool:
        """The interval does not contain 0: the difference is larger than the seeds' spread explains."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def mean_interval(values: Sequence[float]) -> Estimate:
    """The mean of one value for each seed, and its 95 % interval. ValueError without values."""
    if not values:
        raise ValueError("no values: a mean needs one or more")
    num_diverged = sum(not math.isfinite(value) for value in values)
    if num_diverged:
        return Estimate(math.nan, None, len(values), num_diverged)
    mean = math.fsum(values) / len(values)
    half_width = None if len(values) == 1 else _quantile(len(values)) * _standard_error(values, mean)
    return Estimate(mean, half_width, len(values), 0)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """`first` minus `second`, over the seeds that both have; None where they share none.

    Both map a seed to its value. What a seed does to both alike, such as the order of the training pairs, cancels out.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not differences:
        return None
    estimate = mean_interval(differences)
    p_value = None
    if estimate.half_width is not None:
        error = _standard_error(differences, estimate.mean)
        if error:
            p_value = float(2 * stats.t.sf(abs(estimate.mean) / error, len(differences) - 1))
        else:  # all differences are equal
            p_value = 0.0 if estimate.mean else 1.0
    return Difference(estimate.mean, estimate.half_width, p_value, estimate.num_seeds, estimate.num_diverged)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being so many, in their order (Holm 1979): with all below 0.05 counted as different,
    the chance of one false claim or more is at most 0.05."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point beats, by rising first coordinate; less is better in both.

    A point is beaten by one that is at most as large in both coordinates and smaller in one. Points that are not finite
    beat nothing and are on no front.
    """
    finite = [index for index, point in enumerate(points) if all(map(math.isfinite, point))]

    def beaten(index: int) -> bool:
        x, y = points[index]
        return any(points[i] != (x, y) and points[i][0] <= x and points[i][1] <= y for i in finite)

    return sorted((index for index in finite if not beaten(index)), key=points.__getitem__)


def _quantile(num_values: int) -> float:
    """Student's t, two-sided, for the mean of so many values."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, num_values - 1))


def _standard_error(values: Sequence[float], mean: float) -> float:
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))

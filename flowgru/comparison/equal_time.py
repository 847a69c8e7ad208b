"""The held-out learning curves of all rows of a comparison, read at one time."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flowgru.comparison.measurements import VALIDATION
from flowgru.comparison.results import Results

EQUAL_TIME = 0.5
"""The time at which learning curves are read, as a share of that of the slowest row's whole training."""


class EqualTime(NamedTuple):
    """How far each row of a regime is at that time."""

    milliseconds: float
    """Of forward and backward passes."""
    steps: dict[str, float | None]
    """By row, where its curve is read: at its end where that comes before; None where its time is not known, and where it
    diverged with every seed."""

    def errors(self, results: Results, regime: str, row: str, data_set: str, count: int) -> dict[int, float]:
        """By seed, the row's error on a validated set after `count` refinements; a straight line between two validations.

        NaN for a seed with which the row diverged, before that time or after it.
        """
        curves = results.curve(regime, row, VALIDATION, data_set, count).items()
        step = self.steps[row]
        found = {seed: value for seed, curve in curves if (value := _read(curve, step)) is not None}
        return {**found, **dict.fromkeys(results.diverged(regime, row), math.nan)}


def equal_time(results: Results, regime: str, rows: Sequence[str] = ()) -> EqualTime | None:
    """Where the curves of a regime are read, of these rows or of all; None without curves or times."""
    rows = rows or results.rows(regime)
    times = {row: results.value(regime, row, "ms_per_training_step") for row in rows}
    ends = {row: _last_step(results, regime, row) for row in rows}
    whole = [time * ends[row] for row, time in times.items() if time is not None and ends[row]]
    if not whole:
        return None
    limit = EQUAL_TIME * max(whole)
    return EqualTime(
        limit,
        {
            row: None if time is None or not ends[row] else min(limit / time, float(ends[row]))
            for row, time in times.items()
        },
    )


def _last_step(results: Results, regime: str, row: str) -> int:
    """The last step that a validation of the row was made at, with any seed that did not diverge; 0 without one."""
    diverged = results.diverged(regime, row)
    curves = [
        curve
        for data_set, count in results.validated
        for seed, curve in results.curve(regime, row, VALIDATION, data_set, count).items()
        if seed not in diverged
    ]
    return max((step for curve in curves for step in curve), default=0)


def _read(curve: Mapping[int, float], step: float | None) -> float | None:
    """The value at a step, by a straight line between its neighbours; None before the first and after the last."""
    before = max((known for known in curve if step is not None and known <= step), default=None)
    after = min((known for known in curve if step is not None and known >= step), default=None)
    if before is None or after is None or step is None:
        return None
    share = (step - before) / (after - before) if after > before else 0.0
    return (1 - share) * curve[before] + share * curve[after] if share else curve[before]

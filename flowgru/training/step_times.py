"""How long the steps of a training take, where CUDA graphs are recorded in some of them."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal, NamedTuple

StepKind = Literal["usual", "first", "recorded"]
"""usual: as long as such steps take. first: computed without a CUDA graph, while its kind gets one later. recorded: one in
which a graph was recorded."""


class TimedStep(NamedTuple):
    """One step."""

    seconds: float
    kind: StepKind = "usual"


def usual_seconds(steps: Sequence[TimedStep]) -> float:
    """How long a step takes in the mean, by the usual ones where there are any."""
    return fmean([step.seconds for step in steps if step.kind == "usual"] or [step.seconds for step in steps])


def seconds_of_graphs(before: Sequence[TimedStep], timed: Sequence[TimedStep], num_kinds: int) -> float:
    """What the steps that are still to come take beyond the usual time, until each of `num_kinds` kinds has its graph.

    before, timed: all steps so far, of which the times of `timed` count. 0 where no step is unusual.
    """
    mean, total = usual_seconds(timed), 0.0
    more: dict[StepKind, list[float]] = {
        kind: [step.seconds - mean for step in timed if step.kind == kind] for kind in ("first", "recorded")
    }
    if not any(more.values()):
        return 0.0
    for kind, seconds in more.items():
        left = num_kinds - sum(step.kind == kind for step in (*before, *timed))
        # Of a kind that was not met, at most as much as of the other one is known.
        total += max(0, left) * max(0.0, fmean(seconds or [*more["first"], *more["recorded"]]))
    return total

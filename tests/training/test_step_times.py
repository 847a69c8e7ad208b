"""The time of a step, and of the CUDA graphs that are still to be recorded, from steps of every kind."""

import inspect
import random
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import pytest

from flowgru.training import time_limit
from flowgru.training.step_times import TimedStep, seconds_of_graphs, usual_seconds

FIRST, RECORDED = 0.15, 2.0
"""Seconds that such steps take beyond a usual one."""


def test_usual_steps_count_where_there_are_any():
    steps = [TimedStep(1.0), TimedStep(3.0, "recorded"), TimedStep(2.0), TimedStep(1.2, "first")]
    assert usual_seconds(steps) == 1.5 and usual_seconds([steps[1], steps[3]]) == pytest.approx(2.1)


def test_graphs_to_come_cost_what_those_so_far_have_cost():
    before = [TimedStep(9.0, "first"), TimedStep(9.0, "recorded")]  # the first steps tune: their times do not count
    timed = [
        TimedStep(1.0),
        TimedStep(1.0 + FIRST, "first"),
        TimedStep(1.0 + FIRST, "first"),
        TimedStep(3.0, "recorded"),
    ]
    assert seconds_of_graphs(before, timed, 10) == pytest.approx((10 - 3) * FIRST + (10 - 2) * RECORDED)
    assert seconds_of_graphs(before, timed, 2) == 0
    assert seconds_of_graphs((), [TimedStep(1.0)] * 9, 10) == 0
    # No graph was recorded yet: as much as is known of the others.
    assert seconds_of_graphs((), timed[:3], 4) == pytest.approx(2 * FIRST + 4 * FIRST)


def test_a_run_with_graphs_gets_the_steps_that_fit(monkeypatch):
    """Kinds of steps take turns as they are drawn; what the times of some of them say is what all of them take."""
    draws = random.Random(0)
    kinds = [draws.randrange(8) if draws.random() < 0.5 else 8 + draws.randrange(48) for _ in range(4000)]
    seen: dict[int, int] = {}
    lengths, said = [], []
    for kind in kinds:
        seen[kind] = seen.get(kind, 0) + 1
        said.append({1: "first", 2: "recorded"}.get(seen[kind], "usual"))
        lengths.append(0.1 + {"first": FIRST, "recorded": RECORDED, "usual": 0.0}[said[-1]])
    ends, steps, clock = [*accumulate(lengths)], iter(said), SimpleNamespace(monotonic=lambda: now[0])
    now = [0.0]

    def stepped(*_):
        now[0] = ends[len(run.made)]
        run.made.append(1)
        return SimpleNamespace(read=lambda: SimpleNamespace(stop=None), late=False, kind=next(steps))

    run = SimpleNamespace(step=0, made=[])
    monkeypatch.setattr(time_limit, "time", clock)
    monkeypatch.setattr(time_limit, "training_step", stepped)
    monkeypatch.setattr(time_limit, "_stop", lambda *_: None)
    monkeypatch.setattr(time_limit, "num_kinds", lambda config: len({*kinds}))
    fabric = SimpleNamespace(broadcast=lambda value: value)
    measure: Any = inspect.unwrap(time_limit._step_seconds)
    start, step = measure(fabric, None, run, None, [None] * 4000, 600.0, [])
    assert len({*kinds}) == 56
    still = sum(length - 0.1 for length in lengths[len(run.made) :])
    assert step == pytest.approx(0.1) and start == pytest.approx(still, rel=0.1) and still > 20

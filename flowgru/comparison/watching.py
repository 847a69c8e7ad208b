"""What a comparison says of its trainings while they go on: which of how many, and the time that is left."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowgru.comparison.measurements import RunMeasurement
from flowgru.console import say, time_left, warn
from flowgru.errors import FlowgruError, counted
from flowgru.processes.jobs import Job
from flowgru.training.run_log import read_log

SECONDS_BETWEEN_LINES = 60.0


class Watch:
    """Counts the steps of all trainings that are still to be done; `steps` has their whole lengths by name."""

    def __init__(self, folder: Path, steps: Mapping[str, int], num_all: int) -> None:
        self._folder, self._steps, self._num_all = folder, steps, num_all
        self._num_ended = num_all - len(steps)
        self._num_begun = self._num_ended
        self._began_at = {name: self._step(name) for name in steps}
        """The steps that were done before."""
        self._ended: set[str] = set()
        self._running: list[str] = []
        self._began = self._said = time.monotonic()
        if self._num_ended:
            say(f"{self._num_ended} of {num_all} runs are finished already")

    def began(self, job: Job) -> None:
        self._num_begun += 1
        self._running.append(job.name)
        done = self._began_at[job.name]
        how = (
            f"goes on after step {done} of {self._steps[job.name]}" if done else counted(self._steps[job.name], "step")
        )
        say(f"run {self._num_begun} of {self._num_all}: {job.name}, {how}")

    def ended(self, job: Job, measured: Sequence[RunMeasurement]) -> None:
        self._end(job)
        last = {one.set: one for one in measured if one.measure == "epe_per_image"}
        errors = ", ".join(f"{one.set} {one.value:.3f} px after {one.iterations}" for one in last.values())
        refinements = "refinement" if {one.iterations for one in last.values()} == {1} else "refinements"
        say(
            f"finished {self._num_ended} of {self._num_all}: {job.name}, EPE per image {errors} {refinements}{self._left()}"
        )

    def failed(self, job: Job, error: FlowgruError) -> None:
        self._end(job)
        warn(f"failed: {job.name}: {error}")

    def tick(self) -> None:
        """Says now and then how far it is."""
        if time.monotonic() - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = time.monotonic()
        places = ", ".join(f"{name} at step {self._step(name)}/{self._steps[name]}" for name in self._running)
        warn(f"{self._num_ended} of {self._num_all} runs finished; {places}{self._left()}")

    def _end(self, job: Job) -> None:
        self._num_ended += 1
        self._running.remove(job.name)
        self._ended.add(job.name)

    def _left(self) -> str:
        """The time that is left at the rate so far; nothing before there is one."""
        places = {name: self._steps[name] for name in self._ended} | {name: self._step(name) for name in self._running}
        done = sum(place - self._began_at[name] for name, place in places.items())
        remaining = sum(self._steps.values()) - sum(self._began_at.values()) - done
        if done <= 0 or remaining <= 0:
            return ""
        return f"; about {time_left(remaining * (time.monotonic() - self._began) / done)} left"

    def _step(self, name: str) -> int:
        """The last step that a run's log speaks of."""
        steps = [values.get("step") for values in read_log(self._folder / name)[-3:]]  # the last may just be written
        return next((step for step in reversed(steps) if isinstance(step, int)), 0)

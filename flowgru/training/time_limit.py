"""How many steps a new run gets that is to have ended by a given time.

Its speed is measured before its first step, on its own network, device and data, and then it is put back to where it
began: a run of that many steps that was asked for by --steps gives the same weights.
"""

import copy
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from torch import nn
from torch.utils.data import Dataset

from flowgru.config import TrainConfig
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.errors import RequestError
from flowgru.evaluation.validation import pair_errors
from flowgru.layers.arithmetic import arithmetic
from flowgru.processes.signals import Stopped, agreed_signal, as_counts, stop_signals
from flowgru.training.checkpoints.store import CheckpointStore
from flowgru.training.feeding.pairs import FROM_DIS
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.objective import num_kinds
from flowgru.training.ranks import Fabric, end_others
from flowgru.training.run_state import SCHEDULES, Run
from flowgru.training.step import TakenStep, training_step
from flowgru.training.step_times import StepKind, TimedStep, seconds_of_graphs, usual_seconds

ENDLESS = 10**9
"""Steps of a run whose number is not known yet."""

WARM_UP_STEPS, WARM_UP_SHARE = 8, 0.2
"""Whichever is over first: the first steps, which also choose algorithms and compile, or this share of the time."""

MIN_STEPS, MIN_SHARE, MAX_SHARE = 32, 0.05, 0.1
"""So many steps are timed, and for so long that the batches that the workers had in store count little; or for MAX_SHARE
of the time, whichever is over first."""

MARGIN = 0.07
"""The share of the time left that is kept for what is slower than measured."""


class TimeLimit(NamedTuple):
    """How long a run may take."""

    began: float
    """When it was asked for, by time.monotonic()."""
    minutes: float
    chosen: Callable[[TrainConfig, float], None]
    """Told by the first process of the configuration with its steps, and of how many seconds they are expected to take."""

    @property
    def ends(self) -> float:
        """When it is to have ended."""
        return self.began + 60 * self.minutes


class Costs(NamedTuple):
    """What a run spends its time on, in seconds."""

    start: float
    """The time until the first batch is there."""
    step: float
    validation: float
    save: float

    def of_run(self, config: TrainConfig, steps: int) -> float:
        """What a run of so many steps takes."""
        validations = math.ceil(steps / config.validation.every)
        saves = steps // config.checkpoint_every + validations
        return self.start + steps * self.step + validations * self.validation + saves * self.save

    def steps_in(self, seconds: float, config: TrainConfig) -> int:
        """The largest number of steps of a run that takes no longer; 0 where not even one fits."""
        most = max(int(seconds / self.step), 0)
        return bisect_right(range(1, most + 1), seconds, key=partial(self.of_run, config))


def limited(
    limit: TimeLimit,
    fabric: Fabric,
    network: nn.Module,
    run: Run,
    config: TrainConfig,
    load: Callable[[], Generator[FlowBatch]],
    validation_data: Mapping[str, Dataset[FlowSample]],
    store: CheckpointStore | None,
) -> TrainConfig:
    """The configuration with the steps that fit, for a run that has not made one yet and is then as it was.

    `load` gives a generator of batches without an end. RequestError where not one step fits.
    Stopped on STOP_SIGNALS: then nothing is known, and the next run measures anew.
    """
    before = copy.deepcopy((run.network.state_dict(), run.state()))
    with closing(load()) as loader, stop_signals() as asked_to_stop, arithmetic(fabric.device):
        seconds = limit.ends - time.monotonic()
        start, step = _step_seconds(fabric, network, run, config, loader, seconds, asked_to_stop)
        validation = _validation_seconds(fabric, run, config, validation_data, asked_to_stop)
    costs = Costs(start, step, validation, _save_seconds(store, run))
    run.restore(*before)
    run.optimizer.zero_grad(set_to_none=True)
    left = limit.ends - time.monotonic()
    steps = fabric.broadcast(costs.steps_in((1 - MARGIN) * left, config))
    if not steps:
        end_others(fabric)
        needed = (time.monotonic() - limit.began + costs.of_run(config, 1) / (1 - MARGIN)) / 60
        raise RequestError(f"--minutes is {limit.minutes:g}, and a run of one step takes {needed:.2g} here: give more")
    config = replace(config, steps=steps)
    run.schedule = SCHEDULES[config.optimizer.schedule](run.optimizer, config.optimizer, steps)
    if fabric.is_global_zero:
        limit.chosen(config, costs.of_run(config, steps))
    return config


def _step_seconds(
    fabric: Fabric,
    network: nn.Module,
    run: Run,
    config: TrainConfig,
    loader: Iterable[FlowBatch],
    seconds: float,
    asked_to_stop: Sequence[int],
) -> tuple[float, float]:
    """How long the first batch takes, with all CUDA graphs that are still to be recorded, and a step; the steps are made."""
    began, first, ends, kinds = time.monotonic(), 0.0, list[float](), list[StepKind]()
    before: TakenStep | None = None
    for batch in loader:
        first = first or time.monotonic() - began
        step = training_step(fabric, network, run, config, batch, asked_to_stop)
        _stop(fabric, (before if before is not None else step).read().stop)
        before = step if step.late else None
        run.step += 1
        ends.append(time.monotonic() - began)
        kinds.append(step.kind)
        if fabric.broadcast(enough_steps(ends, seconds)):
            break
    warm_up = _num_warm_up(ends, seconds)
    steps = [TimedStep(end - before, kind) for before, end, kind in zip([0.0, *ends], ends, kinds, strict=False)]
    earlier, timed = steps[:warm_up], steps[warm_up:]
    # Where there are no graphs, the later half: the batches that the workers had in store count less in it.
    usual = usual_seconds(steps[(warm_up + len(steps)) // 2 :])
    return first + seconds_of_graphs(earlier, timed, num_kinds(config)), usual


def _num_warm_up(ends: Sequence[float], seconds: float) -> int:
    return min(WARM_UP_STEPS, 1 + sum(end < WARM_UP_SHARE * seconds for end in ends))


def enough_steps(ends: Sequence[float], seconds: float) -> bool:
    """Whether steps that ended then, in seconds from the first one's beginning, say how long one takes."""
    skipped = _num_warm_up(ends, seconds)
    if len(ends) <= skipped:
        return False
    timed = ends[-1] - ends[skipped - 1]
    return timed >= MAX_SHARE * seconds or (len(ends) - skipped >= MIN_STEPS and timed >= MIN_SHARE * seconds)


def _validation_seconds(
    fabric: Fabric,
    run: Run,
    config: TrainConfig,
    sets: Mapping[str, Dataset[FlowSample]],
    asked_to_stop: Sequence[int],
) -> float:
    """How long a validation takes, by one pair of each set, and one picture for the log."""
    total = 0.0
    for number, (name, data) in enumerate(sets.items()):
        _pair_seconds(fabric, run, config, name, data, asked_to_stop)  # the first time it makes what it needs
        seconds = _pair_seconds(fabric, run, config, name, data, asked_to_stop)
        length = len(data)  # pyright: ignore[reportArgumentType]
        total += (math.ceil(length / fabric.world_size) + (number == 0)) * seconds
    counts = fabric.all_reduce(as_counts(asked_to_stop, fabric.device), reduce_op="sum")
    _stop(fabric, agreed_signal(counts.tolist()))
    return total


def _pair_seconds(
    fabric: Fabric,
    run: Run,
    config: TrainConfig,
    name: str,
    data: Dataset[FlowSample],
    asked_to_stop: Sequence[int],
) -> float:
    began = time.monotonic()
    errors = pair_errors(
        run.network,
        data,
        config.validation.iterations,
        fabric.device,
        padding=padding_mode(name.removesuffix(FROM_DIS)),
        rank=fabric.global_rank,
        world_size=max(len(data), fabric.world_size),  # pyright: ignore[reportArgumentType]
        asked_to_stop=asked_to_stop,
    )
    errors.tolist()  # waits for the device
    return time.monotonic() - began


def _save_seconds(store: CheckpointStore | None, run: Run) -> float:
    """How long a checkpoint takes, in the process that saves them; it is made in a folder that goes again."""
    if store is None:
        return 0.0
    with (
        TemporaryDirectory(prefix=".tmp-step-", dir=store.directory) as folder,
        CheckpointStore(Path(folder)) as scratch,
    ):
        began = time.monotonic()
        scratch.save(run.step, run.network.state_dict(), run.state())
        return time.monotonic() - began


def _stop(fabric: Fabric, stop: int | None) -> None:
    if stop is not None:
        end_others(fabric)
        raise Stopped(stop)

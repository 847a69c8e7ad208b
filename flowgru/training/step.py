"""One optimizer step of all processes together, and what is said of a run's steps.

What came of it decides whether it counts. Where the optimizer can leave out a step by what the device alone knows, the step
is asked for as a whole, and read while the device works on the next one; elsewhere it is read before the weights change.
"""

import math
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from flowgru.config import TrainConfig
from flowgru.errors import MachineError
from flowgru.processes.beside import HostCopy
from flowgru.processes.signals import agreed_signal, as_counts
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.objective import gradient
from flowgru.training.ranks import Fabric, end_others
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import Run
from flowgru.training.step_times import StepKind

MIN_SCALE = 1.0
"""A loss that is scaled by no more than this makes no gradient overflow that would not do so by itself."""

MAX_SKIPPED_STEPS = 10
"""Steps with a loss or gradient that is not finite after which a run gives up."""


class StepResult(NamedTuple):
    """What came of one step, the same in every process."""

    loss: float | None
    """Mean over the whole batch; None where loss or gradient was not finite, and the step was skipped."""
    error: float | None
    """epe_per_image in pixels, over the batch; None as the loss, NaN where no pixel was valid."""
    names: tuple[str, ...]
    """The samples of a step that was skipped because of them."""
    stop: signal.Signals | None
    """The signal by which a process was asked to stop."""
    lowered_scale: float | None = None
    """The new scale of the loss, where the step was skipped because the gradient overflowed in 16 bits with the old one."""


class TakenStep:
    """A step that the device was asked for."""

    def __init__(self, find: Callable[[], StepResult], *, late: bool = False, kind: StepKind = "usual") -> None:
        """find: waits for the device, and is called once."""
        self.late = late
        """Whether it pays to ask for the next step before this one is read."""
        self.kind: StepKind = kind
        self._find = find
        self._result: StepResult | None = None

    def read(self) -> StepResult:
        """What came of it."""
        if self._result is None:
            self._result = self._find()
        return self._result


def training_step(
    fabric: Fabric,
    network: nn.Module,
    run: Run,
    config: TrainConfig,
    batch: FlowBatch,
    asked_to_stop: Sequence[int] = (),
) -> TakenStep:
    """One optimizer step on this process's share of the batch, in `config.gradient_accumulation_steps` parts.

    All processes must read it, in the same order among what they do together.
    """
    # What an operator draws at random, as dropout does, is another in each step and process, and the same after a stop.
    torch.manual_seed((config.seed * 1_000_003 + run.step) * fabric.world_size + fabric.global_rank)
    run.network.train()
    if config.freeze_batch_norm or config.part != "all":
        freeze_batch_norm(run.network)
    statistics, before = Statistics(run.network), run.num_graph_calls
    loss, error = gradient(fabric, network, run, config, batch, statistics.put_back)
    norm = fabric.clip_gradients(network, run.optimizer, max_norm=config.optimizer.clip_norm, error_if_nonfinite=False)
    assert norm is not None

    mine = torch.cat(
        [torch.stack([loss, error.nansum(), (~error.isnan()).sum()]), as_counts(asked_to_stop, loss.device)]
    )
    totals = fabric.all_reduce(mine, reduce_op="sum")
    values = torch.cat([norm.detach().reshape(1).to(totals), totals])  # read at once: a GPU is waited for a single time
    coming, late = HostCopy(values), leaves_out_steps(run.optimizer)
    if late:
        _change_where(values[:2].isfinite().all(), run, statistics)
    elif all(math.isfinite(each) for each in coming.wait()[:2].tolist()):
        run.optimizer.step()
        run.average.update(run.network.state_dict(), run.step)
    else:
        if run.scaler is not None:
            run.scaler.update()  # lowers its scale where the gradient has overflowed
        statistics.put_back()
    with warnings.catch_warnings():  # torch takes a first step that was skipped for one that was forgotten
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        run.schedule.step()
    find = partial(_found, fabric, run, coming, batch.names)
    return TakenStep(find, late=late, kind=run.step_kind(before))


class Statistics:
    """What batch norm knows before a step. All of one type lie end to end: a GPU is asked for few copies, however many."""

    def __init__(self, network: nn.Module) -> None:
        types: dict[torch.dtype, list[Tensor]] = {}
        for value in network.buffers():
            types.setdefault(value.dtype, []).append(value)
        self._places = [*types.values()]
        self._before = [_end_to_end(places) for places in self._places]

    def put_back(self, but_where: Bool[Tensor, ""] | None = None) -> None:
        """Lets batch norm forget the batch; not where `but_where` is true, which the device alone may know."""
        for places, before in zip(self._places, self._before, strict=True):
            values = before if but_where is None else torch.where(but_where, _end_to_end(places), before)
            parts = values.split([place.numel() for place in places])
            torch._foreach_copy_(places, [part.view(place.shape) for part, place in zip(parts, places, strict=True)])


def _end_to_end(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.reshape(-1) for each in values])


def leaves_out_steps(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it can leave out a step by a number that is on the device, as a fused AdamW can."""
    return bool(optimizer.param_groups[0].get("fused"))


def _change_where(finite: Bool[Tensor, ""], run: Run, statistics: Statistics) -> None:
    """Changes weights and their average where the step was finite, which the device alone knows yet."""
    optimizer: Any = getattr(run.optimizer, "optimizer", run.optimizer)  # Fabric's keeps the one that computes
    optimizer.found_inf = 1 - finite.float()
    run.optimizer.step()
    statistics.put_back(finite)
    run.average.update(run.network.state_dict(), run.step, finite)


def _found(fabric: Fabric, run: Run, coming: HostCopy, names: tuple[str, ...]) -> StepResult:
    norm, loss, error, pairs, *counts = coming.wait().tolist()
    stop = agreed_signal(counts)
    if math.isfinite(loss) and math.isfinite(norm):
        return StepResult(loss / fabric.world_size, error / pairs if pairs else math.nan, (), stop)
    scale = None if run.scaler is None else run.scaler.get_scale()
    if scale is not None and math.isfinite(loss) and scale >= MIN_SCALE:
        return StepResult(None, None, (), stop, scale)
    return StepResult(None, None, _all_names(fabric, names), stop)


def freeze_batch_norm(network: nn.Module) -> None:
    """Normalises by the statistics that were learned before; RAFT does so in every stage after chairs."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _all_names(fabric: Fabric, mine: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the whole batch."""
    gathered: list[Any] = [mine]
    if fabric.world_size > 1:
        gathered = [None] * fabric.world_size
        torch.distributed.all_gather_object(gathered, mine)
    return tuple(name for names in gathered for name in names)


class Diverged(MachineError):
    """Nothing finite comes out of the training any more."""


class _Noted(NamedTuple):
    """A step before it is read."""

    number: int
    step: TakenStep
    learning_rate: float
    wait: float
    seconds: float


class Reports:
    """The steps of a run in their order; where the device may go on meanwhile, each is read after the next was asked for."""

    def __init__(self, fabric: Fabric, log: RunLog | None) -> None:
        self._fabric, self._log = fabric, log
        self._waiting: _Noted | None = None
        self._num_skipped = 0

    def add(
        self, number: int, step: TakenStep, *, learning_rate: float, wait: float, began: float, at_once: bool
    ) -> signal.Signals | None:
        """Takes step `number`, counted from 1; returns the signal by which the run was asked to stop, once that is read.

        wait: of the seconds since `began`, by time.perf_counter(), those in which there was no batch.
        at_once: read this one too. So it is where the run is to stop.

        Raises Diverged after MAX_SKIPPED_STEPS in a row that were skipped.
        """
        stop = self._read()
        at_once = at_once or stop is not None or not step.late
        if at_once:
            step.read()
        self._waiting = _Noted(number, step, learning_rate, wait, time.perf_counter() - began)
        own = self._read() if at_once else None
        return stop or own

    def _read(self) -> signal.Signals | None:
        noted, self._waiting = self._waiting, None
        if noted is None:
            return None
        result = noted.step.read()
        if result.loss is not None:
            self._num_skipped = 0
        else:
            self._num_skipped += result.lowered_scale is None
            if self._log:
                self._log.skipped(noted.number, result.names, result.lowered_scale)
        if self._num_skipped >= MAX_SKIPPED_STEPS:
            end_others(self._fabric)
            raise Diverged(
                f"{self._num_skipped} steps in a row gave no finite loss or gradient, the last of them step "
                f"{noted.number}; the last finite checkpoint is kept: lower optimizer.learning_rate or look at the "
                "samples in the log"
            )
        if self._log:
            times = noted.wait, noted.seconds, noted.step.kind
            self._log.step(noted.number, result.loss, result.error, noted.learning_rate, *times)
        return result.stop

"""Saves a run now and then, on a disk that may refuse."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowgru.errors import FlowgruError, MachineError
from flowgru.model.weight_files.model_file import read_weights
from flowgru.training.checkpoints.store import CheckpointStore
from flowgru.training.ranks import Fabric, end_others
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import Run

MAX_FAILED_SAVES = 3
"""Checkpoints in a row that the disk refuses after which a run gives up."""


class Saving:
    """Saves the run where there is a store, which the first process has, and tells the other processes how it went."""

    def __init__(
        self,
        fabric: Fabric,
        store: CheckpointStore | None,
        log: RunLog | None,
        every: int,
        best: "BestModel | None" = None,
    ) -> None:
        """best: what else is written of a run that is the best so far."""
        self._fabric, self._store, self._log, self._every = fabric, store, log, every
        self._best = best
        self._num_failed = 0

    def save(self, run: Run, *, best: bool, must: bool) -> None:
        """MachineError, in the first process, where the disk refuses a save that `must` be, or too many in a row."""
        refused = self._refusal(run, best)
        self._num_failed = self._num_failed + 1 if self._fabric.broadcast(refused is not None) else 0
        if self._num_failed and (must or self._num_failed == MAX_FAILED_SAVES):
            end_others(self._fabric)
            assert refused is not None, "the other processes have ended"
            raise refused
        if refused is not None and self._log:
            run.best_error = math.inf if best else run.best_error  # so that a best one is kept yet
            self._log.warn(f"{refused}; training goes on, and saving is tried again every {self._every} steps")

    def _refusal(self, run: Run, best: bool) -> MachineError | None:
        """Saves; returns why the disk has refused."""
        if self._store is None:
            return None
        state: dict[str, Any] = {**run.state(), "log": self._log.sums if self._log else None}
        try:
            card = {"network": asdict(run.network.config)}
            if best and self._best is not None:
                self._best.offer(run)  # before the checkpoint, from which on it is known to be there
            self._store.save(run.step, run.network.state_dict(), state, best=best, card=card)
        except MachineError as error:
            return error
        return None


class BestModel:
    """The model file of the weights that were best on the validation sets, which no worse ones replace."""

    def __init__(self, path: Path, write: Callable[[Run, Path], object]) -> None:
        self._path, self._write = path, write
        self._error = _held_out_error(path)

    def forget(self) -> None:
        """Lets the next weights be the best, whatever their error is."""
        self._error = math.inf

    def offer(self, run: Run) -> None:
        """Writes the run's average if it is better. MachineError where the disk refuses."""
        if run.best_error < self._error:
            self._write(run, self._path)
            self._error = run.best_error


def _held_out_error(path: Path) -> float:
    """The error by which a model file of a run was the best, as its card says; infinite without such a file."""
    try:
        card = read_weights(path)[1] or {}
        return max(map(float, next(iter(card["held_out_epe_per_image"].values())).values()))
    except (FlowgruError, LookupError, TypeError, ValueError, AttributeError, StopIteration):
        return math.inf

"""The batches of a run, from worker processes that may die."""

import copy
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader, Dataset

from flowgru.config import TrainConfig
from flowgru.console import warn
from flowgru.errors import FlowgruError, MachineError, lacks_memory, one_line
from flowgru.processes.signals import end_with_parent, leave_signals_to_the_run
from flowgru.training.feeding.sampler import Batch, StepSampler, collation

BATCH_TIMEOUT_S = 300
"""Seconds after which a worker that gives nothing counts as dead."""

GRACE_S = 2.0
"""How long a worker that is no longer needed may go on with the batch it is at."""

DEATHS = ("DataLoader", "Pin memory thread exited", "Too many open files")
"""Words by which torch says that its processes, or the thread that pins their batches, give nothing any more."""

SHARED_MEMORY = "/dev/shm"

_TRACEBACK = "Original Traceback"
"""What torch writes above that of a worker."""


def batches(
    data: Dataset[Any], config: TrainConfig, first_step: int, *, rank: int, world_size: int, pin_memory: bool
) -> Generator[Batch]:
    """One process's part of the batch of every step from `first_step` on; of drawn pairs what is to be painted.

    Where a worker dies, as when the system kills it for its memory, all are started anew once; MachineError the second
    time. The workers end with the generator, whatever keeps torch's loader: an exception's traceback does.
    """
    step, restarted = first_step, False
    while True:
        loader = iter(_loader(data, config, step, rank, world_size, pin_memory))
        deaths = _Deaths()
        try:
            while (batch := deaths.awaiting(loader)) is not None:
                yield batch
                step += 1
            return
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not _is_death(error):
                raise
            if restarted:
                first = step * config.batch_size
                raise MachineError(
                    f"a process that reads pairs died twice, the last time at step {step + 1} "
                    f"(pairs {first} to {first + config.batch_size - 1}: {_reason(error)}): "
                    f"give fewer --workers or more memory{_shared_memory()}"
                ) from None
            restarted = True
        except FlowgruError as error:
            raise type(error)(_own_words(error)) from None
        finally:
            _end_workers(loader)
            deaths.forget()


def _is_death(error: RuntimeError) -> bool:
    """Whether a worker gives nothing any more, for want of memory at most; an error of the data set itself is none."""
    text = str(error)
    if _TRACEBACK in text:
        return lacks_memory(error)
    return any(words in text for words in DEATHS)


def _loader(
    data: Dataset[Any], config: TrainConfig, step: int, rank: int, world_size: int, pin_memory: bool
) -> Iterable[Batch]:
    return DataLoader(
        data,
        batch_sampler=StepSampler(step, config.steps, config.batch_size, rank=rank, world_size=world_size),
        collate_fn=collation(data, levels=pin_memory),
        num_workers=config.workers,
        worker_init_fn=_begin_worker,
        multiprocessing_context=_context() if config.workers else None,
        prefetch_factor=4 if config.workers else None,
        timeout=BATCH_TIMEOUT_S if config.workers else 0,
        pin_memory=pin_memory,
    )


def _end_workers(loader: Any) -> None:
    """Ends the workers of torch's iterator: when they have made the batch they are at, or are killed after GRACE_S.

    Torch alone would wait for one after the other.
    """
    if not hasattr(loader, "_workers") or sys.is_finalizing():
        return
    killing = threading.Timer(GRACE_S, lambda: [worker.kill() for worker in loader._workers])
    killing.start()
    try:
        loader._shutdown_workers()
    finally:
        killing.cancel()


def _begin_worker(worker: int) -> None:
    leave_signals_to_the_run()
    end_with_parent()
    Queue._on_queue_feeder_error = staticmethod(_end_without_batch)  # pyright: ignore[reportAttributeAccessIssue]


def _end_without_batch(error: Exception, batch: object) -> None:
    """Ends a worker whose batch could not be handed over, which Python would print and the run await in vain."""
    warn(f"warning: a process that reads pairs ends, because it cannot hand over its batch: {one_line(error)}")
    os._exit(1)


class _Worker(multiprocessing.Process):
    """A process that ignores SIGTERM, so whatever terminates it has to kill it.

    Python does at its exit, and then waits for it without a limit, where something still keeps torch's loader.
    """

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # torch hands over what reading a pair raises; this is about the handing over
            _end_without_batch(error, None)

    @staticmethod
    def _Popen(process: multiprocessing.Process) -> Any:
        started: Any = multiprocessing.Process._Popen(process)
        started.terminate = partial(type(started).kill, weakref.proxy(started))
        return started


def _context() -> BaseContext:
    """The way processes are started here, for _Worker."""
    context = copy.copy(multiprocessing.get_context())
    context.Process = _Worker  # pyright: ignore[reportAttributeAccessIssue]
    return context


def _shared_memory() -> str:
    """How large the memory is in which workers hand over their batches, where the system says so."""
    try:
        return (
            f" ({SHARED_MEMORY}, where batches are handed over, has {shutil.disk_usage(SHARED_MEMORY).total >> 20} MiB)"
        )
    except OSError:
        return ""


def _own_words(error: FlowgruError) -> str:
    """What an error says without the traceback that torch adds in a worker."""
    text = str(error)
    return _last_line(text).split(": ", 1)[-1] if _TRACEBACK in text else text


def _reason(error: BaseException) -> str:
    """One line for why a worker gave nothing, without the traceback that torch adds in a worker."""
    text = str(error)
    return _last_line(text)[:150] if _TRACEBACK in text else one_line(error, 150)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


class _Deaths:
    """Keeps a worker's death until the next batch is awaited.

    Torch's loader raises from its handler of SIGCHLD, whatever is running then: the middle of a step must not be it.
    """

    def __init__(self) -> None:
        self._handler: Any = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        self._awaiting = False
        self._kept: list[tuple[Any, Any]] = []
        if callable(self._handler):
            signal.signal(signal.SIGCHLD, self._note)

    def awaiting(self, loader: Iterator[Batch]) -> Batch | None:
        """The loader's next batch, None after the last."""
        self._awaiting = True
        try:
            while self._kept:
                self._handler(*self._kept.pop())
            return next(loader, None)
        finally:
            self._awaiting = False

    def forget(self) -> None:
        """Gives torch its handler back."""
        if callable(self._handler):
            signal.signal(signal.SIGCHLD, self._handler)

    def _note(self, number: int, frame: Any) -> None:
        if self._awaiting:
            self._handler(number, frame)
        else:
            self._kept.append((number, frame))

"""Gives the jobs of a corpus to dask's workers, and takes their results."""

import math
import queue
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker

from flowgru.console import warn
from flowgru.corpus.tasks import Died, Job, Lost
from flowgru.errors import MachineError, one_line
from flowgru.processes.signals import Stopped, stop_signals

RESULT_TIMEOUT_S = 60.0
"""For so long the worker that has a result may take to give it."""

SECONDS_BETWEEN_COUNTS = 5.0
"""How often the workers are counted, which may come and go."""

SECONDS_BETWEEN_WARNINGS = 60.0
"""How often it is said that there is no worker."""


class Engine:
    """Gives jobs to workers as these become free, so that what the scheduler holds does not grow with their number."""

    def __init__(
        self,
        client: Client,
        *,
        num_threads: int | None,
        description: str,
        replenish: Callable[[], object] = lambda: None,
    ) -> None:
        """replenish: starts workers in place of those that have gone for good; asked now and then."""
        self.client, self.num_threads, self.description = client, num_threads, description
        self._replenish = replenish
        self._counted, self._num_workers = -math.inf, 1
        self._warned = time.monotonic()
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._running: dict[Any, tuple[Future, Job]] = {}

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Any]]:
        """Each job with what its function has returned, or Died or Lost, in the order in which they end.

        Jobs are taken when there is a worker for them; `submit` adds others meanwhile. MachineError where the scheduler is
        gone; Stopped where this process is asked to stop. What is running then is given up, and when this is closed.
        """
        waiting = iter(jobs)
        with stop_signals() as asked:
            try:
                more = True
                while True:
                    while more and len(self._running) < self._in_flight():
                        if (job := next(waiting, None)) is None:
                            more = False
                        else:
                            self.submit(job)
                    if not self._running:
                        return
                    if (ended := self._next(asked)) is not None:
                        yield ended
            finally:
                self.give_up()

    def submit(self, job: Job) -> None:
        """Adds a job to those that run; its turn comes as workers are free."""
        future = self.client.submit(job.function, job.argument, pure=False)
        self._running[future.key] = future, job
        future.add_done_callback(self._ended.put)

    def give_up(self) -> None:
        """Lets go of all jobs that have not ended."""
        futures = [future for future, _ in self._running.values()]
        self._running.clear()
        if futures and self.client.status == "running":
            with suppress(OSError, TimeoutError):  # the scheduler may just go
                self.client.cancel(futures, force=True)

    def _next(self, asked: Sequence[int]) -> tuple[Job, Any] | None:
        """The next job that has ended, with its result; None where none has within a second."""
        try:
            future = self._ended.get(timeout=1)
        except queue.Empty:
            future = None
        if asked:
            raise Stopped(asked[0])
        if self.client.status not in ("running", "newly-created"):
            self._raise_gone()
        if future is None or future.key not in self._running:
            return None
        _, job = self._running.pop(future.key)
        return job, self._result(future)

    def _result(self, future: Future) -> Any:
        if future.status == "cancelled":
            self._raise_gone()
        try:
            return future.result(timeout=RESULT_TIMEOUT_S)
        except (KilledWorker, OSError, TimeoutError):  # or it died before its result was fetched
            return Died()
        except Exception as error:
            # The function catches its own: where its module cannot be had, or is another one, no clip can be done.
            for cause in (error, error.__cause__):
                if isinstance(cause, ImportError | AttributeError):
                    raise MachineError(
                        f"a scheduler or worker has another flowgru, or other packages ({one_line(cause, 100)}): give all "
                        "machines the same, and the same command again, which goes on from here"
                    ) from error
            return Lost(f"{type(error).__name__}: {one_line(error)}")

    def _raise_gone(self) -> None:
        raise MachineError(
            f"the scheduler at {self.client.scheduler.address if self.client.scheduler else 'an unknown place'} is gone: "
            "start it and its workers, and give the same command again, which goes on from here"
        )

    def _in_flight(self) -> int:
        """One job at work for each worker, and one that waits, so that no worker waits."""
        now = time.monotonic()
        if now - self._counted >= SECONDS_BETWEEN_COUNTS:
            with suppress(OSError, TimeoutError):
                self._num_workers = num_threads_of(self.client)
            self._counted = now
            self._replenish()
            if self._num_workers:
                self._warned = now
            elif now - self._warned >= SECONDS_BETWEEN_WARNINGS:
                self._warned = now
                warn("no worker has come yet, or all have gone: waiting for one")
        return 2 * max(1, self._num_workers)


def num_threads_of(client: Client) -> int:
    """How many jobs the workers can take at a time."""
    found: Any = client.nthreads()
    return sum(found.values())

"""The workers of a corpus, by dask.distributed: processes of this machine, a running scheduler's, or jobs of SLURM."""

import logging
import math
import os
import queue
import shutil
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import dask
import torch
from distributed import Client, Future, KilledWorker, LocalCluster

from flowgru.config.corpus import CorpusSettings
from flowgru.config.require import MAX_PROCESSES
from flowgru.console import warn
from flowgru.corpus.tasks import Died, Job, Lost
from flowgru.corpus.workers.slurm import job_settings, slurm_cluster, threads_of_job
from flowgru.errors import MachineError, counted, one_line
from flowgru.model.memory import free_memory
from flowgru.processes.signals import Stopped, stop_signals

CONNECT_TIMEOUT_S = 10.0
"""For so long a scheduler may take to answer."""

START_TIMEOUT_S = 300.0
"""For so long a scheduler and a worker of this machine may take to start, which is busy perhaps."""

RESULT_TIMEOUT_S = 60.0
"""For so long the worker that has a result may take to give it."""

SECONDS_BETWEEN_COUNTS = 5.0
"""How often the workers are counted, which may come and go."""

SECONDS_BETWEEN_WARNINGS = 60.0
"""How often it is said that there is no worker."""

QUIET = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # a worker that waits for memory which nothing gives back waits for ever
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": 0,  # each death is told, and the driver counts those of each clip
    "distributed.admin.system-monitor.gil.enabled": False,
    # Each look at itself wakes a process, and then a core that works for a clip waits, and with it all threads of the clip.
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.memory.monitor-interval": "250ms",
    "distributed.deploy.lost-worker-timeout": "5 minutes",  # a busy machine takes long to start a process anew
    "logging": {"distributed": "critical", "tornado": "critical", "bokeh": "critical"},
}
"""What this run changes of dask's settings. Memory is either enough or the process ends: nothing here is worth spilling."""


LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")


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


@contextmanager
def opened_engine(settings: CorpusSettings) -> Iterator[Engine]:
    """The workers that the settings name. MachineError where they are not to be had."""
    with ExitStack() as stack:
        stack.enter_context(_silent_loggers())
        stack.enter_context(dask.config.set(QUIET))
        if settings.scheduler is not None:
            yield _on_scheduler(stack, settings.scheduler)
        elif settings.slurm is not None:
            yield _on_slurm(stack, settings.slurm, settings.workers or 1)
        else:
            yield _on_this_machine(stack, settings)


@contextmanager
def _silent_loggers() -> Iterator[None]:
    """Lets dask's loggers say nothing in this process: what a user must know is said by this program."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    loggers += [each for each in loggers[0].manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = [(each, each.level) for each in loggers if each.name.split(".")[0] in LOGGERS]
    for logger, _ in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)


def num_local_workers(settings: CorpusSettings) -> tuple[int, int]:
    """Number of processes on this machine, and the threads of each."""
    cores, gpus = _num_cores(), torch.cuda.device_count() if settings.device != "cpu" else 0
    threads = _asked_threads()
    workers = settings.workers or gpus or max(1, cores // (threads or 2))
    return workers, threads or max(1, cores // workers)


def _asked_threads() -> int | None:
    """Threads of one process as OMP_NUM_THREADS has them, whose first number is meant; None where it says nothing."""
    number = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(number) if number.isdecimal() and 0 < int(number) <= MAX_PROCESSES else None


def _on_this_machine(stack: ExitStack, settings: CorpusSettings) -> Engine:
    workers, threads = num_local_workers(settings)
    memory = free_memory(torch.device("cpu")) // workers
    # dask's own would let malloc give memory back at once, and take it anew for each step of a network.
    own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": own}))
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=memory,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            preload="flowgru.corpus.work",
        )
        stack.callback(cluster.close, timeout=10)
        client = Client(cluster, timeout=START_TIMEOUT_S)
        stack.callback(client.close, timeout=5)
        client.wait_for_workers(1, timeout=START_TIMEOUT_S)
    except (OSError, RuntimeError, TimeoutError) as error:
        raise MachineError(f"no worker could be started on this machine: {one_line(error)}") from error
    of = f"{counted(workers, 'worker')} of {counted(threads, 'thread')}"
    text = f"{of}, each with at most {memory / 2**30:.1f} GiB; dashboard: {client.dashboard_link}"
    return Engine(client, num_threads=threads, description=text, replenish=lambda: cluster.scale(workers))


def _on_scheduler(stack: ExitStack, address: str) -> Engine:
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise MachineError(
            f"no scheduler answers at {address} ({one_line(error, 100)}): start one with `dask scheduler`, or leave "
            "--scheduler out"
        ) from None
    stack.callback(client.close, timeout=5)
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    text = (
        f"the scheduler {address} with {counted(len(found), 'worker')} now{_limit_of(found)}; dashboard: "
        f"{client.dashboard_link}"
    )
    return Engine(client, num_threads=None, description=text)


def _limit_of(workers: Collection[Mapping[str, Any]]) -> str:
    """The least memory that a worker may use, in words."""
    if not workers:
        return ""
    limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
    return f", each with at most {min(limits) / 2**30:.1f} GiB" if limits else ", without a limit of memory"


def _on_slurm(stack: ExitStack, options: str, jobs: int) -> Engine:
    if shutil.which("sbatch") is None:
        raise MachineError("there is no sbatch on this machine: give the command on one from which SLURM takes jobs")
    try:
        cluster = slurm_cluster(options)
        stack.callback(cluster.close, timeout=10)
        cluster.scale(jobs=jobs)
        client = Client(cluster, timeout=START_TIMEOUT_S)
    except (OSError, RuntimeError, TimeoutError) as error:
        raise MachineError(f"SLURM takes no job here: {one_line(error)}") from error
    stack.callback(client.close, timeout=5)
    text = (
        f"{counted(jobs, 'job')} of SLURM, each with {job_settings(options)['job_mem']} of memory, which begin when it lets "
        f"them; dashboard: {client.dashboard_link}"
    )
    return Engine(client, num_threads=threads_of_job(options), description=text)


def num_threads_of(client: Client) -> int:
    """How many jobs the workers can take at a time."""
    found: Any = client.nthreads()
    return sum(found.values())


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

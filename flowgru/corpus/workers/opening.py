"""Finds or starts the workers of a corpus: processes of this machine, those of a running scheduler, or jobs of SLURM."""

import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
import torch
from distributed import Client, LocalCluster

from flowgru.config.corpus import CorpusSettings
from flowgru.config.require import MAX_PROCESSES
from flowgru.corpus.workers.engine import Engine
from flowgru.corpus.workers.slurm import job_settings, slurm_cluster, threads_of_job
from flowgru.errors import MachineError, counted, one_line
from flowgru.model.memory import free_memory

CONNECT_TIMEOUT_S = 10.0
"""For so long a scheduler may take to answer."""

START_TIMEOUT_S = 300.0
"""For so long a scheduler and a worker of this machine may take to start, which is busy perhaps."""

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


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

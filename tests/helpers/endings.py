"""Programs that use flowgru and then end, each leaving something behind: `main` runs the one that sys.argv names.

What takes a second and more to import is imported by the programs that use it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_run import TINY
from torch.utils.data import get_worker_info

from flowgru.console import lines_over_bar, progress
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import InputFileError
from flowgru.processes import jobs as processes
from flowgru.processes.jobs import Job, run_jobs
from flowgru.processes.signals import Stopped
from flowgru.training.feeding.loader import batches
from flowgru.training.feeding.sampler import Batch

EXIT_CODE = 7
CONFIG = replace(TINY, workers=2)
KEPT: list[Any] = []
"""What a notebook, an interpreter or pytest.raises keeps."""


class Damaged(SyntheticPairs):
    def __getitem__(self, index):
        raise InputFileError("a.flo is damaged: get it again")


class Stuck(SyntheticPairs):
    """All pairs but the first one take for ever to read."""

    def __getitem__(self, index):
        if index:
            time.sleep(1e6)
        return super().__getitem__(index)


def say_end() -> None:
    """And when, by a clock that all processes share. Not by print: a bar of rich's takes what is printed."""
    os.write(1, f"ends {time.monotonic()}\n".encode())


def reading(kind: type[SyntheticPairs]) -> Generator[Batch]:
    return batches(kind(CONFIG.data), CONFIG, 0, rank=0, world_size=1, pin_memory=False)


def kept_exception(folder: Path) -> None:
    try:
        next(reading(Damaged))
    except InputFileError as error:
        KEPT.append(error)


def left_in_the_middle(folder: Path) -> None:
    KEPT.append(reading(SyntheticPairs))
    next(KEPT[0])


def stuck(folder: Path) -> None:
    KEPT.append(reading(Stuck))
    next(KEPT[0])


def closed_while_stuck(folder: Path) -> None:
    stuck(folder)
    KEPT[0].close()


def failed_start(folder: Path) -> None:
    """The second worker cannot be started, and nobody but the exception knows the first one."""
    real, before = os.fork, []

    def fork() -> int:
        if before:
            raise BlockingIOError("no more processes")
        before.append(1)
        return real()

    os.fork = fork
    try:
        next(reading(SyntheticPairs))
    except BlockingIOError as error:
        KEPT.append(error)


def uncaught(folder: Path) -> None:
    KEPT.append(reading(Damaged))
    say_end()
    next(KEPT[0])


def killed(folder: Path) -> None:
    stuck(folder)
    say_end()
    os.kill(os.getpid(), signal.SIGKILL)


def trains(folder: Path, devices: int = 1) -> None:
    """The pairs are damaged; what training raises is caught and kept."""
    from flowgru.training.run import train

    real = SyntheticPairs.__getitem__

    def damaged(self, index):
        return real(self, index) if get_worker_info() is None else Damaged.__getitem__(self, index)

    SyntheticPairs.__getitem__ = damaged
    try:
        train(replace(CONFIG, batch_size=2), str(folder / "run"), device="cpu", devices=devices)
    except InputFileError as error:
        KEPT.append(error)


def trains_in_two_processes(folder: Path) -> None:
    trains(folder, devices=2)


def job(folder: Path) -> None:
    """One of compare's or benchmark's, which leaves a reader behind."""
    outcomes = []
    jobs = [Job("job", left_in_the_middle, (folder,), folder / "job.txt")]
    run_jobs(jobs, at_once=1, num_threads=1, ended=lambda job, outcome: outcomes.append(outcome))
    assert outcomes == [None]


def job_that_hangs(folder: Path) -> None:
    """It has answered, and a thread of its own keeps it."""
    processes.SECONDS_TO_END = 1.0
    outcomes = []
    jobs = [Job("job", answer_and_hang, (), folder / "job.txt")]
    run_jobs(jobs, at_once=1, num_threads=1, ended=lambda job, outcome: outcomes.append(outcome))
    assert outcomes == ["answer"]


def answer_and_hang() -> str:
    threading.Thread(target=time.sleep, args=(1e6,)).start()
    return "answer"


def interrupted_job(folder: Path) -> None:
    """Ctrl-C reaches the job, too; that it ends by it is no failure of the job."""

    def fail(job: Job, outcome: object) -> None:
        raise InputFileError(f"{job.name}: {outcome}")

    try:
        run_jobs([Job("job", interrupt, (), folder / "job.txt")], at_once=1, num_threads=1, ended=fail)
    except Stopped as stopped:
        KEPT.append(stopped)


def interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)
    os._exit(130)


def failed_job(folder: Path) -> None:
    """The caller of one job's end raises while the other one is still at work."""

    def fail(job: Job, outcome: object) -> None:
        raise InputFileError(job.name)

    jobs = [
        Job("quick", os.getpid, (), folder / "quick.txt"),
        Job("slow", time.sleep, (1e6,), folder / "slow.txt"),
    ]
    try:
        run_jobs(jobs, at_once=2, num_threads=2, ended=fail)
    except InputFileError as error:
        KEPT.append(error)


def displays(folder: Path) -> None:
    """A bar of rich's on a terminal and TensorBoard's writer, both with threads of their own, left open."""
    from flowgru.training.run_log import RunLog

    sys.stderr.isatty = lambda: True
    shown: list[AbstractContextManager] = [progress("a set", 10, "pairs"), lines_over_bar(10)]
    KEPT.extend([*shown, *(one.__enter__() for one in shown)])
    log = RunLog(folder, every=1)
    log.begin(0, 10, passed_over=[])
    log.step(1, 1.0, 1.0, 1e-4, 0.0, 1.0)
    KEPT.append(log)


ALL: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (
        kept_exception,
        left_in_the_middle,
        stuck,
        closed_while_stuck,
        failed_start,
        uncaught,
        killed,
        trains,
        trains_in_two_processes,
        job,
        job_that_hangs,
        interrupted_job,
        failed_job,
        displays,
    )
}


def main() -> None:
    """Runs the program that sys.argv[1] names, in the folder sys.argv[2]."""
    torch.set_num_threads(1)
    ALL[sys.argv[1]](Path(sys.argv[2]))
    say_end()
    sys.exit(EXIT_CODE)


if __name__ == "__main__":  # the second process of a run of two
    main()

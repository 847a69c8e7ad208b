"""Work in processes of its own, some at a time; none outlives the one that started it."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from flowgru.errors import FlowgruError, InputFileError, MachineError, RequestError
from flowgru.files.atomic import open_to_append
from flowgru.processes.signals import Stopped, end_with_parent, stop_signals

SAVE_TIMEOUT_S = 120.0
"""How long a process that was asked to stop may go on, to finish its step and save."""

SECONDS_TO_END = 10.0
"""How long a process that has nothing more to say may take to end."""


class Job(NamedTuple):
    """One piece of work: a function of a module, and what it is called with."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    log: Path
    """Receives all that the process prints."""


class _Running(NamedTuple):
    job: Job
    process: BaseProcess
    answer: Connection


def run_jobs(
    jobs: Sequence[Job],
    *,
    at_once: int,
    num_threads: int,
    ended: Callable[[Job, Any], None],
    began: Callable[[Job], None] = lambda job: None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Runs all jobs, `at_once` at a time, each with its share of the threads.

    `ended` gets what a job has returned, or the FlowgruError by which it failed; `tick` is called every second. What
    `ended` raises, and STOP_SIGNALS, end all processes once they have saved; for a signal Stopped is raised.
    """
    context, waiting, running = multiprocessing.get_context("spawn"), [*jobs], list[_Running]()
    threads = max(1, num_threads // at_once)
    with stop_signals() as asked:
        try:
            while waiting or running:
                while waiting and len(running) < at_once and not asked:
                    job = waiting.pop(0)
                    _prepare(job.log)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(theirs, threads, job))
                    process.start()
                    theirs.close()
                    running.append(_Running(job, process, ours))
                    began(job)
                wait([one.answer for one in running], timeout=1)
                if asked:  # before the jobs are looked at: a signal to the whole group ends them, too
                    raise Stopped(asked[0])
                for one in [one for one in running if one.answer.poll()]:
                    running.remove(one)
                    ended(one.job, _outcome(one))
                tick()
            if asked:  # while the last job ended
                raise Stopped(asked[0])
        finally:
            _stop([one.process for one in running])


def _prepare(log: Path) -> None:
    """Makes the file that a job prints to. MachineError where the disk refuses, or it is a link."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        open_to_append(log).close()
    except OSError as error:
        raise MachineError(f"cannot write {log}: {error.strerror or error}") from None


def _outcome(running: _Running) -> Any:
    """What a job that has ended has returned, or why it failed."""
    try:
        outcome = running.answer.recv()
    except EOFError:
        _join(running.process, SECONDS_TO_END)
        code = running.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        return MachineError(f"its process {how}; {running.job.log} has what it said")
    _join(running.process, SECONDS_TO_END)
    if isinstance(outcome, _Failure):
        kind = {error.exit_code: error for error in (RequestError, InputFileError, MachineError)}.get(outcome.exit_code)
        return kind(outcome.text) if kind else MachineError(f"{outcome.text}; {running.job.log} has more")
    return outcome


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Ends processes: each may save first."""
    for process in processes:
        process.terminate()
    patience = time.monotonic() + SAVE_TIMEOUT_S
    for process in processes:
        _join(process, max(0.0, patience - time.monotonic()))


def _join(process: BaseProcess, seconds: float) -> None:
    """Waits for the end of a process, which is killed after `seconds`."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


class _Failure(NamedTuple):
    exit_code: int
    text: str


def _work(answer: Connection, num_threads: int, job: Job) -> None:
    """What the new process does."""
    end_with_parent()  # which has released its folder: whoever takes it must not meet this process there
    with open_to_append(job.log) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    import torch

    torch.set_num_threads(num_threads)
    try:
        answer.send(job.function(*job.arguments))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except Exception as error:
        traceback.print_exc()
        code = error.exit_code if isinstance(error, FlowgruError) else 1
        text = str(error) if isinstance(error, FlowgruError) else f"{type(error).__name__}: {error}"
        answer.send(_Failure(code, text))

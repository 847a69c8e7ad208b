"""How a run ends when it is asked to: the step is finished and saved first."""

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HANG_UP = getattr(signal, "SIGHUP", None)
"""The signal that comes when a terminal is closed; Windows has none."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([] if HANG_UP is None else [HANG_UP]))
"""What asks a run to finish its step, save and end."""

SECONDS_TO_NOTICE, SECONDS_OF_TRUST = 0.2, 1.0
"""A parent's pipes are closed a moment before it counts as dead; one that was alive is believed to be so for a while."""


def as_counts(received: Sequence[int], device: torch.device) -> Tensor:
    """One number for each of STOP_SIGNALS, for the processes to add up."""
    counts = torch.zeros(len(STOP_SIGNALS), device=device)
    for place, number in enumerate(STOP_SIGNALS):
        if number in received:
            counts[place].fill_(1)  # numbers that are sent to a GPU are waited for
    return counts


def agreed_signal(counts: Sequence[float]) -> signal.Signals | None:
    """The signal by which the run ends, from the sum of all processes' as_counts."""
    return next((number for number, count in zip(STOP_SIGNALS, counts, strict=True) if count), None)


def ignores_hang_up(number: int) -> bool:
    """Whether that is SIGHUP, and whoever started this process lets it ignore that a terminal is closed."""
    return number == HANG_UP and signal.getsignal(number) is signal.SIG_IGN


class Stopped(Exception):
    """The run was asked to stop by a signal; its state is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; the same command goes on from here")
        self.exit_code = 128 + signal_number


def leave_signals_to_the_run() -> None:
    """A signal to the whole group must not kill the workers of a run that is about to finish its step and save."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """Lets this process, which multiprocessing has started, end at once when the one that started it has ended.

    It ends in silence: what it would say is about pipes that nobody reads any more.
    """
    threading.Thread(target=_end_after_parent, daemon=True, name="flowgru-parent").start()
    sys.stderr = _WhileParentLives(sys.stderr, os.getppid())


def _end_after_parent() -> None:
    parent, starter = multiprocessing.parent_process(), os.getppid()
    assert parent is not None
    # A process that was forked after this one keeps the parent's end of the pipe open by which its death is noticed.
    while parent.is_alive() and os.getppid() == starter:
        parent.join(1)
    os._exit(1)


class _WhileParentLives:
    """A stream that ends this process instead of writing what it says after its parent has died."""

    def __init__(self, stream: Any, parent: int) -> None:
        self._stream, self._parent = stream, parent
        self._looked = -math.inf

    def write(self, text: str) -> int:
        if time.monotonic() - self._looked > SECONDS_OF_TRUST:
            time.sleep(SECONDS_TO_NOTICE)
        self._looked = time.monotonic()
        if os.getppid() != self._parent:
            os._exit(1)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects STOP_SIGNALS instead of dying by them; a second one kills at once, but no second SIGHUP does.

    A terminal that is closed sends that one, and so does the shell in it. After nohup it stays ignored.

    In a thread beside the main one it collects none: Python gives the signals to the main thread alone.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_IGN if number == HANG_UP else signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in STOP_SIGNALS if not ignores_hang_up(number)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

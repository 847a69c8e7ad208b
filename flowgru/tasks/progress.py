"""What a running command says: a progress bar, or plain lines where nobody watches a terminal."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Counts one more in."""

    def __call__(self) -> None: ...


def say(text: str) -> None:
    """Prints a result; once whoever reads stdout has closed it, the work goes on in silence."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str) -> None:
    """Prints a line about the work on stderr."""
    with suppress(BrokenPipeError, ValueError):
        print(" ".join(text.split()), file=sys.stderr, flush=True)


@contextmanager
def progress(name: str, total: int | None, unit: str = "frames") -> Iterator[Advance]:
    """Counts on stderr, with how many a second and the time left; `total` None where the number is not known."""
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar(name, total, unit) as advance:
            yield advance
    else:
        with _lines(name, total, unit) as advance:
            yield advance


@contextmanager
def _bar(name: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    began = time.perf_counter()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, rate="")

        def advance() -> None:
            bar.advance(task)
            bar.update(task, rate=_rate(int(bar.tasks[0].completed), began, unit))

        yield advance


@contextmanager
def _lines(name: str, total: int | None, unit: str) -> Iterator[Advance]:
    began = said = time.perf_counter()
    count = 0

    def advance() -> None:
        nonlocal count, said
        count += 1
        now = time.perf_counter()
        if now - said < SECONDS_BETWEEN_LINES and count != total:
            return
        said = now
        of = f"/{total}" if total else ""
        left = ""
        if total and count < total:
            left = time.strftime(", %H:%M:%S left", time.gmtime((total - count) * (now - began) / count))
        warn(f"{name}: {count}{of} {unit}, {_rate(count, began, unit)}{left}")

    yield advance


def _rate(count: int, began: float, unit: str) -> str:
    return f"{count / max(time.perf_counter() - began, 1e-9):.2f} {unit}/s"

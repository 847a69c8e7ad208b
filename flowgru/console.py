"""What a running command says: a progress bar, or plain lines where nobody watches a terminal."""

import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FRAMES = 0.2


@runtime_checkable
class Advance(Protocol):
    """Counts one more in; a note stands behind the count until the next one."""

    def __call__(self, note: str = "", /) -> None: ...


def printable(text: str) -> str:
    """The text, with what a terminal or an editor would obey and not show written as escapes, such as \\x1b.

    Names of files and of what is in them may hold anything. Line breaks and tabs stay.
    """
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def _is_shown(letter: str) -> bool:
    # Some scripts need the two joiners; unlike the other letters of their kind they move nothing.
    return letter.isprintable() or letter in "\n\t\u200c\u200d" or unicodedata.category(letter) == "Zs"


def say(text: str) -> None:
    """Prints a result, wrapped where a terminal is narrower; see say_styled."""
    say_styled(wrapped(printable(text), terminal_width(sys.stdout)))


def say_styled(text: str) -> None:
    """Prints a text that may hold a terminal's escape sequences, so names in it must be printable.

    Once whoever reads stdout has closed it, the work goes on in silence.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)


def terminal_width(stream: Any) -> int | None:
    """Columns of the terminal that shows a stream; None for a pipe or a file, where lines stay whole."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def wrapped(text: str, width: int | None) -> str:
    """The text with its lines broken at spaces, where they are wider; what belongs to a line is indented below it.

    No word is ever cut: a path is copied whole.
    """
    if width is None:
        return text
    lines = []
    wrapper = textwrap.TextWrapper(max(width, 20), break_long_words=False, break_on_hyphens=False)
    for line in text.split("\n"):
        wrapper.subsequent_indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
        lines += wrapper.wrap(line) if len(line) > width else [line]
    return "\n".join(lines)


def hold_standard_streams() -> None:
    """Opens those of stdin, stdout and stderr that whoever started this process has closed, to nowhere.

    The next file that is opened would take the place of one, and receive what any library prints there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 it stays open


def silence(stream: Any) -> None:
    """From now on a standard stream goes nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def drop_what_stderr_holds() -> None:
    """Before the end: where stderr takes nothing, Python would try once more, and change the exit code."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)


class _Unheard:
    """A stream whose lines are lost where nobody reads it any more, or its disk is full: the work goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            silence(self._stream)  # what is held would be tried again, and again at the end of the process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def warn(text: str) -> None:
    """Prints a line about the work on stderr."""
    if sys.stderr is None:  # print would take stdout
        return
    with suppress(OSError, ValueError):  # nobody reads it, or the disk is full: the work goes on
        line = printable(" ".join(text.split()))
        print(wrapped(line, terminal_width(sys.stderr)), file=sys.stderr, flush=True)


@contextmanager
def progress(name: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Counts on stderr, with how many a second and the time left; `total` None where the number is not known."""
    name = printable(name)
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar(name, total, unit) as advance:
            yield advance
    else:
        with _lines(name, total, unit) as advance:
            yield advance


@contextmanager
def lines_over_bar(total: int | None) -> Iterator[tuple["Console", Callable[[int, int, str], None] | None]]:
    """A console for the lines of a long run, and on a terminal what shows a step of a total and a text in a bar below.

    Once whoever reads stdout has closed it, or its disk is full, the run goes on in silence.
    Nothing here is a thread of its own: a process that is forked meanwhile inherits no lock that is never given back.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    class Lines(Console):
        def print(self, *texts: Any, **options: Any) -> None:
            super().print(*(printable(text) if isinstance(text, str) else text for text in texts), **options)

    lines: Any = _Unheard(sys.stdout)
    console = Lines(file=lines, markup=False)
    if not console.is_terminal:
        yield Lines(file=lines, soft_wrap=True, markup=False), None
        return
    columns = (
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(ratio=1)),  # narrow terminals wrap it
    )
    shown = 0.0
    with Progress(
        *columns, console=console, auto_refresh=False, expand=True, redirect_stderr=sys.stderr.isatty()
    ) as bar:
        console.show_cursor(True)  # a run may be killed at any time
        task = bar.add_task("", total=total, text="starting")
        bar.refresh()

        def show(step: int, total: int, text: str) -> None:
            nonlocal shown
            now = time.perf_counter()
            due = now - shown >= SECONDS_BETWEEN_FRAMES or step == total
            bar.update(task, completed=step, total=total, text=printable(text), refresh=due)
            shown = now if due else shown

        yield console, show


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
    stream: Any = _Unheard(sys.stderr)
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(name, total=total, rate="")

        def advance(note: str = "", /) -> None:
            bar.advance(task)
            bar.update(task, rate=_rate(int(bar.tasks[0].completed), began, unit, note))

        yield advance


@contextmanager
def _lines(name: str, total: int | None, unit: str) -> Iterator[Advance]:
    began = said = time.perf_counter()
    count = 0

    def advance(note: str = "", /) -> None:
        nonlocal count, said
        count += 1
        now = time.perf_counter()
        if now - said < SECONDS_BETWEEN_LINES and count != total:
            return
        said = now
        of = f"/{total}" if total else ""
        left = ""
        if total and count < total:
            left = f", {time_left((total - count) * (now - began) / count)} left"
        warn(f"{name}: {count}{of} {unit}, {_rate(count, began, unit, note)}{left}")

    yield advance


def time_left(seconds: float) -> str:
    """A number of seconds for people, such as 0:06:38, or 1 day, 6:00:00."""
    return str(timedelta(seconds=round(seconds)))


def _rate(count: int, began: float, unit: str, note: str) -> str:
    rate = f"{count / max(time.perf_counter() - began, 1e-9):.2f} {unit}/s"
    return f"{rate}, {note}" if note else rate

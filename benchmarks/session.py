"""Parts of an unattended session, each a process with its time, and what a folder keeps of them."""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from flowgru.files.atomic import write_file

HERE = Path(__file__).parent

GRACE = 20.0
"""Seconds that a training or a study gets for saving once its time is over."""


class Step(NamedTuple):
    """One script with its options, by a name under which it can be chosen."""

    name: str
    words: list[str]
    writes_rows: bool = True
    """Whether it appends its rows to a file that --json names, and prints them as a table."""
    in_report: bool = False
    """Whether what it prints belongs into the report, though it writes no rows."""


def run(step: Step, tables, log, seconds: float, folder: Path, *, grace: float = 0.0) -> str:
    """Why a step did not run to its end, or nothing.

    grace: of its seconds, how many it may take to save what it has, once its time is over, or this process is to end.
    """
    if seconds < 1:
        return "Not run: no time was left"
    json = ["--json", str(folder.resolve() / "results.jsonl")] if step.writes_rows else []
    words = [sys.executable, *step.words, *json]
    checkout = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        words,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": checkout, "PYTHONUNBUFFERED": "1"},  # a bare machine has nothing installed
        stdout=tables,
        stderr=log,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    try:
        code = process.wait(max(seconds - grace, 1))
    except BaseException as ending:  # its time is over, or this process is asked to end
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        if not isinstance(ending, subprocess.TimeoutExpired):
            raise
        return "Not run to its end: the time was over"
    finally:
        with suppress(ProcessLookupError):  # what the script started may outlive it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"Failed with exit code {code}, see log.txt," if code else ""


def _end_with_parent() -> None:
    """Has Linux kill this process where the one that started it was killed: it would keep its folder to itself."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Session:
    """The folder, the time that is left, and what is done already."""

    def __init__(self, given: argparse.Namespace, stack: ExitStack) -> None:
        self.given, self.ends = given, time.monotonic() + 60 * given.minutes
        self.folder: Path = given.output.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.report, self.log = (
            stack.enter_context((self.folder / name).open("a", encoding="utf-8")) for name in ("report.md", "log.txt")
        )
        path = self.folder / "state.json"
        self.state: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"done": []}
        self.failed: list[str] = []

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    @property
    def small(self) -> bool:
        """Whether only the small form runs."""
        return not self.given.device.startswith("cuda")

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.report.write(f"{line}\n")
        self.report.flush()

    def keep(self, name: str, value: Any) -> None:
        """Notes what a later start must know."""
        self.state[name] = value
        write_file(self.folder / "state.json", json.dumps(self.state, indent=1) + "\n", True)

    def chosen(self, name: str, choose: Callable[[], Any]) -> Any:
        """What is chosen at the first start, and kept at later ones."""
        if name not in self.state:
            self.keep(name, choose())
        return self.state[name]

    def do(self, step: Step, seconds: float, *, grace: float = 0.0, once: bool = True) -> bool:
        """Runs a part for so many seconds at most, unless it is to run once and is done; whether it is."""
        if once and step.name in self.state["done"]:
            self.say(f"{step.name}: done before")
            return True
        self.say(f"\n## {step.name}\n\n    python {' '.join(step.words)}\n")
        self.log.write(f"\n{step.name}\n")
        self.log.flush()
        began = time.monotonic()
        output = self.report if step.writes_rows or step.in_report else self.log
        reason = run(step, output, self.log, min(seconds, self.left), self.folder, grace=grace)
        self.say(f"{reason or 'Done'} after {time.monotonic() - began:.0f} s.")
        if once and reason:
            self.failed.append(step.name)
        elif once:
            self.keep("done", [*self.state["done"], step.name])
        return not reason

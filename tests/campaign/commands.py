"""Commands of flowgru in processes of their own, under limits, and what each of them must keep whatever happens."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECONDS_TO_END = 120
"""For so much longer than three times its time without a disturbance a command may take; beyond, it hangs."""
CODES = {0, 2, 3, 4, 130, 143}
"""What a command may end with; 1 is a bug."""


class Failed(AssertionError):
    """Something that must never happen."""


@dataclass
class Limits:
    """What a command may take of the machine; None: as much as there is."""

    descriptors: int | None = None
    memory: int | None = None
    """Bytes of address space."""
    file_size: int | None = None
    """Bytes of one file, beyond which writing fails as on a full disk."""

    def set(self) -> None:
        """For this process, before it becomes the command."""
        for kind, value in (
            (resource.RLIMIT_NOFILE, self.descriptors),
            (resource.RLIMIT_AS, self.memory),
            (resource.RLIMIT_FSIZE, self.file_size),
        ):
            if value is not None:
                resource.setrlimit(kind, (value, value))


@dataclass
class Ended:
    """How a command has ended."""

    words: Sequence[str]
    code: int
    out: str
    err: str
    seconds: float

    def require(self, codes: Iterable[int]) -> "Ended":
        """Failed unless it ended by one of these codes, said no traceback, and called nothing a bug."""
        text = f"{' '.join(self.words)} ended with {self.code}: {self.err[-1500:]}"
        if self.code not in {*codes}:
            raise Failed(f"expected one of {sorted(codes)}: {text}")
        if re.search(r"Traceback|\(a bug", self.err):
            raise Failed(f"an error that is not flowgru's own: {text}")
        return self


@dataclass
class Command:
    """A command that runs."""

    words: Sequence[str]
    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)

    def send(self, number: int) -> None:
        """Sends a signal to it and to the processes it has started, as a terminal or the system does."""
        try:
            os.killpg(self.process.pid, number) if number != signal.SIGKILL else self.process.kill()
        except ProcessLookupError:
            return

    def ended(self, usual: float = 0.0) -> Ended:
        """Its end. Failed where it does not come; `usual` is the time that it takes without a disturbance."""
        patience = SECONDS_TO_END + 3 * usual
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            raise Failed(f"{' '.join(self.words)} has not ended after {patience:.0f} s") from None
        return Ended(self.words, self.process.returncode, out, err, time.monotonic() - self.began)


def start(words: Sequence[str], limits: Limits | None = None) -> Command:
    """Starts `flowgru WORDS` in a process group of its own, on one thread."""
    set_limits: Callable[[], None] | None = limits.set if limits else None
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "flowgru", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=set_limits,
        env=environment,
    )
    return Command(words, process)


def run(words: Sequence[str], limits: Limits | None = None, usual: float = 0.0) -> Ended:
    """Runs `flowgru WORDS` to its end; see Command.ended."""
    return start(words, limits).ended(usual)


def wait_for(path: Path, command: Command) -> None:
    """Until there is something at the path, or the command has ended."""
    while not path.exists() and command.process.poll() is None:
        time.sleep(0.01)
        if time.monotonic() - command.began > SECONDS_TO_END:
            command.send(signal.SIGKILL)
            raise Failed(f"{' '.join(command.words)} has not begun after {SECONDS_TO_END} s")

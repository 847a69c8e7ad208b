"""Works that are killed, stopped or doubled at random moments, and run out of disk, memory or descriptors."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.campaign.commands import CODES, Ended, Failed, Limits, run, start, wait_for
from tests.campaign.works import Work, finished, require_no_leftovers, require_whole

MIB = 2**20


class Undisturbed(NamedTuple):
    """What becomes of a work that nobody disturbs."""

    result: object
    working: float
    """Seconds from the beginning of the work to its end."""
    seconds: float
    """The same from the start of the command on."""


class Bench:
    """The works, what they give when nobody disturbs them, and how long they take."""

    def __init__(self, works: dict[str, Work], folder: Path) -> None:
        self.works, self.folder = works, folder
        self.num_kills = self.num_stops = 0
        self.undisturbed = cache(self._undisturbed)

    def _undisturbed(self, name: str) -> Undisturbed:
        work, folder = self.works[name], self.folder / f"whole {name}"
        command = start(work.words(folder))
        wait_for(work.begun(folder), command)
        begun = time.monotonic()
        ended = command.ended(usual=600).require({0})
        return Undisturbed(work.result(folder), max(time.monotonic() - begun, 0.5), ended.seconds)

    def kill(self, choose: random.Random, folder: Path) -> None:
        """kill -9 at one or two random moments, then the same command again: the same bits, and nothing half."""
        work = self._choose(
            choose, ["estimate", "estimate flo5", "estimate video", "train", "train", "compare", "export"]
        )
        whole = self.undisturbed(work.name)
        for _ in range(choose.choice((1, 1, 2))):
            self._interrupt(work, folder, signal.SIGKILL, choose, whole)
            self.num_kills += 1
            require_whole(folder)
        finished(work, folder, whole.seconds)
        self._require_same(work, folder, whole.result)
        if work.name.startswith("estimate"):
            require_no_leftovers(folder)

    def stop(self, choose: random.Random, folder: Path) -> None:
        """Ctrl-C or SIGTERM at a random moment: its exit code within the time, then the same command again."""
        work = self._choose(choose, ["estimate", "estimate video", "train", "compare"])
        whole = self.undisturbed(work.name)
        number = choose.choice((signal.SIGINT, signal.SIGTERM))
        ended = self._interrupt(work, folder, number, choose, whole)
        # Before Python has begun to run the command, the system or Python's own handler ends it.
        ended.require({0, 128 + number, -number} if folder.exists() else {*CODES, 1, -number})
        self.num_stops += 1
        require_whole(folder)
        require_no_leftovers(folder)
        finished(work, folder, whole.seconds)
        self._require_same(work, folder, whole.result)

    def two_writers(self, choose: random.Random, folder: Path) -> None:
        """The same command twice at once: one may refuse, none destroys what the other one does."""
        work = self._choose(choose, ["train", "compare", "estimate"])
        whole = self.undisturbed(work.name)
        commands = [start(work.words(folder))]
        time.sleep(choose.uniform(0, 3))
        commands.append(start(work.words(folder)))
        ends = [command.ended(whole.seconds).require({0, 2, 4}) for command in commands]
        require_whole(folder)
        if all(ended.code for ended in ends):
            finished(work, folder, whole.seconds)
        self._require_same(work, folder, whole.result)

    def full_disk(self, choose: random.Random, folder: Path) -> None:
        """A disk of some MiB: exit code 0 or 4, nothing half, no temporary file."""
        work = self._choose(choose, ["estimate", "estimate flo5", "estimate video", "train", "compare", "export"])
        size = choose.choice((64, 256, 1024, 4096, 16_384)) * 1024
        with small_disk(folder, size) as disk:
            limits = Limits() if disk else Limits(file_size=size)
            ended = run(work.words(folder / "out"), limits, self.undisturbed(work.name).seconds)
            require_whole(folder)
            ended.require({0, 4} if work.name != "compare" else {0, 3, 4})
            require_no_leftovers(folder)

    def few_descriptors(self, choose: random.Random, folder: Path) -> None:
        """So few open files that some part of the work cannot open another one."""
        work = self._choose(choose, ["estimate", "estimate video", "train", "compare"])
        limits = Limits(descriptors=choose.randint(8, 40))
        ended = run(work.words(folder), limits, self.undisturbed(work.name).seconds)
        require_whole(folder)
        ended.require(CODES)

    def little_memory(self, choose: random.Random, folder: Path) -> None:
        """So little memory that some part of the work, or Python with its packages, does not fit."""
        work = self._choose(choose, ["estimate", "estimate video", "train"])
        limits = Limits(memory=choose.randint(2500, 6000) * MIB)
        ended = run(work.words(folder), limits, self.undisturbed(work.name).seconds)
        require_whole(folder)
        if ended.code in (-signal.SIGABRT, -signal.SIGSEGV) and "Traceback" not in ended.err:
            return  # a library of the system's ends the process where its own memory is refused
        ended.require(CODES)

    def _choose(self, choose: random.Random, names: list[str]) -> Work:
        return self.works[choose.choice(names)]

    def _interrupt(self, work: Work, folder: Path, number: int, choose: random.Random, whole: Undisturbed) -> Ended:
        command = start(work.words(folder))
        if choose.random() < 0.85:
            wait_for(work.begun(folder), command)
        time.sleep(choose.uniform(0, whole.working))
        command.send(number)
        return command.ended(whole.seconds)

    def _require_same(self, work: Work, folder: Path, expected: object) -> None:
        if work.result(folder) != expected:
            raise Failed(f"{work.name} has given another result than without an interruption, in {folder}")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk of so many bytes at the folder, where this user may mount one; else False, and a plain folder."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = (
        hasattr(os, "geteuid")
        and shutil.which("mount") is not None
        and subprocess.run(mount, capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)

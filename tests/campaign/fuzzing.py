"""Inputs that are changed at random, given to every reader, in a process that may crash, hang or run out of memory.

    python -m tests.campaign.fuzzing FOLDER SEED FIRST COUNT

reads the inputs FIRST to FIRST + COUNT - 1 of SEED. It notes each before it is read, so that whoever started it knows at
which it ended.
"""

import random
import resource
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

from flowgru.errors import FlowgruError
from tests.campaign.commands import SECONDS_TO_END, Failed

SECONDS_TO_BEGIN = 600
"""A process that reads inputs makes the good ones first, which takes half a minute on an idle core."""

MEMORY = 6 * 2**30
"""Bytes of address space that a reader may take: a picture of the largest size allowed takes 5 GiB while it is read."""
NOTE, FAILURES = "note", "failures.txt"
NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
WORDS = (
    b"*a",
    b"&a [*a]",
    b"\xff\xfe",
    b"null",
    b"[" * 300,
    b"{" * 300,
    b"1e999",
    b"9" * 400,
    b"-",
    b"\x1b[2J",
    b"NaN",
)


class Fuzzed(NamedTuple):
    """What became of a batch of inputs."""

    num_tried: int
    failures: list[str]


def mutated(data: bytes, choose: random.Random) -> bytes:
    """The data with some bytes changed, put in, taken out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 1, 2, 4, 8))):
        place = choose.randrange(len(changed) + 1)
        if choose.random() < 0.3:  # headers are at the beginning
            place = min(place, choose.randrange(256))
        length = choose.choice((1, 1, 2, 4, 16, 64))
        kind = choose.randrange(7)
        if kind == 0:
            changed[place : place + 1] = bytes([choose.randrange(256)])
        elif kind == 1 and changed:
            place %= len(changed)
            changed[place] ^= 1 << choose.randrange(8)
        elif kind == 2:
            number = choose.choice(NUMBERS)
            changed[place : place + len(number)] = number
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length] * choose.choice((1, 2, 50))
        elif kind == 5:
            changed[place:place] = choose.choice(WORDS)
        else:
            del changed[place:]
    return bytes(changed)


def fuzz(folder: Path, seed: int, first: int, count: int) -> Fuzzed:
    """Reads a batch of inputs in a process of its own, and in another one from the next where that has ended."""
    end, num_tried, failures = first + count, 0, []
    while first < end:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        words = [sys.executable, "-m", "tests.campaign.fuzzing", str(folder), str(seed), str(first), str(end - first)]
        with (folder / "said.txt").open("w") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said)
            last = -1
            while True:
                try:
                    code = process.wait(SECONDS_TO_BEGIN if last < 0 else SECONDS_TO_END)
                    break
                except subprocess.TimeoutExpired:
                    before, last = last, _noted(folder)
                    if before == last:
                        process.kill()
                        code = process.wait()
                        break
        last = _noted(folder)
        if last < 0:
            raise Failed(f"no input could be read: {(folder / 'said.txt').read_text(errors='replace')[-2000:]}")
        if (folder / FAILURES).exists():
            failures += (folder / FAILURES).read_text("utf-8").splitlines()
        if code:
            how = f"took more than {SECONDS_TO_END} s" if code == -signal.SIGKILL else f"ended the process by {code}"
            failures.append(f"fuzz:{last}: {(folder / 'kind').read_text()} {how}")
        num_tried += last + 1 - first
        first = last + 1
    return Fuzzed(num_tried, failures)


def _noted(folder: Path) -> int:
    try:
        return int((folder / NOTE).read_text() or -1)
    except (OSError, ValueError):
        return -1


def read_inputs(folder: Path, seed: int, first: int, count: int) -> None:
    """What the process of its own does."""
    from tests.campaign.readers import kinds

    warnings.simplefilter("ignore")
    (folder / "good").mkdir()
    found = kinds(folder / "good")
    weights = [kind.weight for kind in found]
    limit = MEMORY + 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for index in range(first, first + count):
        choose = random.Random(f"{seed}/{index}")
        kind = choose.choices(found, weights)[0]
        (folder / "kind").write_text(kind.name)
        (folder / NOTE).write_text(str(index))
        place = folder / "input"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / kind.name).write_bytes(mutated(kind.data, choose))
        for reader in kind.readers:
            try:
                reader(place / kind.name)
            except FlowgruError as error:
                problem = "an error of several lines" if "\n" in str(error) else None
            except Exception as error:
                traceback.print_exc()
                problem = f"{type(error).__name__}: {error}"
            else:
                problem = None
            if problem is not None:
                with (folder / FAILURES).open("a", encoding="utf-8") as file:
                    file.write(f"fuzz:{index}: {kind.name} by {reader.__name__}: {' '.join(problem.split())[:300]}\n")


if __name__ == "__main__":
    read_inputs(Path(sys.argv[1]), *map(int, sys.argv[2:5]))

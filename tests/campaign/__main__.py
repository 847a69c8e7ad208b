"""Attacks flowgru for some minutes and says what has fallen: `python -m tests.campaign --minutes M --seed S`.

It fuzzes every reader, kills and stops commands at random moments, lets two write into one folder, and takes disk, memory
and descriptors away. What is tried is a function of the seed and a number, which is said with each failure:
`--only fuzz:NUMBER` or `--only trial:NUMBER` repeats it. The exit code is 1 where anything has failed.
"""

import argparse
import collections
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.campaign.commands import Failed
from tests.campaign.fuzzing import fuzz

BATCH = 400
"""Inputs that are fuzzed between two trials."""
TRIALS = ("kill", "kill", "stop", "full_disk", "few_descriptors", "little_memory", "two_writers")


class Campaign:
    """What was tried so far, and what has failed."""

    def __init__(self, seed: int, folder: Path) -> None:
        from tests.campaign.interruptions import Bench
        from tests.campaign.works import make_inputs, works

        self.seed, self.folder = seed, folder
        (folder / "inputs").mkdir()
        make_inputs(folder / "inputs")
        self.bench = Bench(works(folder / "inputs"), folder)
        self.num_inputs = 0
        self.trials: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def fuzz(self, first: int, count: int) -> None:
        found = fuzz(self.folder / "fuzzing", self.seed, first, count)
        self.num_inputs += found.num_tried
        for failure in found.failures:
            self._fail(failure)

    def trial(self, number: int) -> None:
        choose = random.Random(f"{self.seed}/trial/{number}")
        name = choose.choice(TRIALS)
        folder = self.folder / f"trial{number}"
        try:
            getattr(self.bench, name)(choose, folder)
        except Failed as failure:
            self._fail(f"trial:{number}: {name}: {failure}")
        except Exception:
            self._fail(f"trial:{number}: {name}: {traceback.format_exc()}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        self.trials[name] += 1

    def _fail(self, text: str) -> None:
        self.failures.append(text)
        print(f"FAILED {text}", flush=True)

    def report(self, seconds: float) -> None:
        print(f"{seconds / 60:.1f} minutes, seed {self.seed}: {self.num_inputs} inputs tried")
        print(
            ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in sorted(self.trials.items()))
            or "no trials"
        )
        print(f"{self.bench.num_kills} kills and {self.bench.num_stops} stops survived but for the failures below")
        print(f"{len(self.failures)} failures", *self.failures, sep="\n  ", flush=True)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="fuzz:NUMBER or trial:NUMBER, as a failure says")
    parser.add_argument("--keep", action="store_true", help="keep the folder, and say where it is")
    given = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="flowgru-campaign-"))
    began = time.monotonic()
    campaign = Campaign(given.seed, folder)
    try:
        if given.only:
            what, _, number = given.only.partition(":")
            campaign.trial(int(number)) if what == "trial" else campaign.fuzz(int(number), 1)
        number = 0
        while not given.only and time.monotonic() - began < 60 * given.minutes:
            campaign.fuzz(number * BATCH, BATCH)
            campaign.trial(number)
            number += 1
            if number % 10 == 0:
                campaign.report(time.monotonic() - began)
    finally:
        if given.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    campaign.report(time.monotonic() - began)
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())

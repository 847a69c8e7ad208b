"""What `flowgru corpus` costs beside its work: its engine, the number of clips, and two machines.

    python benchmarks/corpus.py engine --folder DIR     clips/s of 1 and 2 workers, against the same work in a loop
    python benchmarks/corpus.py clips --folder DIR      empty clips, 10 to 100,000: time and memory a clip; starting again
    python benchmarks/corpus.py machines --folder DIR   two worker processes with scratch folders of their own

DIR is new, or holds what an earlier call has left. Prints Markdown tables.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flowgru.config import SyntheticSettings
from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver
from flowgru.corpus.engine import num_local_workers
from flowgru.corpus.inputs import Clip, find_clips
from flowgru.corpus.staging import begin_run
from flowgru.corpus.tasks import Outcome, Task
from flowgru.corpus.work import estimate_clip
from flowgru.data.synthetic.clip import render_clip
from flowgru.data.video.writer import VideoWriter
from flowgru.model.memory import peak_memory

RATE = 10
"""Frames a second of the generated clips."""

WAY: dict[str, Any] = {"iterations": 2, "initial_flow": "zero", "hold": 0, "polish": False}
"""The quickest way to a flow: what is not the network's work shows most beside it."""


def make_clips(folder: Path, count: int, num_frames: int, height: int, width: int) -> Path:
    """Generated clips, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = SyntheticSettings(height=height, width=width)
    for index in range(count):
        path = folder / f"{index:04d}.mp4"
        if path.exists():
            continue
        with VideoWriter(path, RATE) as video:
            for frame in render_clip(settings, index, num_frames).frames:
                video.write((frame * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
    return folder


def empty(task: Task) -> Outcome:
    """A clip that takes no time."""
    return Outcome("done", digest="0" * 64, frames=1)


def engine(given: argparse.Namespace) -> None:
    """The same work, on the same clips: in a loop in this process, and by one and two workers."""
    clips = make_clips(given.folder / "clips", given.clips, RATE * given.seconds, given.height, given.width)
    output, seconds = given.folder / "loop", {}
    print(
        f"{given.clips} clips of {given.seconds} s, {RATE} frames/s, {given.width}x{given.height}, {WAY}, score and half\n"
    )
    kinds = ("score", "half")
    for name in given.rounds * ["in a loop", "1 worker", "2 workers"]:
        shutil.rmtree(output, ignore_errors=True)
        settings = CorpusSettings(
            output=str(output), write=kinds, workers=int(name[0]) if name[0].isdigit() else None, **WAY
        )
        if name == "in a loop":
            output.mkdir(parents=True)
            run, threads = begin_run(output), num_local_workers(replace(settings, workers=1))[1]
            tasks = [
                Task(n, clip, str(output), run, settings, threads)
                for n, clip in enumerate(find_clips([str(clips)], output))
            ]
            estimate_clip(tasks.pop(0)._replace(number=-1))  # loads the network
            began = time.perf_counter()
            for task in tasks:
                assert estimate_clip(task).status == "done"
            rate, at_work = len(tasks) / (time.perf_counter() - began), 1.0
        else:
            rate, at_work = _steady_rate([str(clips)], settings, int(name[0]))
        seconds.setdefault(name, []).append((rate, at_work))
    print("\n| | clips/s, each round | share of the time in which workers work, each round |\n|---|---|---|")
    for name, found in seconds.items():
        rates, shares = (", ".join(f"{value:.3f}" for value in each) for each in zip(*found, strict=True))
        print(f"| {name} | {rates} | {shares} |")


def _steady_rate(inputs: list[str], settings: CorpusSettings, workers: int) -> tuple[float, float]:
    """Clips a second from when each worker has loaded its network on, and the share of that time in which they work.

    The share tells what the engine costs on a machine that other programs slow down, too.
    """
    ends: list[tuple[float, float]] = []
    run: Any = driver._Run
    real = run._keep

    def keep(self: Any, engine: Any, clip: Clip, result: Outcome) -> None:
        real(self, engine, clip, result)
        ends.append((time.perf_counter(), result.seconds))

    run._keep = keep
    try:
        driver.run_corpus(inputs, settings)
    finally:
        run._keep = real
    elapsed = ends[-1][0] - ends[workers - 1][0]
    worked = sum(seconds for _, seconds in ends[workers:])
    return (len(ends) - workers) / elapsed, worked / (elapsed * workers)


def clips(given: argparse.Namespace) -> None:
    """Clips without work: what the driver, the scheduler and the tables cost."""
    print("| clips | seconds | ms a clip | peak memory, MiB | starting again, seconds |\n|---|---|---|---|---|")
    for count in given.counts:
        command = [
            sys.executable,
            __file__,
            "empty",
            "--folder",
            str(given.folder / f"empty{count}"),
            "--counts",
            str(count),
        ]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1], flush=True)


def empty_clips(given: argparse.Namespace) -> None:
    """One row of the table, in a process of its own."""
    (count,) = given.counts
    shutil.rmtree(given.folder, ignore_errors=True)
    found = [Clip(f"class_{number % 100}/{number}.mp4", f"/clips/{number}.mp4") for number in range(count)]
    driver.find_clips = lambda *_: found
    settings = CorpusSettings(output=str(given.folder), write=("half",), workers=1, **WAY)
    # Empty clips have no files; what is measured is the rest.
    began = time.perf_counter()
    driver.run_corpus(["clips"], settings, work=empty)
    once = time.perf_counter() - began
    memory = peak_memory(torch.device("cpu")) / 2**20
    began = time.perf_counter()
    driver.run_corpus(["clips"], settings, work=empty)
    again = time.perf_counter() - began
    print(f"| {count} | {once:.1f} | {1000 * once / count:.2f} | {memory:.0f} | {again:.1f} |")


def machines(given: argparse.Namespace) -> None:
    """Two worker processes that share nothing but the clips, the output and a scheduler."""
    clips = make_clips(given.folder / "clips", given.clips, RATE * given.seconds, given.height, given.width)
    address = f"tcp://127.0.0.1:{given.port}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m"]
    started = [
        subprocess.Popen([*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(given.port)])
    ]
    print("| machines | clips/s |\n|---|---|")
    try:
        for count in (1, 2):
            words = [address, "--nthreads", "1", "--local-directory", str(given.folder / f"scratch{count}")]
            started.append(subprocess.Popen([*python, "distributed.cli.dask_worker", *words], env=environment))
            time.sleep(given.wait)
            output = given.folder / f"of{count}"
            shutil.rmtree(output, ignore_errors=True)
            settings = CorpusSettings(output=str(output), write=("half",), scheduler=address, **WAY)
            print(f"| {count} | {_steady_rate([str(clips)], settings, count)[0]:.3f} |", flush=True)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


WHAT = {"engine": engine, "clips": clips, "machines": machines, "empty": empty_clips}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(WHAT))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2, help="length of a clip")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000, 100_000])
    parser.add_argument("--port", type=int, default=8798)
    parser.add_argument("--wait", type=float, default=8.0, help="seconds for a worker to come")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder = given.folder.absolute()
    WHAT[given.what](given)


if __name__ == "__main__":
    main()

"""What `flowgru corpus` costs beside its work: its engine, the number of clips, and two machines.

python benchmarks/corpus.py engine --folder DIR [--rounds 5]    1 and 2 workers, against the same work in a loop
python benchmarks/corpus.py clips --folder DIR                  empty clips, 10 to 100,000: time and memory a clip
python benchmarks/corpus.py curves --json FILE --picture FILE   the rows that `clips --json FILE` has written, as curves
python benchmarks/corpus.py machines --folder DIR               two worker processes with scratch folders of their own

DIR is new, or holds what an earlier call has left. Of the engine, the processor's seconds a clip are what to look at on a
machine where other programs run, too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import psutil
import torch
from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver
from flowgru.corpus.inputs import Clip, find_clips
from flowgru.corpus.staging import begin_run
from flowgru.corpus.tasks import Outcome, Task
from flowgru.corpus.work import estimate_clip
from flowgru.data.synthetic.clip import render_clip
from flowgru.data.video.writer import VideoWriter
from flowgru.model.memory import peak_memory

RATE = 10
"""Frames a second of the generated clips."""

TITLE = "Clips without work"

WAY: dict[str, Any] = {"iterations": 2, "initial_flow": "zero", "hold": 0, "polish": False}
"""The quickest way to a flow: what is not the network's work shows most beside it."""


class Speed(NamedTuple):
    """Of a run over clips, from when each worker has loaded its network on."""

    clips_per_second: float
    at_work: float
    """Share of the time in which workers work."""
    work_seconds: float
    """Of the processor, for a clip, in who does the work."""
    driver_seconds: float
    """Likewise in the driver and all that it has started besides."""


def make_clips(given: argparse.Namespace) -> Path:
    """Generated clips, made once."""
    folder = given.folder / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    settings = SyntheticSettings(height=given.height, width=given.width)
    for index in range(given.clips):
        path = folder / f"{index:04d}.mp4"
        if path.exists():
            continue
        with VideoWriter(path, RATE) as video:
            for frame in render_clip(settings, index, RATE * given.seconds).frames:
                video.write((frame * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
    return folder


def empty(task: Task) -> Outcome:
    """A clip that takes no time."""
    return Outcome("done", digest="0" * 64, frames=1)


def engine(given: argparse.Namespace) -> None:
    """The same work, on the same clips: in a loop in this process, and by one and two workers."""
    clips, found = make_clips(given), dict[str, list[Speed]]()
    for _ in range(given.rounds):
        for workers, name in enumerate(("in a loop", "1 worker", "2 workers")):
            output = given.folder / "output"
            shutil.rmtree(output, ignore_errors=True)
            settings = CorpusSettings(
                output=str(output), write=("score", "half"), workers=workers or None, device=given.device, **WAY
            )
            speed = _by_workers(clips, settings, workers) if workers else _in_a_loop(clips, settings, given.threads)
            found.setdefault(name, []).append(speed)
    columns = ["way", "clips/s (each round)", "times the loop's clips/s (range)", "share of the time at work"]
    columns += ["processor s a clip, at work (each round)", "processor s a clip, driver"]
    said = _said(given, rounds=given.rounds, threads=f"{given.threads} in all, shared by the workers")
    table = Table("The engine beside its work", said, columns, lines=given.json)
    loop = [speed.clips_per_second for speed in found["in a loop"]]
    for name, speeds in found.items():
        rates, shares, work, beside = zip(*speeds, strict=True)
        ratios = sorted(rate / other for rate, other in zip(rates, loop, strict=True))
        times = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})"
        table.add(name, rates, times, statistics.median(shares), work, statistics.median(beside))


def _in_a_loop(clips: Path, settings: CorpusSettings, threads: int) -> Speed:
    root = Path(settings.output)
    root.mkdir(parents=True)
    run = begin_run(root)
    tasks = [
        Task(number, clip, str(root), run, settings, threads)
        for number, clip in enumerate(find_clips([str(clips)], root))
    ]
    estimate_clip(tasks.pop(0)._replace(number=-1))  # loads the network
    began, cpu = time.perf_counter(), time.process_time()
    for task in tasks:
        assert estimate_clip(task).status == "done"
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Speed(len(tasks) / seconds, 1.0, cpu / len(tasks), 0.0)


def _by_workers(clips: Path, settings: CorpusSettings, workers: int) -> Speed:
    """A run of the driver, watched where it keeps the row of a clip."""
    ends: list[tuple[float, float, float, float]] = []
    run: Any = driver._Run
    real = run._keep

    def keep(self: Any, engine: Any, clip: Clip, result: Outcome) -> None:
        real(self, engine, clip, result)
        ends.append((time.perf_counter(), result.seconds, _processor_of_children(), time.process_time()))

    run._keep = keep
    try:
        driver.run_corpus([str(clips)], settings)
    finally:
        run._keep = real
    (first, _, work_then, driver_then), (last, _, work_now, driver_now) = ends[workers - 1], ends[-1]
    done, elapsed = len(ends) - workers, last - first
    at_work = sum(min(seconds, end - first) for end, seconds, *_ in ends[workers:]) / (elapsed * workers)
    return Speed(done / elapsed, at_work, (work_now - work_then) / done, (driver_now - driver_then) / done)


def _processor_of_children() -> float:
    """Seconds of the processor in the processes that this one has started; none where others were started elsewhere."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)


def clips(given: argparse.Namespace) -> None:
    """Clips without work: what the driver, the scheduler and the tables cost."""
    columns = ["clips", "s", "ms a clip", "processor ms a clip, driver", "peak MiB of the driver"]
    columns += ["s to start again", "processor s to start again"]
    said = circumstances(torch.device("cpu"), workers=1)
    table = Table(TITLE, said, columns, lines=given.json)
    for count in given.counts:
        words = ["empty", "--folder", str(given.folder / f"empty{count}"), "--counts", str(count)]
        child = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
        table.add(*json.loads(child.stdout.splitlines()[-1]))


def empty_clips(given: argparse.Namespace) -> None:
    """The numbers of one row of the table, in a process of its own, as its last line."""
    (count,) = given.counts
    shutil.rmtree(given.folder, ignore_errors=True)
    found = [Clip(f"class_{number % 100}/{number}.mp4", f"/clips/{number}.mp4") for number in range(count)]
    driver.find_clips = lambda *_: found
    # Empty clips have no files; what is measured is the rest.
    settings = CorpusSettings(output=str(given.folder), write=("half",), workers=1, **WAY)
    seconds, cpu, memory = [], [], []
    for _ in range(2):
        began, before = time.perf_counter(), time.process_time()
        driver.run_corpus(["clips"], settings, work=empty)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - before)
        memory.append(peak_memory(torch.device("cpu")) / 2**20)
    a_clip = [1000 * seconds[0] / count, 1000 * cpu[0] / count]
    print(json.dumps([count, seconds[0], *a_clip, memory[0], seconds[1], cpu[1]]))


def curves(given: argparse.Namespace) -> None:
    """Time and memory against the number of clips, drawn from the rows of `clips`."""
    lines = map(json.loads, given.json.read_text(encoding="utf-8").splitlines())
    rows = sorted((line["row"] for line in lines if line["table"] == TITLE), key=lambda row: row["clips"])
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    counts = [row["clips"] for row in rows]
    for name, label in (("ms a clip", "all"), ("processor ms a clip, driver", "processor, driver")):
        time_axes.plot(counts, [row[name] for row in rows], marker="o", label=label)
    time_axes.set(xscale="log", yscale="log", xlabel="clips", ylabel="ms a clip")
    time_axes.legend()
    memory_axes.plot(counts, [row["peak MiB of the driver"] for row in rows], marker="o")
    memory_axes.set(xscale="log", ylim=(0, None), xlabel="clips", ylabel="peak memory of the driver, MiB")
    figure.savefig(given.picture, dpi=90)


def machines(given: argparse.Namespace) -> None:
    """Two worker processes that share nothing but the clips, the output and a scheduler."""
    clips = make_clips(given)
    address = f"tcp://127.0.0.1:{given.port}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # one thread a machine
    python = [sys.executable, "-m"]
    started = [
        subprocess.Popen([*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(given.port)])
    ]
    said = _said(given, threads="1 a machine")
    table = Table("Machines with scratch folders of their own", said, ["machines", "clips/s"], lines=given.json)
    try:
        for count in (1, 2):
            words = [address, "--nthreads", "1", "--local-directory", str(given.folder / f"scratch{count}")]
            started.append(subprocess.Popen([*python, "distributed.cli.dask_worker", *words], env=environment))
            time.sleep(given.wait)
            output = given.folder / f"of{count}"
            shutil.rmtree(output, ignore_errors=True)
            settings = CorpusSettings(
                output=str(output), write=("half",), scheduler=address, device=given.device, **WAY
            )
            table.add(count, _by_workers(clips, settings, count).clips_per_second)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def _said(given: argparse.Namespace, **more: object) -> dict[str, str]:
    """What the numbers of generated clips depend on."""
    size = f"{given.seconds} s at {RATE} frames/s, {given.height}x{given.width}"
    return circumstances(torch.device(given.device), clips=given.clips, of=size, **WAY) | {
        name: str(value) for name, value in more.items()
    }


WHAT = {"engine": engine, "clips": clips, "curves": curves, "machines": machines, "empty": empty_clips}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", choices=list(WHAT))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--picture", type=Path, help="file that `curves` draws")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2, help="length of a clip")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2, help="in which the loop and the workers take their turns")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000, 10_000, 100_000])
    parser.add_argument("--port", type=int, default=8798)
    parser.add_argument("--wait", type=float, default=8.0, help="seconds for a worker to come")
    given = parsed(parser)
    begin(given)
    if hasattr(os, "sched_setaffinity"):  # all that is started has as many cores as the loop has threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    needed = ("json", "picture") if given.what == "curves" else ("folder",)
    if missing := [f"--{name}" for name in needed if getattr(given, name) is None]:
        parser.error(f"{given.what} needs {' and '.join(missing)}")
    if given.folder is not None:
        given.folder = given.folder.absolute()
    WHAT[given.what](given)


if __name__ == "__main__":
    main()

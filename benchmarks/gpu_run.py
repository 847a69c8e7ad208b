"""Some minutes of a GPU, unattended and without network: trains, measures or compares, and ends in time.

python benchmarks/gpu_run.py --what training|benchmarks|study --minutes 10 --output gpu [--continue runs/default]

First the tests of the Triton kernels run on the GPU itself. Then
training    finds out by short trainings whether bf16 or float32 is faster, and whether the GPU should paint the pairs too,
            trains the default network from its weights, or goes on with a copy of another run (--continue), until its
            time ends with a learning rate near 0, and compares the averaged weights with the default ones on generated
            pairs that nothing was trained on;
benchmarks  takes the steps of everything.py one after the other;
study       compares update operators at the size of configs/compare.yaml, each with several seeds.

The folder gets report.md (what ran, for how long, and every table), results.jsonl (each row with its conditions), log.txt,
state.json, and a folder of the training or study. Everything is written as it goes. The same command goes on where it was
stopped; what is done already is left out. Without CUDA a small form of everything runs on the CPU: it shows that the
commands work, and its numbers mean nothing. It has not run on a GPU yet.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import torch
from everything import steps
from gpu_training import train
from session import GRACE, HERE, Session, Step

from flowgru.processes.devices import device_text
from flowgru.training.checkpoints.store import CONFIG

STUDY = ("conv_gru", "seq_conv_gru", "conv_min_gru", "conv_min_gru_no_scan")
"""Rows of configs/compare.yaml that are compared unless others are named."""

OF_ONE = {
    "config": ("training", str(HERE.parent / "configs/gpu.yaml")),
    "run": ("training", None),
    "operators": ("study", STUDY),
    "seeds": ("study", 3),
    "compile": ("benchmarks", False),
}
"""Options that one --what alone reads: which, and what they are where they are not given."""

SMALL_STUDY = [
    *("--training.data.photos", "null", "--training.data.height", "128", "--training.data.width", "128"),
    *("--training.data.num_textures", "4", "--training.validation.pairs", "1", "--training.validation.height", "128"),
    *("--training.validation.width", "128", "--training.validation.iterations", "[1]", "--training.batch_size", "1"),
    *("--training.iterations", "1", "--training.no_grad_iterations", "0", "--training.workers", "0", "--steps", "2"),
    *("--training.precision", "32", "--test.pairs", "1", "--test.height", "128", "--test.width", "128"),
    *("--iterations", "[1]", "--seeds", "[0]"),
]


def main() -> None:
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this
    with ExitStack() as stack:
        session = Session(given, stack)
        session.say(f"# {given.what}, {given.minutes:g} minutes\n\n{machine(given.device)}")
        if session.small:
            session.say(
                "No CUDA device: the small form runs on the CPU. It shows that everything works; no number counts."
            )
        quick = SimpleNamespace(device=given.device, threads=None, quick=session.small, compile=given.compile)
        parts = list(steps(quick))  # pyright: ignore[reportArgumentType]
        for step in parts:
            if step.name == "tests":
                session.do(step, 0.2 * session.left)
        if given.what == "training":
            train(session)
        elif given.what == "study":
            study(session)
        else:
            for step in parts:
                if step.name != "tests":
                    session.do(step, session.left)
        late = f", {-session.left:.0f} s late" if session.left < 0 else f", {session.left:.0f} s early"
        session.say(f"\nEnded{late}. Not done: {', '.join(session.failed) or 'nothing'}.")
    sys.exit(1 if session.failed else 0)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("training", "benchmarks", "study"), required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of this start, everything included")
    parser.add_argument("--output", type=Path, required=True, help="a new folder, or one of an earlier start")
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda")
    parser.add_argument("--config", help="of a new training; default: configs/gpu.yaml")
    parser.add_argument(
        "--continue", dest="run", type=Path, help="a run whose newest checkpoint is trained on, as a copy"
    )
    parser.add_argument("--operators", nargs="+", help=f"rows of configs/compare.yaml; default: {', '.join(STUDY)}")
    parser.add_argument("--seeds", type=int, help="trainings of each row; default: 3")
    parser.add_argument("--compile", action="store_true", default=None, help="also what is compiled")
    given = parser.parse_args()
    for name, (what, default) in OF_ONE.items():
        value = getattr(given, name)
        if value is not None and given.what != what:
            option = "continue" if name == "run" else name
            parser.error(f"--{option} is given: it is for --what {what}, and --what is {given.what}")
        setattr(given, name, default if value is None else value)
    if given.device == "auto":
        given.device = "cuda" if torch.cuda.is_available() else "cpu"
    if not 0 < given.minutes < float("inf"):
        parser.error(f"--minutes is {given.minutes}: it must be above 0, and finite")
    if given.run is not None and not (given.run / CONFIG).exists():
        parser.error(f"--continue is {given.run}: it has no {CONFIG}, name the folder of a run")
    return given


def machine(device: str) -> str:
    """What the numbers depend on."""
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = "none"
    memory = Path("/dev/shm")
    shared = f", {shutil.disk_usage(memory).total >> 20} MiB in {memory}" if memory.exists() else ""
    known = f"torch {torch.__version__}, triton {version}, Python {sys.version.split()[0]}"
    return f"{device_text(torch.device(device))}, {os.cpu_count()} CPU cores{shared}; {known}."


def study(session: Session) -> None:
    """`flowgru compare` of some rows, all with the same minutes, by which everything fits into the time."""
    given = session.given

    def choose() -> list[str]:
        rows, seeds = list(given.operators), range(given.seeds)
        if session.small:
            return ["--operators", "conv_gru,min_gru", *SMALL_STUDY]
        minutes = 0.7 * session.left / 60 / (len(rows) * len(seeds))
        named = ["--operators", ",".join(rows), "--seeds", json.dumps([*seeds])]
        return [*named, "--minutes", f"{minutes:.3f}"]

    words = session.chosen("study words", choose)
    config = ["--config", "configs/compare.yaml", "--output", str(session.folder / "study"), "--device", given.device]
    whole = ["-m", "flowgru", "compare", *config, "--regimes", '["equal_width"]', *words]
    session.do(Step("study", whole, writes_rows=False), session.left, grace=GRACE)


if __name__ == "__main__":
    main()

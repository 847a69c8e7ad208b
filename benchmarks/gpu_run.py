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
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from everything import HERE, Step, run, steps

from flowgru.benchmarking.timing import device_text
from flowgru.files.atomic import write_file
from flowgru.training.checkpoints.store import CONFIG, WEIGHTS, CheckpointStore, step_of
from flowgru.training.run_log import read_log

GRACE = 20.0
"""Seconds that a training or a study gets for saving once its time is over."""

STUDY = ("conv_gru", "seq_conv_gru", "conv_min_gru", "conv_min_gru_no_scan")
"""Rows of configs/compare.yaml that are compared unless others are named."""

PAINTING = ["--generate-on", "cuda"]
"""The option by which the GPU paints the pairs of a training."""

SMALL_TRAINING = [
    *("--data.photos", "null", "--data.height", "128", "--data.width", "128", "--data.num_textures", "4"),
    *("--data.patterns", "0", "--hold", "0"),
    *("--starts.zero", "1", "--starts.dis", "0", "--starts.dis_fast", "0", "--starts.truth", "0"),
    *("--validation.pairs", "1", "--validation.height", "128", "--validation.width", "128"),
    *("--validation.iterations", "[1]", "--validation.initial_flows", "[zero]"),
    *("--batch-size", "1", "--iterations", "1", "--no-grad-iterations", "0", "--workers", "0"),
    *("--log-every", "1", "--checkpoint-every", "1", "--steps", "4"),
]
SMALL_STUDY = [
    *("--training.data.photos", "null", "--training.data.height", "128", "--training.data.width", "128"),
    *("--training.data.num_textures", "4", "--training.validation.pairs", "1", "--training.validation.height", "128"),
    *("--training.validation.width", "128", "--training.validation.iterations", "[1]", "--training.batch_size", "1"),
    *("--training.iterations", "1", "--training.no_grad_iterations", "0", "--training.workers", "0", "--steps", "2"),
    *("--training.precision", "32", "--test.pairs", "1", "--test.height", "128", "--test.width", "128"),
    *("--iterations", "[1]", "--seeds", "[0]"),
]


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
        output = self.report if step.writes_rows or step.name == "tests" else self.log
        reason = run(step, output, self.log, min(seconds, self.left), self.folder, grace=grace)
        self.say(f"{reason or 'Done'} after {time.monotonic() - began:.0f} s.")
        if once and reason:
            self.failed.append(step.name)
        elif once:
            self.keep("done", [*self.state["done"], step.name])
        return not reason


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
    parser.add_argument("--config", default=str(HERE.parent / "configs/gpu.yaml"), help="of a new training")
    parser.add_argument(
        "--continue", dest="run", type=Path, help="a run whose newest checkpoint is trained on, as a copy"
    )
    parser.add_argument("--operators", nargs="+", default=STUDY, help="rows of configs/compare.yaml")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False)
    given = parser.parse_args()
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


def train(session: Session) -> None:
    """Trains in the folder run; a run that was continued ends some steps after its checkpoint."""
    given, folder = session.given, session.folder / "run"
    begun = CheckpointStore(folder).checkpoints() or (folder / WEIGHTS).exists()
    if given.run is not None and not begun and "training words" not in session.state:
        copy_newest(given.run, folder)
    own = folder / CONFIG if given.run is not None else Path(given.config)
    config = session.chosen("configuration", lambda: str(own.resolve()))
    words = ["-m", "flowgru", "train", "--config", config, "--output", str(folder), "--device", given.device]
    if not session.small:
        words += ["--workers", str(max(1, min(14, (os.cpu_count() or 2) - 2)))]
    reserve = 0.12 * 60 * given.minutes + GRACE
    chosen = session.chosen("training words", lambda: ending(session, config, folder, reserve))
    if session.do(Step("training", [*words, *chosen], writes_rows=False), session.left - reserve + GRACE, grace=GRACE):
        errors = [line["validation_epe_per_image"] for line in read_log(folder) if "validation_epe_per_image" in line]
        session.say(
            f"\nepe_per_image on held-out generated pairs, by set and refinements, in px: {json.dumps(errors[-1:])}."
        )
        size = ["--pairs", "1", "--height", "128", "--width", "160"] if session.small else ["--pairs", "16", "--varied"]
        models = ["default", str(folder / WEIGHTS)]
        score = Step("score", ["benchmarks/paired_models.py", *models, *size, "--device", given.device])
        session.do(score, session.left)


def copy_newest(source: Path, folder: Path) -> None:
    """A run's newest checkpoint and its configuration, in a folder of their own."""
    newest, *_ = CheckpointStore(source).checkpoints() or sys.exit(f"--continue is {source}: it has no checkpoint")
    folder.mkdir(exist_ok=True)
    shutil.copy(source / CONFIG, folder / CONFIG)
    shutil.copytree(newest, folder / newest.name)


def ending(session: Session, config: str, folder: Path, reserve: float) -> list[str]:
    """The options of `flowgru train` that let a training end in time."""
    if session.given.run is not None:
        noted = json.loads((folder / CONFIG).read_text("utf-8"))
        rate, graphs = rate_of(session, config, noted["precision"], ["--precision", noted["precision"]])
        (newest,) = CheckpointStore(folder).checkpoints()
        count = max(2, int(0.8 * (session.left - reserve) * rate))
        decay = ["--optimizer.decay_steps", str(count // 2)] if noted["optimizer"]["schedule"] == "constant" else []
        return ["--steps", str(step_of(newest) + count), *decay, *graphs]
    rates = {precision: rate_of(session, config, precision, ["--precision", precision]) for precision in ("bf16", "32")}
    fastest = max(rates, key=lambda precision: rates[precision].steps_a_second)
    words = ["--precision", fastest, *rates[fastest].graphs]
    if session.small:
        return [*words, *SMALL_TRAINING]
    painted = f"{fastest}, pairs painted on the GPU"
    painting = rate_of(session, config, painted, [*words, *PAINTING], needed=False)
    if painting.steps_a_second > rates[fastest].steps_a_second:
        words += PAINTING
    return [*words, "--minutes", f"{(session.left - reserve) / 60:.2f}"]


class Rate(NamedTuple):
    """How fast a training is, and by which option for CUDA graphs."""

    steps_a_second: float
    graphs: list[str]


def rate_of(session: Session, config: str, name: str, options: list[str], *, needed: bool = True) -> Rate:
    """That of a short training with these options; without CUDA graphs where no step is made with them.

    Without any the script ends. What is not `needed` is tried once, and its rate is 0 unless the training ends well.
    """

    def measured(graphs: list[str]) -> float:
        few = [*SMALL_TRAINING, "--steps", "2"] if session.small else ["--steps", "200", "--validation.pairs", "1"]
        device = [*options, *graphs, "--device", session.given.device]
        with tempfile.TemporaryDirectory(prefix="flowgru-") as folder:
            words = ["-m", "flowgru", "train", "--config", config, "--output", folder, *device, *few]
            probe = Step(" ".join(["probe of", name, *graphs]), words, writes_rows=False)
            ended = session.do(probe, 0.1 * 60 * session.given.minutes + 15, once=False)
            rates = [line["steps_per_second"] for line in read_log(Path(folder)) if "steps_per_second" in line]
        return statistics.median(rates[len(rates) // 3 :]) if rates and (ended or needed) else 0.0

    for graphs in ([], ["--no-cuda-graph"]) if needed else ([],):
        named = " ".join([name, *graphs])
        rate = session.chosen(f"steps a second in {named}", partial(measured, graphs))
        session.say(f"\n{named}: {rate:.3g} steps a second.")
        if rate or not needed:
            return Rate(rate, graphs)
    sys.exit(f"no step was made in {name}: see {session.folder / 'log.txt'}")


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

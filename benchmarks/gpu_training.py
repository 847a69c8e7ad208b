"""The training of a session on a GPU: how fast it is in which form, and when it has to end."""

import json
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from session import GRACE, Session, Step

from flowgru.training.checkpoints.store import CONFIG, WEIGHTS, CheckpointStore, step_of
from flowgru.training.run_log import read_log, timed_steps
from flowgru.training.step_times import usual_seconds

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
    """That of a short training with these options, by the steps whose CUDA graphs are there; without graphs where no step is
    made with them.

    Without any step the script ends. What is not `needed` is tried once, and its rate is 0 unless the training ends well.
    """

    def measured(graphs: list[str]) -> float:
        usual = ["--steps", "200", "--validation.pairs", "1", "--log-every", "1"]
        few = [*SMALL_TRAINING, "--steps", "2"] if session.small else usual
        device = [*options, *graphs, "--device", session.given.device]
        with tempfile.TemporaryDirectory(prefix="flowgru-") as folder:
            words = ["-m", "flowgru", "train", "--config", config, "--output", folder, *device, *few]
            probe = Step(" ".join(["probe of", name, *graphs]), words, writes_rows=False)
            ended = session.do(probe, 0.1 * 60 * session.given.minutes + 15, once=False)
            made = timed_steps(Path(folder))
        return 1 / usual_seconds(made[len(made) // 3 :]) if made and (ended or needed) else 0.0

    for graphs in ([], ["--no-cuda-graph"]) if needed else ([],):
        named = " ".join([name, *graphs])
        rate = session.chosen(f"steps a second in {named}", partial(measured, graphs))
        session.say(f"\n{named}: {rate:.3g} steps a second.")
        if rate or not needed:
            return Rate(rate, graphs)
    sys.exit(f"no step was made in {name}: see {session.folder / 'log.txt'}")

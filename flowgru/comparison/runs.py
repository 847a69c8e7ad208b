"""One training of a comparison and what is measured of it; each of these functions runs in a process of its own."""

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from flowgru.benchmarking.costs import peak_mib
from flowgru.comparison.errors import diverged_errors, measure_errors
from flowgru.comparison.measurements import VALIDATION, RunMeasurement
from flowgru.config import ComparisonConfig, NetworkConfig, TrainConfig
from flowgru.console import progress
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.data.sets.opening import open_dataset
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import InputFileError
from flowgru.evaluation.metrics import endpoint_error
from flowgru.model.weight_files.loading import load_model
from flowgru.training.checkpoints.store import WEIGHTS, CheckpointStore
from flowgru.training.feeding.pairs import FROM_DIS, SYNTHETIC, measured_name, started_by_dis
from flowgru.training.feeding.sampler import collate
from flowgru.training.objective import num_kinds
from flowgru.training.run import train
from flowgru.training.run_log import read_log, timed_steps
from flowgru.training.step import Diverged
from flowgru.training.step_times import seconds_of_graphs, usual_seconds

TIMED_STEPS, WARM_UP_STEPS = 16, 8


def train_and_measure(
    config: ComparisonConfig, run: TrainConfig, folder: Path, device: str, compile: bool, sets: tuple[str, ...]
) -> list[RunMeasurement]:
    """Trains, or goes on with training, and measures the errors on `sets`.

    A training that diverges is a result too: all its errors are NaN, and no mean over the other seeds hides it.
    """

    def of_run(name: str, errors: Mapping[tuple[str, int], float]) -> list[RunMeasurement]:
        return [RunMeasurement(measure, error, run.seed, name, count) for (measure, count), error in errors.items()]

    if not (folder / WEIGHTS).exists():
        try:
            train(run, str(folder), device=device, compile=compile)
        except Diverged as diverged:
            print(f"diverged: {diverged}", flush=True)
            nothing = diverged_errors(config.iterations)
            return training_curves(folder, run.seed) + [one for name in sets for one in of_run(name, nothing)]
    for checkpoint in CheckpointStore(folder).checkpoints():  # ten times as large as the model, and of no more use
        shutil.rmtree(checkpoint)
    network = load_model(folder / WEIGHTS, device)
    measured = training_curves(folder, run.seed)
    for name in sets:
        pairs, padding = measured_pairs(config, name), padding_mode(name.removesuffix(FROM_DIS))
        measured += of_run(name, measure_errors(network, pairs, config.iterations, padding))
    return measured


def training_curves(folder: Path, seed: int) -> list[RunMeasurement]:
    """What the log of the training in a folder says of each step: loss and end-point error on the training pairs, each the
    mean since the line before, and the error on the validation pairs, NaN where it was not finite."""
    curves = []
    for values in read_log(folder):
        step = values.get("step")
        for name in ("loss", "epe_per_image"):
            if isinstance(value := values.get(name), int | float) and isinstance(step, int):
                curves.append(RunMeasurement(f"training_{name}", value, seed, step=step))
        for name, errors in (values.get(VALIDATION) or {}).items():
            curves += [
                RunMeasurement(VALIDATION, math.nan if error is None else error, seed, name, int(count), step)
                for count, error in errors.items()
            ]
    return curves


def measured_sets(config: ComparisonConfig) -> tuple[str, ...]:
    """The names of all that the trained networks are measured on, and `NAME from dis` where that is from DIS's flow."""
    names = (SYNTHETIC, *config.sets) if config.test.pairs else config.sets
    return tuple(measured_name(name, start) for start in config.test.initial_flows for name in names)


def measured_pairs(config: ComparisonConfig, name: str) -> Dataset[FlowSample]:
    """The pairs of that name. InputFileError where a set is not there, RequestError for an unknown one."""
    if name.endswith(FROM_DIS):
        return started_by_dis(measured_pairs(config, name.removesuffix(FROM_DIS)), config.training)
    if name != SYNTHETIC:
        return open_dataset(name, config.training.root, (SYNTHETIC,))
    test = config.test
    settings = replace(config.training.data, seed=test.seed, height=test.height, width=test.width)
    return SyntheticPairs(settings, length=test.pairs)


def zero_error(config: ComparisonConfig, name: str) -> float:
    """epe_per_image of zero flow in pixels, over the pairs of that name."""
    data = measured_pairs(config, name.removesuffix(FROM_DIS))
    errors, num_pairs = [], len(data)  # pyright: ignore[reportArgumentType]
    with progress(f"zero flow on {name}", num_pairs, "pairs") as advance:
        for index in range(num_pairs):
            pair = collate([data[index]])
            errors.append(endpoint_error(torch.zeros_like(pair.flow), pair.flow, pair.valid))
            advance()
    error = float(torch.cat(errors).nanmean()) if errors else math.nan
    if not math.isfinite(error):
        raise InputFileError(f"{name} has no pixel with valid flow: leave it out")
    return error


def steps_in(minutes: float, run: TrainConfig, device: str, compile: bool) -> tuple[int, float]:
    """How many steps of a training take so many minutes, and how many take a second once it is under way."""
    validation = replace(run.validation, sets=(SYNTHETIC,), pairs=1, height=128, width=128, iterations=(1,))
    # On a GPU the steps are short, and CUDA graphs are recorded in many of the first ones.
    steps = WARM_UP_STEPS + TIMED_STEPS * (1 if torch.device(device).type == "cpu" else 8)
    short = replace(run, validation=validation, steps=steps, log_every=1, checkpoint_every=steps)
    with tempfile.TemporaryDirectory(prefix="flowgru-") as folder:
        train(short, folder, device=device, compile=compile)
        timed = timed_steps(Path(folder))[WARM_UP_STEPS:]
    seconds, graphs = usual_seconds(timed), seconds_of_graphs((), timed, num_kinds(run))
    return max(1, round((60 * minutes - graphs) / seconds)), 1 / seconds


def memory(config: ComparisonConfig, network: NetworkConfig, device: str) -> float:
    """MiB by which one estimation raises the peak of memory."""
    test = config.test
    return peak_mib(network, test.height, test.width, config.iterations[-1], torch.device(device))

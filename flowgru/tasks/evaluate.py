"""`flowgru evaluate`: the errors of a model, or of a baseline, on benchmark pairs with known flow."""

import csv
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flowgru.errors import InputFileError, RequestError

if TYPE_CHECKING:
    from flowgru.data.benchmarks import FlowPairs
    from flowgru.evaluation.evaluate import Estimator, Evaluation
    from flowgru.evaluation.worst import WorstPair

REPORT = "evaluation.json"
PAIRS = "pairs.csv"
WORST = "worst"


class MeasuredSet(NamedTuple):
    """A data set and what was measured on it."""

    pairs: "FlowPairs"
    evaluation: "Evaluation"
    worst: "list[WorstPair]"


def evaluate(
    data: list[str],
    root: str = "datasets",
    model: str = "default",
    iterations: int | None = None,
    warm_start: bool = False,
    baseline: Literal["dis", "farneback", "zero"] | None = None,
    static: int = 8,
    output: str | None = None,
    worst: int = 5,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Prints the errors of a model, or of a classical baseline, on benchmark pairs with known flow.

    A pair that cannot be read is left out and named at the end; the exit code is then 3.

    data: Data sets, such as chairs, sintel (both passes), sintel_clean, kitti2015, middlebury; or a manifest.csv, whose
        column `set` gives each of its groups a column of the table.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    model: default, raft_large, raft_small, or a file of weights.
    iterations: Refinements of each flow; without it the number in the model's card, else 12.
    warm_start: Start each pair at the flow of the pair before, carried along by itself, where the one begins with the
        picture that ended the other; every scene and pass starts anew.
    baseline: Measure a method without learning instead: OpenCV's DIS or Farneback, or zero flow.
    static: Also estimate the flow from the first picture to itself, for so many pairs evenly spread over each set:
        static_flow, which should be 0; 0: none.
    output: Folder that receives evaluation.json, pairs.csv with the measures of every pair, and pictures.
    worst: With --output, pictures of so many pairs of each set, those with the largest error; 0: none.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    overwrite: Replace results that are already there; without it the command refuses before any work.
    """
    if baseline is not None and (model != "default" or iterations is not None or device != "auto" or warm_start):
        raise RequestError("--baseline has no --model, --iterations, --warm-start or --device: give one or the others")
    for name, value, least in (("worst", worst, 0), ("static", static, 0), ("iterations", iterations, 1)):
        if value is not None and value < least:
            raise RequestError(f"--{name} is {value}: it must be {least} or more")
    if output == "":
        raise RequestError("--output is empty: name a folder")
    from flowgru.data.benchmarks import open_dataset
    from flowgru.tasks.outputs import make_folders
    from flowgru.tasks.progress import warn

    sets = [open_dataset(name, root) for name in dict.fromkeys(data)]
    if output is not None:
        _refuse_existing(Path(output), overwrite)
    if baseline is not None:
        estimator_for, method = _baseline(baseline)
    else:
        estimator_for, method = _network(model, iterations, warm_start, device)
    method["static_pairs"] = static
    if output is not None:
        make_folders([Path(output)])
    measured = [_measure(estimator_for(pairs.name), pairs, static, worst if output else 0) for pairs in sets]
    _print_table(method, measured)
    if output is not None:
        _write(Path(output), method, measured, overwrite)
    damaged = [line for found in measured for line in found.evaluation.damaged]
    for line in damaged:
        warn(f"error: {line}; this pair was left out")
    return InputFileError.exit_code if damaged else 0


def _refuse_existing(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--output {folder} is a file: name a folder")
    found = [name for name in (REPORT, PAIRS, WORST) if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


def _baseline(name: str) -> "tuple[Callable[[str], Estimator], dict[str, Any]]":
    from flowgru.data.classical import BASELINES, OPENCV_VERSION
    from flowgru.evaluation.evaluate import picture_estimator

    return lambda _: picture_estimator(BASELINES[name]), {"baseline": name, "opencv": OPENCV_VERSION}


def _network(
    model: str, iterations: int | None, warm_start: bool, device: str
) -> "tuple[Callable[[str], Estimator], dict[str, Any]]":
    """What makes the estimator of a data set, which pads as is usual there, and what the report says of it."""
    import torch

    from flowgru.data.layouts import padding_mode
    from flowgru.evaluation.evaluate import network_estimator
    from flowgru.model.loading import load_model
    from flowgru.tasks.flow_stream import card_iterations

    network = load_model(model, device=None if device == "auto" else device)
    refinements = card_iterations(network) if iterations is None else iterations

    def estimator_for(name: str) -> "Estimator":
        return network_estimator(network, refinements, padding=padding_mode(name), warm_start=warm_start)

    return estimator_for, {
        "model": model,
        "iterations": refinements,
        "warm_start": warm_start,
        "device": str(next(network.parameters()).device),
        "torch": torch.__version__,
    }


def _measure(estimator: "Estimator", pairs: "FlowPairs", static: int, num_worst: int) -> MeasuredSet:
    from flowgru.evaluation.evaluate import evaluate as measure
    from flowgru.evaluation.worst import WorstPairs
    from flowgru.tasks.progress import progress

    worst = WorstPairs(num_worst)
    with progress(pairs.name, len(pairs), "pairs") as advance:

        def watch(measured, sample, flow):
            worst(measured, sample, flow)
            advance()

        evaluation = measure(estimator, pairs, static_pairs=static, watch=watch, skip_damaged=True)
    return MeasuredSet(pairs, evaluation, worst.pairs)


def _print_table(method: dict[str, Any], sets: list[MeasuredSet]) -> None:
    """One column per set, or per group of a manifest, before that of the whole manifest."""
    from rich.console import Console
    from rich.table import Table

    from flowgru.evaluation.metrics import METRICS
    from flowgru.tasks.progress import say

    columns = []
    for pairs, evaluation, _ in sets:
        for group, metrics in evaluation.groups.items():
            columns.append((group, str(_group_size(evaluation, group)), pairs.flow_folder, metrics))
        damaged = f", {len(evaluation.damaged)} damaged" if evaluation.damaged else ""
        num_pairs = f"{len(evaluation.pairs)} of {pairs.num_full}{damaged}"
        columns.append((pairs.name, num_pairs, pairs.flow_folder, evaluation.metrics))
    table = Table("measure", title=", ".join(f"{name} {value}" for name, value in method.items()))
    for title, *_ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row("pairs", *(count for _, count, _, _ in columns))
    table.add_row("true flow from", *(folder for _, _, folder, _ in columns), end_section=True)
    for name in METRICS:
        values = [metrics[name] for *_, metrics in columns]
        table.add_row(f"{name} [{_unit(name)}]", *map(_cell, values))
    # A file or pipe has no width that could cut the columns.
    console = Console(markup=False, width=None if sys.stdout.isatty() else 40 * (1 + len(columns)))
    with console.capture() as capture:
        console.print(table)
    say(capture.get().rstrip("\n"))


def _cell(value: float) -> str:
    """A measure as text: - over no pixel, NaN where the estimate was not finite."""
    return f"{value:.3f}" if math.isfinite(value) else "-" if math.isnan(value) else "NaN"


def _group_size(evaluation: "Evaluation", group: str) -> int:
    return sum(pair.group == group for pair in evaluation.pairs)


def _unit(metric: str) -> str:
    return "px" if metric.startswith(("epe", "static")) else "%"


def _write(folder: Path, method: dict[str, Any], sets: list[MeasuredSet], overwrite: bool) -> None:
    """The whole report as JSON, and one line per pair as CSV.

    A measure over no pixel is null, or an empty cell; where the estimate was not finite it is the text NaN.
    """
    from flowgru.data.atomic import written_whole
    from flowgru.data.layouts import padding_mode
    from flowgru.evaluation.metrics import METRICS

    report = {"method": method, "sets": {measured.pairs.name: _set_report(*measured[:2]) for measured in sets}}
    if "model" in method:
        for name, entry in report["sets"].items():
            entry["padding"] = padding_mode(name)
    with written_whole(folder / REPORT, overwrite) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    rows = [row for measured in sets for row in measured.evaluation.pairs]
    with (
        written_whole(folder / PAIRS, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.DictWriter(file, ["pair", "set", *METRICS])
        lines.writeheader()
        lines.writerows({"pair": row.name, "set": row.group, **_stored(row.metrics)} for row in rows)
    _remove_pictures(folder / WORST)
    for measured in sets:
        _write_worst(folder / WORST / _file_name(measured.pairs.name), measured.worst)


def _set_report(pairs: "FlowPairs", evaluation: "Evaluation") -> dict[str, Any]:
    return {
        "folder": str(pairs.folder),
        "pairs": len(evaluation.pairs),
        "pairs_of_full_set": pairs.num_full,
        "true_flow_from": pairs.flow_folder,
        "damaged": evaluation.damaged,
        "metrics": _stored(evaluation.metrics),
        "groups": {
            group: {"pairs": _group_size(evaluation, group), "metrics": _stored(metrics)}
            for group, metrics in evaluation.groups.items()
        },
    }


def _remove_pictures(folder: Path) -> None:
    """Takes away the pictures of an earlier run, whichever sets it measured."""
    from flowgru.tasks.outputs import remove_empty

    for path in folder.glob("*/[0-9][0-9]*_*.png"):
        path.unlink()
    remove_empty([folder, *(path for path in folder.glob("*") if path.is_dir())])


def _write_worst(folder: Path, worst: "list[WorstPair]") -> None:
    """One picture for each pair."""
    from flowgru.data.images import write_image

    for rank, pair in enumerate(worst, start=1):
        write_image(folder / f"{rank:02}_{_file_name(pair.name)}.png", pair.picture, overwrite=True)


def _file_name(name: str) -> str:
    """A name with its slashes, and whatever else a file system may refuse, as underscores."""
    return re.sub(r"[^\w.-]+", "_", name)[-150:].lstrip(".")


def _stored(metrics: dict[str, float]) -> dict[str, float | str | None]:
    """As JSON can hold it, which knows neither NaN nor infinity."""
    return {
        name: value if math.isfinite(value) else None if math.isnan(value) else "NaN" for name, value in metrics.items()
    }

"""`flowgru evaluate`: the errors of a model, or of a baseline, on benchmark pairs with known flow."""

import csv
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowgru.errors import RequestError

if TYPE_CHECKING:
    from flowgru.data.benchmarks import FlowPairs
    from flowgru.evaluation.evaluate import Estimator, Evaluation

REPORT = "evaluation.json"
PAIRS = "pairs.csv"


def evaluate(
    data: list[str],
    root: str = "datasets",
    model: str = "default",
    iterations: int | None = None,
    baseline: Literal["dis", "farneback", "zero"] | None = None,
    output: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Prints the errors of a model, or of a classical baseline, on benchmark pairs with known flow.

    data: Data sets: chairs, sintel (both passes), sintel_clean, sintel_final, kitti2012, kitti2015, middlebury.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    model: default, raft_large, raft_small, or a file of weights.
    iterations: Refinements of each flow; without it the number in the model's card, else 12.
    baseline: Measure a method without learning instead: OpenCV's DIS or Farneback, or zero flow.
    output: Folder that receives evaluation.json and pairs.csv, the measures of every pair.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    overwrite: Replace results that are already there; without it the command refuses before any work.
    """
    from flowgru.data.benchmarks import open_dataset
    from flowgru.evaluation.evaluate import evaluate as measure
    from flowgru.tasks.outputs import make_folders
    from flowgru.tasks.progress import progress

    if baseline is not None and (model != "default" or iterations is not None or device != "auto"):
        raise RequestError("--baseline has no --model, --iterations or --device: give one or the others")
    sets = [open_dataset(name, root) for name in dict.fromkeys(data)]
    if output is not None:
        _refuse_existing(Path(output), overwrite)
        make_folders([Path(output)])
    estimator, method = _baseline(baseline) if baseline is not None else _network(model, iterations, device)

    evaluations = {}
    for pairs in sets:
        with progress(pairs.name, len(pairs)) as advance:

            def estimate(first, second, advance=advance):
                flow = estimator(first, second)
                advance()
                return flow

            evaluations[pairs.name] = measure(estimate, pairs)
    _print_table(method, sets, evaluations)
    if output is not None:
        _write(Path(output), method, sets, evaluations, overwrite)


def _refuse_existing(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--output {folder} is a file: name a folder")
    found = [name for name in (REPORT, PAIRS) if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


def _baseline(name: str) -> "tuple[Estimator, dict[str, Any]]":
    from flowgru.data.classical import BASELINES, OPENCV_VERSION
    from flowgru.evaluation.evaluate import picture_estimator

    return picture_estimator(BASELINES[name]), {"baseline": name, "opencv": OPENCV_VERSION}


def _network(model: str, iterations: int | None, device: str) -> "tuple[Estimator, dict[str, Any]]":
    import torch

    from flowgru.evaluation.evaluate import network_estimator
    from flowgru.model.loading import load_model
    from flowgru.tasks.flow_stream import card_iterations

    network = load_model(model, device=None if device == "auto" else device)
    iterations = card_iterations(network) if iterations is None else iterations
    return network_estimator(network, iterations), {
        "model": model,
        "iterations": iterations,
        "device": str(next(network.parameters()).device),
        "torch": torch.__version__,
    }


def _print_table(method: dict[str, Any], sets: "list[FlowPairs]", evaluations: "dict[str, Evaluation]") -> None:
    from rich.console import Console
    from rich.table import Table

    from flowgru.evaluation.metrics import METRICS

    table = Table("measure", title=", ".join(f"{name} {value}" for name, value in method.items()))
    for pairs in sets:
        table.add_column(pairs.name, justify="right", no_wrap=True)
    table.add_row("pairs", *(f"{len(pairs)} of {pairs.num_full}" for pairs in sets))
    table.add_row("true flow from", *(pairs.flow_folder for pairs in sets), end_section=True)
    for name in METRICS:
        values = [evaluations[pairs.name].metrics[name] for pairs in sets]
        table.add_row(f"{name} [{_unit(name)}]", *("-" if math.isnan(value) else f"{value:.3f}" for value in values))
    # A file or pipe has no width that could cut the columns.
    console = Console(markup=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)


def _unit(metric: str) -> str:
    return "px" if metric.startswith("epe") else "%"


def _write(
    folder: Path,
    method: dict[str, Any],
    sets: "list[FlowPairs]",
    evaluations: "dict[str, Evaluation]",
    overwrite: bool,
) -> None:
    """The whole report as JSON, and one line per pair as CSV; a measure over no pixel is null, or an empty cell."""
    from flowgru.data.atomic import written_whole
    from flowgru.evaluation.metrics import METRICS

    report = {
        "method": method,
        "sets": {
            pairs.name: {
                "folder": str(pairs.folder),
                "pairs": len(pairs),
                "pairs_of_full_set": pairs.num_full,
                "true_flow_from": pairs.flow_folder,
                "metrics": _without_nan(evaluations[pairs.name].metrics),
            }
            for pairs in sets
        },
    }
    with written_whole(folder / REPORT, overwrite) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    rows = [row for evaluation in evaluations.values() for row in evaluation.pairs]
    with (
        written_whole(folder / PAIRS, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.DictWriter(file, ["pair", *METRICS])
        lines.writeheader()
        lines.writerows({"pair": row.name, **_without_nan(row.metrics)} for row in rows)


def _without_nan(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}

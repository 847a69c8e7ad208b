"""What was measured on data sets, as a table on the screen and as files in a folder."""

import csv
import json
import math
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from flowgru.console import say
from flowgru.data.formats.images import write_image
from flowgru.data.sets.layouts import padding_mode
from flowgru.data.sets.opening import FlowPairs
from flowgru.errors import RequestError
from flowgru.estimation.outputs import remove_empty
from flowgru.evaluation.evaluate import Evaluation
from flowgru.evaluation.metrics import METRICS
from flowgru.evaluation.worst import WorstPair
from flowgru.files.atomic import atomic_write

REPORT = "evaluation.json"
PAIRS = "pairs.csv"
WORST = "worst"


class MeasuredSet(NamedTuple):
    """A data set and what was measured on it."""

    pairs: FlowPairs
    evaluation: Evaluation
    worst: list[WorstPair]


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """RequestError where write_results has no folder to write to, or would replace what is there without `overwrite`."""
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--output {folder} is a file: name a folder")
    found = [name for name in (REPORT, PAIRS, WORST) if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


def print_table(method: dict[str, Any], sets: list[MeasuredSet]) -> None:
    """One column per set, or per group of a manifest, before that of the whole manifest."""

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
    for name, metric in METRICS.items():
        values = [metrics[name] for *_, metrics in columns]
        table.add_row(f"{name} [{metric.unit}]", *map(_cell, values))
    # A file or pipe has no width that could cut the columns.
    console = Console(markup=False, width=None if sys.stdout.isatty() else 40 * (1 + len(columns)))
    with console.capture() as capture:
        console.print(table)
    say(capture.get().rstrip("\n"))


def _cell(value: float) -> str:
    """A measure as text: - over no pixel, NaN where the estimate was not finite."""
    return f"{value:.3f}" if math.isfinite(value) else "-" if math.isnan(value) else "NaN"


def _group_size(evaluation: Evaluation, group: str) -> int:
    return sum(pair.group == group for pair in evaluation.pairs)


def write_results(folder: Path, method: dict[str, Any], sets: list[MeasuredSet], *, overwrite: bool) -> None:
    """The whole report as JSON, which says what each measure is, and one line per pair as CSV.

    A measure over no pixel is null, or an empty cell; where the estimate was not finite it is the text NaN.
    """

    report = {
        "method": method,
        "measures": {name: metric._asdict() for name, metric in METRICS.items()},
        "sets": {measured.pairs.name: _set_report(*measured[:2]) for measured in sets},
    }
    if "model" in method:
        for name, entry in report["sets"].items():
            entry["padding"] = padding_mode(name)
    with atomic_write(folder / REPORT, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    rows = [row for measured in sets for row in measured.evaluation.pairs]
    with (
        atomic_write(folder / PAIRS, overwrite=overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.DictWriter(file, ["pair", "set", *METRICS, "initial_flow"])
        lines.writeheader()
        for row in rows:
            lines.writerow(
                {"pair": row.name, "set": row.group, **_stored(row.metrics), "initial_flow": row.initial_flow}
            )
    _remove_pictures(folder / WORST)
    for measured in sets:
        _write_worst(folder / WORST / _file_name(measured.pairs.name), measured.worst)


def _set_report(pairs: FlowPairs, evaluation: Evaluation) -> dict[str, Any]:
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
        "initial_flows": {pair.name: pair.initial_flow for pair in evaluation.pairs if pair.initial_flow},
    }


def _remove_pictures(folder: Path) -> None:
    """Takes away the pictures of an earlier run, whichever sets it measured."""

    for path in folder.glob("*/[0-9][0-9]*_*.png"):
        path.unlink()
    remove_empty([folder, *(path for path in folder.glob("*") if path.is_dir())])


def _write_worst(folder: Path, worst: list[WorstPair]) -> None:
    """One picture for each pair."""

    for rank, pair in enumerate(worst, start=1):
        write_image(folder / f"{rank:02}_{_file_name(pair.name)}.png", pair.picture, overwrite=True)


def _file_name(name: str) -> str:
    """A name with its slashes, and whatever else a file system may refuse, as underscores."""
    return re.sub(r"[^\w.-]+", "_", name)[-150:].lstrip(".")


def _stored(metrics: dict[str, float]) -> dict[str, float | str | None]:
    """The value as JSON can hold it, which knows neither NaN nor infinity."""
    return {
        name: value if math.isfinite(value) else None if math.isnan(value) else "NaN" for name, value in metrics.items()
    }

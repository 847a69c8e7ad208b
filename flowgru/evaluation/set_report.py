"""What was measured on data sets, as a table on the screen and as files in a folder."""

import csv
import io
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from flowgru.console import printable, say, say_styled, terminal_width
from flowgru.data.formats.images import write_image
from flowgru.data.sets.layouts import padding_mode
from flowgru.data.sets.opening import FlowPairs
from flowgru.errors import RequestError, value_text
from flowgru.evaluation.evaluate import Evaluation, PairErrors
from flowgru.evaluation.metrics import METRICS
from flowgru.evaluation.worst import WorstPair
from flowgru.files.atomic import write_file
from flowgru.files.json_text import json_text, parse_json
from flowgru.files.own_folders import refuse_file, refuse_link, remove_empty, remove_files

REPORT = "evaluation.json"
PAIRS = "pairs.csv"
WORST = "worst"
MAX_REPORT_BYTES = 2**28


class MeasuredSet(NamedTuple):
    """A data set and what was measured on it."""

    pairs: FlowPairs
    evaluation: Evaluation
    worst: list[WorstPair]


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """RequestError where write_results has no folder to write to, or would replace what is there without `overwrite`."""
    refuse_file(folder)
    refuse_link(folder / WORST, folder)  # pictures of an earlier run are taken away there
    found = [name for name in (REPORT, PAIRS, WORST) if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


def earlier_names(folder: Path, kind: str) -> list[str]:
    """Names of files that an earlier run in the folder has written, as its evaluation.json lists them under `kind`."""
    names = _earlier_report(folder).get(kind)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _earlier_report(folder: Path) -> dict[str, Any]:
    """What the evaluation.json of an earlier run says; nothing where there is none."""
    path = folder / REPORT
    try:
        if path.is_symlink() or path.stat().st_size > MAX_REPORT_BYTES:
            return {}
        report = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


class SetColumn(NamedTuple):
    """A set, or a group of one, as a column of the table."""

    title: str
    num_pairs: str
    flow_folder: str
    metrics: dict[str, float]


def print_table(method: dict[str, Any], sets: list[MeasuredSet]) -> None:
    """One column per set, or per group of a manifest, before that of the whole manifest."""
    say(", ".join(f"{name} {value_text(value)}" for name, value in method.items()))
    if sets:
        say_columns(table_columns(sets), num_heads=2)


def table_columns(sets: Sequence[MeasuredSet]) -> list[list[str]]:
    """The table as columns of cells, each with its title first: the measures, and then one for each set or group."""
    rows = [
        ["measure", *(f"{name} [{metric.unit}]" for name, metric in METRICS.items())],
        *([column.title, *(_cell(column.metrics[name]) for name in METRICS)] for column in _columns(sets)),
    ]
    heads = [["pairs", "true flow from"], *([column.num_pairs, column.flow_folder] for column in _columns(sets))]
    return [[row[0], *head, *row[1:]] for row, head in zip(rows, heads, strict=True)]


def say_columns(columns: list[list[str]], num_heads: int = 0) -> None:
    """Prints columns of cells, each with its title first, beside each other; a line stands below so many rows.

    No cell is ever cut: where the terminal is too narrow for all columns, further tables follow below, each with the first
    column. What is no terminal has no width.
    """
    for shown in _fitting(columns[0], columns[1:], terminal_width(sys.stdout)):
        say_styled(_table([columns[0], *shown], num_heads))


def _columns(sets: Sequence[MeasuredSet]) -> list[SetColumn]:
    columns = []
    for pairs, evaluation, _ in sets:
        for group, metrics in evaluation.groups.items():
            listed = [pair for pair in pairs.pairs if pair.set == group]
            num, folder = _counts(_group_size(evaluation, group), len(listed)), pairs.flow_folder_of(listed)
            columns.append(SetColumn(printable(group), num, printable(folder), metrics))
        num_listed = len(evaluation.pairs) + len(evaluation.left_out)
        counts = _counts(_num_measured(evaluation.pairs), num_listed, pairs.num_full)
        columns.append(SetColumn(printable(pairs.label), counts, printable(pairs.flow_folder), evaluation.metrics))
    return columns


def _counts(num_measured: int, num_listed: int, num_full: int | None = None) -> str:
    """How many pairs were measured of how many, and how many were left out: damaged, or without a flow to measure."""
    left_out = f", {num_listed - num_measured} left out" if num_listed > num_measured else ""
    return f"{num_measured} of {num_listed if num_full is None else num_full}{left_out}"


def _fitting(first: list[str], others: list[list[str]], room: int | None) -> list[list[list[str]]]:
    """The columns in groups, each of which fits beside the first column into so many characters; one at least."""
    groups: list[list[list[str]]] = [[]]
    for column in others:
        needed = sum(_width(each) + 3 for each in [first, *groups[-1], column]) + 1
        if groups[-1] and room is not None and needed > room:
            groups.append([])
        groups[-1].append(column)
    return groups


def _width(column: list[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, column))


def _table(columns: list[list[str]], num_heads: int) -> str:
    """The columns beside each other, each as wide as it needs."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column[0], justify="right" if index else "left", no_wrap=True, overflow="ignore")
    for number, row in enumerate(zip(*(column[1:] for column in columns), strict=True)):
        table.add_row(*row, end_section=number == num_heads - 1)
    console = Console(markup=False, width=sum(_width(column) + 3 for column in columns) + 1)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")


def _cell(value: float) -> str:
    """A measure as text: - over no pixel, NaN where the estimate was not finite."""
    return f"{value:.3f}" if math.isfinite(value) else "-" if math.isnan(value) else "NaN"


def _group_size(evaluation: Evaluation, group: str) -> int:
    return _num_measured(pair for pair in evaluation.pairs if pair.group == group)


def _without_valid_pixels(evaluation: Evaluation) -> list[str]:
    """One line for each pair in which no true flow is known."""
    return [f"{pair.name} has no pixel with valid flow" for pair in evaluation.pairs if not _num_measured([pair])]


def _num_measured(pairs: Iterable[PairErrors]) -> int:
    """Pairs with a valid pixel: without one, a pair is in no error over such pixels. One whose flow is not finite is."""
    return sum(not math.isnan(pair.metrics["inlier_1px"]) for pair in pairs)


def write_results(
    folder: Path,
    method: dict[str, Any],
    sets: list[MeasuredSet],
    *,
    further: Mapping[str, Any] = MappingProxyType({}),
    overwrite: bool,
) -> None:
    """Writes evaluation.json, which says what each measure is, pairs.csv, and the pictures of the worst pairs.

    `further` are measures besides the errors, as JSON can hold them. Pictures that an earlier evaluation.json lists are
    taken away.

    A measure over no pixel is null, or an empty cell; where the estimate was not finite it is the text NaN.
    """
    pictures = dict(_pictures(sets))
    report = {
        "method": method,
        "measures": {name: metric._asdict() for name, metric in METRICS.items()},
        "sets": {measured.pairs.label: _set_report(*measured[:2]) for measured in sets},
        "pictures": [*pictures],
        **further,
    }
    if "model" in method:
        for measured in sets:
            report["sets"][measured.pairs.label]["padding"] = padding_mode(measured.pairs.name)
    _remove_pictures(folder)  # before the numbers are new, so that none of them stands beside an old picture
    write_file(folder / REPORT, json_text(report) + "\n", overwrite)
    write_file(folder / PAIRS, _pairs_csv(sets), overwrite)
    for name, picture in pictures.items():
        refuse_link((folder / name).parent, folder)
        write_image(folder / name, picture, overwrite=True)


def _pairs_csv(sets: Sequence[MeasuredSet]) -> str:
    """A line for each pair; a manifest's own columns follow ours, but for those that have a name of ours."""
    rows = [row for measured in sets for row in measured.evaluation.pairs]
    columns = ["pair", "set", *METRICS, "initial_flow"]
    others = dict.fromkeys(name for row in rows for name in row.others if name and name not in columns)
    file = io.StringIO(newline="")
    lines = csv.DictWriter(file, [*columns, *others], extrasaction="ignore")
    lines.writeheader()
    for row in rows:
        ours = {"pair": row.name, "set": row.group, **_stored(row.metrics), "initial_flow": row.initial_flow}
        lines.writerow({**row.others, **ours})
    return file.getvalue()


def _set_report(pairs: FlowPairs, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "folder": _short(pairs.folder),
        "pairs": _num_measured(evaluation.pairs),
        "pairs_of_full_set": pairs.num_full,
        "true_flow_from": pairs.flow_folder,
        "left_out": [*evaluation.left_out, *_without_valid_pixels(evaluation)],
        "metrics": _stored(evaluation.metrics),
        "groups": {
            group: {"pairs": _group_size(evaluation, group), "metrics": _stored(metrics)}
            for group, metrics in evaluation.groups.items()
        },
        "initial_flows": {pair.name: pair.initial_flow for pair in evaluation.pairs if pair.initial_flow},
    }


def _short(folder: Path) -> str:
    """A folder from where the command runs, if it lies there."""
    absolute, here = folder.absolute(), Path.cwd()
    return absolute.relative_to(here).as_posix() if absolute.is_relative_to(here) else str(folder)


def _pictures(sets: Sequence[MeasuredSet]) -> Iterator[tuple[str, np.ndarray]]:
    """The name of each picture of a worst pair, and the picture."""
    for pairs, _, worst in sets:
        for rank, pair in enumerate(worst, start=1):
            yield f"{WORST}/{_file_name(pairs.label)}/{rank:02}_{_file_name(pair.name)}.png", pair.picture


def _earlier_pictures(folder: Path) -> list[str]:
    """The pictures that an earlier run has written; one of before they were listed named them so, in its sets' folders."""
    report = _earlier_report(folder)
    if "pictures" in report:
        return earlier_names(folder, "pictures")
    sets = report.get("sets") if "method" in report else None
    places = [Path(WORST, _file_name(str(label))) for label in sets] if isinstance(sets, dict) else []
    return [(place / path.name).as_posix() for place in places for path in (folder / place).glob("[0-9][0-9]*_*.png")]


def _remove_pictures(folder: Path) -> None:
    """Takes away the pictures of an earlier run, and the folders that are empty then."""
    names = map(PurePosixPath, _earlier_pictures(folder))
    pictures = [
        folder / name for name in names if len(name.parts) == 3 and name.parts[0] == WORST and ".." not in name.parts
    ]
    pictures = [path for path in pictures if not path.parent.is_symlink()]
    remove_files(pictures)
    remove_empty([folder / WORST, *{path.parent for path in pictures}] if pictures else [])


def _file_name(name: str) -> str:
    """A name with its slashes, and whatever else a file system may refuse, as underscores."""
    shown = re.sub(r"[^\w.-]+", "_", name).encode("utf-8", "replace")[-150:]
    return shown.decode("utf-8", "ignore").lstrip(".") or "_"


def _stored(metrics: dict[str, float]) -> dict[str, float | str | None]:
    """The value as JSON can hold it, which knows neither NaN nor infinity."""
    return {
        name: value if math.isfinite(value) else None if math.isnan(value) else "NaN" for name, value in metrics.items()
    }

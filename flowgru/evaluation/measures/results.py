"""The further measures as tables on the screen and as files in a folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowgru.console import printable, say, warn
from flowgru.errors import RequestError
from flowgru.evaluation.measures.sections import MeasuredTable, Section, Value, shown, stored
from flowgru.evaluation.set_report import earlier_names, say_columns
from flowgru.files.atomic import write_file

PICTURE = "corruptions.svg"
PAGE = "report.html"
FILES = {
    "--corruptions": ("corruptions.csv", "corruptions_by_set.csv", PICTURE),
    "--trust": ("trust.csv", "trust_bins.csv"),
    "--temporal": ("temporal.csv", "still.csv"),
    "--reach": ("reach.csv", "reach_sizes.csv"),
    "--time": ("time.csv",),
    "--report": (PAGE,),
}
"""What each option writes."""


def refuse_existing(folder: Path, asked: Sequence[str], *, overwrite: bool) -> None:
    """RequestError where a file lies in the folder that these options write, and which may not be replaced."""
    found = [name for option in asked for name in FILES[option] if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


def earlier_files(folder: Path) -> list[Path]:
    """The files of further measures that an earlier run in the folder has written, as its evaluation.json says."""
    names = earlier_names(folder, "further_files")
    return [folder / name for options in FILES.values() for name in options if name in names]


def print_sections(sections: Sequence[Section]) -> None:
    """Each measure under its title; what could not be measured goes to stderr."""
    for section in sections:
        for measured in section.tables:
            if measured.shown and measured.rows:
                say(f"\n{section.title}: {measured.says}")
                say_columns(_columns(measured))
        for note in section.notes:
            warn(note)


def _columns(measured: MeasuredTable) -> list[list[str]]:
    """The table as columns of cells; of more columns than rows, as in a table of conditions, rows become columns."""
    titles = [column.title for column in measured.columns]
    rows = [[printable(shown(value)) for value in row] for row in measured.rows]
    if len(titles) > 8 and len(rows) < len(titles):
        return [titles, *rows]
    return [[title, *(row[place] for row in rows)] for place, title in enumerate(titles)]


def write_sections(folder: Path, sections: Sequence[Section], *, overwrite: bool) -> None:
    """One CSV for each table, and the picture of the corruptions."""
    for section in sections:
        for measured in section.tables:
            if measured.rows:
                write_file(folder / f"{measured.name}.csv", _csv(measured), overwrite)
        if section.option == "--corruptions":
            for chart in section.charts:
                if (svg := chart_svg(chart)) is not None:
                    write_file(folder / PICTURE, svg, overwrite)


def chart_svg(chart: Any) -> str | None:
    """The chart as SVG; None, with a line on stderr, where matplotlib is not installed."""
    try:
        from flowgru.view.report.named_lines import NamedLine, line_chart
    except ImportError:
        warn(f"without matplotlib there is no chart of {chart.title!r}: pip install flowgru[report]")
        return None
    return line_chart([NamedLine(*curve) for curve in chart.curves], chart.x_label, chart.y_label, chart.ticks)


def sections_report(sections: Sequence[Section], asked: Sequence[str]) -> dict[str, Any]:
    """What evaluation.json says of the further measures: each table that is shown, row by row, the notes, and the files."""
    measures = {section.option.removeprefix("--"): _said(section) for section in sections}
    files = [name for option in asked for name in FILES[option]]
    return {"further_measures": measures, "further_files": files} if asked else {}


def _said(section: Section) -> dict[str, Any]:
    shown_tables = (measured for measured in section.tables if measured.shown)
    tables = {measured.name: [_row(measured, row) for row in measured.rows] for measured in shown_tables}
    return {**tables, "notes": list(section.notes)} if section.notes else tables


def _row(measured: MeasuredTable, row: Sequence[Value]) -> dict[str, Any]:
    cells = [stored(value) for value in row]
    return {column.name: None if cell == "" else cell for column, cell in zip(measured.columns, cells, strict=True)}


def _csv(measured: MeasuredTable) -> str:
    file = io.StringIO(newline="")
    lines = csv.writer(file)
    lines.writerow([column.name for column in measured.columns])
    lines.writerows([stored(value) for value in row] for row in measured.rows)
    return file.getvalue()

"""The further measures as tables on the screen and as files in a folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowgru.console import printable, say, warn
from flowgru.errors import MachineError, RequestError
from flowgru.evaluation.measures.sections import MeasuredTable, Section, Value, shown, stored
from flowgru.evaluation.set_report import say_columns
from flowgru.files.atomic import write_file

TABLES = (
    "corruptions",
    "corruptions_by_set",
    "trust",
    "trust_bins",
    "temporal",
    "still",
    "reach",
    "reach_sizes",
    "time",
)
"""Names of all tables that there may be; each has a file of that name."""
PICTURE = "corruptions.svg"
PAGE = "report.html"
FILES = (*(f"{name}.csv" for name in TABLES), PICTURE, PAGE)


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """RequestError where results of an earlier run lie in the folder, which may not be replaced."""
    found = [name for name in FILES if (folder / name).exists()]
    if found and not overwrite:
        raise RequestError(f"{folder} already holds {' and '.join(found)}: give --overwrite or another --output")


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
    """One CSV for each table, and the picture of the corruptions; those of an earlier run are taken away first."""
    remove_earlier(folder, overwrite=overwrite)
    for section in sections:
        for measured in section.tables:
            if measured.rows:
                write_file(folder / f"{measured.name}.csv", _csv(measured), overwrite)
        if section.option == "--corruptions":
            for chart in section.charts:
                if (svg := chart_svg(chart)) is not None:
                    write_file(folder / PICTURE, svg, overwrite)


def remove_earlier(folder: Path, *, overwrite: bool) -> None:
    """Takes away the further measures of an earlier run, which would be taken for those of this one."""
    if not overwrite:
        return
    for name in FILES:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(f"cannot remove {folder / name}: {error.strerror or error}") from error


def chart_svg(chart: Any) -> str | None:
    """The chart as SVG; None, with a line on stderr, where matplotlib is not installed."""
    try:
        from flowgru.view.report.named_lines import NamedLine, line_chart
    except ImportError:
        warn(f"without matplotlib there is no chart of {chart.title!r}: pip install flowgru[report]")
        return None
    return line_chart([NamedLine(*curve) for curve in chart.curves], chart.x_label, chart.y_label, chart.ticks)


def sections_report(sections: Sequence[Section]) -> dict[str, Any]:
    """What evaluation.json says of the further measures: each table that is shown, row by row, and the notes."""
    return {
        section.option.removeprefix("--"): {
            **{
                measured.name: [_row(measured, row) for row in measured.rows]
                for measured in section.tables
                if measured.shown
            },
            **({"notes": list(section.notes)} if section.notes else {}),
        }
        for section in sections
    }


def _row(measured: MeasuredTable, row: Sequence[Value]) -> dict[str, Any]:
    cells = [stored(value) for value in row]
    return {column.name: None if cell == "" else cell for column, cell in zip(measured.columns, cells, strict=True)}


def _csv(measured: MeasuredTable) -> str:
    file = io.StringIO(newline="")
    lines = csv.writer(file)
    lines.writerow([column.name for column in measured.columns])
    lines.writerows([stored(value) for value in row] for row in measured.rows)
    return file.getvalue()

"""The report of an evaluation: one page with the errors, every further measure, and the pairs with the largest errors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowgru.data.formats.images import encoded_png
from flowgru.evaluation.measures.results import PAGE, chart_svg
from flowgru.evaluation.measures.sections import Chart, MeasuredTable, Section, shown
from flowgru.evaluation.metrics import METRICS
from flowgru.evaluation.set_report import MeasuredSet, table_columns
from flowgru.files.atomic import write_file
from flowgru.view.report.html import definitions, details, element, figure, page, picture, table

WIDEST_PICTURE = 1400
"""Pixels; a wider picture of a pair is on the page at a part of its size, and whole in the folder."""
NO_ERRORS = "No true flow is known of this data, so there are no errors."


def write_page(
    folder: Path, method: dict[str, Any], sets: Sequence[MeasuredSet], sections: Sequence[Section], *, overwrite: bool
) -> None:
    """Writes report.html. MachineError if the disk refuses."""
    text = page("Optical flow measured", _parts(method, sets, sections))
    write_file(folder / PAGE, text, overwrite)


def _parts(method: dict[str, Any], sets: Sequence[MeasuredSet], sections: Sequence[Section]) -> Iterator[str]:
    yield element("h3", "What was measured")
    yield definitions((name, str(value)) for name, value in method.items())
    yield element("h2", "Errors")
    if sets:
        yield _errors(sets)
    else:
        yield element("p", NO_ERRORS)
    for section in sections:
        yield element("h2", section.title)
        yield from _section(section)
    if any(measured.worst for measured in sets):
        yield element("h2", "The pairs with the largest errors")
        yield from _worst(sets)


def _errors(sets: Sequence[MeasuredSet]) -> str:
    (first, *columns) = table_columns(sets)
    rows = list(zip(first[1:], *(column[1:] for column in columns), strict=True))
    meanings = details("What the measures are", [definitions((name, metric.says) for name, metric in METRICS.items())])
    return table("Each measure by its name, for each data set.", [first[0], *(c[0] for c in columns)], rows) + meanings


def _section(section: Section) -> Iterator[str]:
    for note in section.notes:
        yield element("p", note, "notice")
    for measured in section.tables:
        if measured.shown and measured.rows:
            yield _table(measured)
    for chart in section.charts:
        if chart.curves:
            yield _chart(chart)


def _table(measured: MeasuredTable) -> str:
    rows = [list(map(shown, row)) for row in measured.rows]
    header = [column.title for column in measured.columns]
    return element("p", measured.says) + table(f"These numbers are in {measured.name}.csv.", header, rows)


def _chart(chart: Chart) -> str:
    svg = chart_svg(chart)
    return "" if svg is None else figure(svg, chart.title, f"{chart.title}.")


def _worst(sets: Sequence[MeasuredSet]) -> Iterator[str]:
    for measured in sets:
        for pair in measured.worst:
            shrunk = _shrunk(pair.picture)
            text = f"{pair.name}: mean end-point error {shown(pair.error)} px"
            yield picture(encoded_png(shrunk), text, f"{text}.")


def _shrunk(rgb: np.ndarray) -> np.ndarray:
    """The picture in every n-th pixel of means over n x n, so that it is not wider than the page shows."""
    factor = -(-rgb.shape[1] // WIDEST_PICTURE)
    if factor == 1:
        return rgb
    height, width = (side // factor * factor for side in rgb.shape[:2])
    blocks = rgb[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)

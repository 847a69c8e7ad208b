"""Charts show whatever there is to show, be it one point, and the page says so where there is nothing."""

import base64
import math
import re
from pathlib import Path

import numpy as np
import pytest
from comparisons import ROWS, write_comparison

from flowgru.comparison.measurements import read_measurements, write_measurements
from flowgru.comparison.report.page import write_report
from flowgru.view.report.charts import Line, curve_panels, front_chart, iteration_lines, styles
from flowgru.view.report.named_lines import NamedLine, line_chart


def marks(svg: str, colour: str) -> int:
    """How many marks of that colour are drawn; a band has no outline."""
    return len(re.findall(rf'<use [^>]*style="fill: {colour}; stroke: {colour}', svg))


@pytest.mark.parametrize("values", [[3.0], [3.0, 2.0], [math.nan, 2.0, math.nan], [3.0, math.nan, 2.0]])
def test_a_curve_of_few_points_is_seen(values):
    looks = styles(["row"])
    steps = [float(step) for step in range(1, len(values) + 1)]
    svg = curve_panels([Line("row", steps, values, values, values)], looks, "step", "error")
    assert marks(svg, looks["row"]["color"]) == sum(map(math.isfinite, values))


def test_a_long_curve_needs_no_marks():
    values = list(np.linspace(4, 2, 30))
    svg = curve_panels([Line("row", list(range(30)), values, values, values)], styles(["row"]), "step", "error")
    assert not marks(svg, "#0060a8") and "stroke: #0060a8" in svg


def test_a_line_of_one_number_of_refinements_is_seen():
    svg = iteration_lines([Line("row", [6.0], [2.0], [2.0], [2.0])], styles(["row"]), 6, "refinements", "error")
    assert marks(svg, "#0060a8") >= 1


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    lines = [Line(name, [6.0], [2.0], [2.0], [2.0]) for name in ("_base", "gru")]
    looks = styles(["_base", "gru"])
    assert iteration_lines(lines, looks, 6, "refinements", "error").count("_base") == 1
    assert front_chart(lines, looks, ["gru"], "cost", "error").count("_base") == 1
    assert line_chart([NamedLine(line.name, line.x, line.y) for line in lines], "x", "y").count("_base") == 1


def page(folder: Path, change) -> str:
    write_comparison(
        folder, rows=("conv_gru", "conv_min_gru"), regimes=("equal_width",), sets=("synthetic",), seeds=(0,)
    )
    path = folder / "measurements.csv"
    write_measurements(path, [new for one in read_measurements(path) if (new := change(one)) is not None])
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


def test_a_comparison_of_one_line_of_log_has_a_chart_with_its_points(tmp_path):
    text = page(tmp_path, lambda one: None if one.step is not None and one.step != 50 else one)
    (data,) = re.findall(r'alt="Training curves of 2 rows" src="data:image/svg\+xml;base64,([^"]*)"', text)
    chart = base64.b64decode(data).decode()
    assert marks(chart, "#0060a8") == marks(chart, "#d1495b") == 1


def test_where_everything_diverged_the_page_says_so_and_has_no_empty_axes(tmp_path):
    lost = ("training_epe_per_image", "epe_per_image")
    text = page(tmp_path, lambda one: one._replace(value=math.nan) if one.measure in lost else one)
    assert "There is no training curve" in text and "No row has a finite error on synthetic yet." in text
    assert "Training curves of" not in text and "after different numbers of refinements" not in text


def test_a_seed_that_diverged_before_its_first_line_of_log_leaves_no_curve(tmp_path, monkeypatch):
    """A mean of the other seeds would show a training that went well."""
    write_comparison(tmp_path, rows=("conv_gru", "conv_min_gru"), regimes=("equal_width",), sets=("synthetic",))
    path, drawn = tmp_path / "measurements.csv", []
    changed = []
    for one in read_measurements(path):
        is_lost = one.row == "conv_gru" and one.seed == 1
        if is_lost and one.measure == "training_epe_per_image":
            continue
        changed.append(one._replace(value=math.nan) if is_lost and one.measure == "epe_per_image" else one)
    write_measurements(path, changed)

    def panels(lines, *rest):
        drawn.extend(lines)
        return "<svg></svg>"

    monkeypatch.setattr("flowgru.comparison.report.sections.curve_panels", panels)
    write_report(tmp_path)
    means = {line.name: line.y for line in drawn}
    assert all(map(math.isnan, means["conv_gru"])) and all(map(math.isfinite, means["conv_min_gru"]))


def test_thirteen_rows_look_different():
    looks = styles(ROWS)
    assert len({(look["color"], look["dashes"]) for look in looks.values()}) == len(ROWS)
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == len(ROWS)

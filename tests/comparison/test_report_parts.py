"""The report says where the error is, how rows differ after every number of refinements, and what they are at equal time."""

import json
import math
from pathlib import Path

import pytest
from comparisons import ITERATIONS, write_comparison
from test_report import TWO, cells

from flowgru.comparison.measurements import Measurement, read_measurements, write_measurements
from flowgru.comparison.record import ABOUT
from flowgru.comparison.report.page import write_report
from flowgru.comparison.report.text import estimate_text
from flowgru.comparison.results import read_results
from flowgru.comparison.statistics import mean_interval

ERRORS = {"conv_gru": (3.0, 3.5, 4.1), "conv_min_gru": (2.0, 2.4, 3.2)}
"""By the seed."""


def page_with(folder: Path, *more: Measurement) -> str:
    write_comparison(folder, rows=TWO, regimes=("equal_width",), sets=("synthetic",))
    measured = [one for one in read_measurements(folder / "measurements.csv") if one.measure != "ms_per_training_step"]
    write_measurements(folder / "measurements.csv", [*measured, *more])
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


def of_parts(measure: str, factor: float) -> list[Measurement]:
    return [
        Measurement("equal_width", row, seed, measure, "synthetic", count, None, factor * error / count)
        for row, errors in ERRORS.items()
        for seed, error in enumerate(errors)
        for count in ITERATIONS
    ]


def test_the_error_of_each_part_stands_beside_the_others(tmp_path):
    page = page_with(tmp_path, *of_parts("epe_s40_plus", 12.0), *of_parts("epe_untextured_64", 24.0))
    table = cells(page, "EPE [px] after 12 refinements, pooled")
    assert table["row"] == ["true flow of 40 px or more", "without texture, 64 px or more from an edge"]
    for row, errors in ERRORS.items():
        assert table[row] == [str(estimate_text(mean_interval([f * e for e in errors]))) for f in (1.0, 2.0)]


def test_rows_are_compared_after_every_number_of_refinements(tmp_path):
    page = page_with(tmp_path, *of_parts("epe_untextured_64", 1.0))
    table = cells(page, "Differences in EPE, without texture, 64 px or more from an edge [px]")
    assert table["rows"] == [str(count) for count in ITERATIONS] and list(table) == ["rows", "conv_min_gru − conv_gru"]
    differences = [b - a for a, b in zip(*ERRORS.values(), strict=True)]
    for count, cell in zip(ITERATIONS, table["conv_min_gru − conv_gru"], strict=True):
        mean, half, _ = estimate_text(mean_interval([each / count for each in differences]), "+")
        assert cell == mean + half  # below each other
    assert "conv_min_gru − conv_gru" in cells(page, "Differences in EPE per image [px]")
    assert page.count('<td class="less">') >= len(ITERATIONS) and "\ntd.less {" in page.partition("<body>")[0]


def test_a_comparison_without_parts_or_curves_has_a_page_as_before(tmp_path):
    page = page_with(tmp_path)
    assert "Where the error is" not in page and "At equal time" not in page


def test_learning_curves_are_read_at_the_time_of_half_of_the_slowest_training(tmp_path):
    def curve(row: str, milliseconds: float, *values: float) -> list[Measurement]:
        time = Measurement("equal_width", row, None, "ms_per_training_step", "", None, None, milliseconds)
        steps = zip((100, 200, 300, 400), values, strict=True)
        return [time] + [
            Measurement("equal_width", row, seed, "validation_epe_per_image", "synthetic", 4, step, value + seed)
            for step, value in steps
            for seed in (0, 1, 2)
        ]

    page = page_with(
        tmp_path, *curve("conv_gru", 2000.0, 9.0, 8.0, 5.0, 4.0), *curve("conv_min_gru", 1600.0, 9.0, 7.0, 3.0, 2.0)
    )
    table = cells(page, "The error on the validation pairs at the time")
    assert table["row"][2] == "EPE per image on synthetic, 4 refinements [px]"
    half = str(estimate_text(mean_interval([0.0, 1.0, 2.0]))).split(" ", 1)[1]
    # 800 s are half of the slowest row's: 200 steps of 2 s, or 250 of 1.6 s, midway between two validations.
    assert table["conv_gru"] == ["2,000", "200", f"9.0 {half}"] and table["conv_min_gru"] == [
        "1,600",
        "250",
        f"6.0 {half}",
    ]

    fast = page_with(
        tmp_path / "fast",
        *curve("conv_gru", 2000.0, 9.0, 8.0, 5.0, 4.0),
        *curve("conv_min_gru", 100.0, 9.0, 7.0, 3.0, 2.0),
    )
    assert cells(fast, "The error on the validation pairs")["conv_min_gru"][1:] == ["400", f"3.0 {half}"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_seed_that_diverged_is_told_at_equal_time_too_and_decides_no_time(tmp_path, seeds):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",), sets=("synthetic",))
    measured = read_measurements(tmp_path / "measurements.csv")
    measured = [
        one._replace(value=math.nan)
        if (one.row, one.measure) == ("conv_gru", "epe_per_image") and one.seed in seeds
        else one
        for one in measured
        if one.measure != "ms_per_training_step"
    ]
    lines = [Measurement("equal_width", row, None, "ms_per_training_step", "", None, None, 10.0) for row in TWO] + [
        Measurement("equal_width", row, seed, "validation_epe_per_image", "synthetic", 4, step, 2.0)
        for row in TWO
        for seed in (0, 1, 2)
        for step in ((100,) if row == "conv_gru" and seed in seeds else (100, 200, 400))
    ]
    write_measurements(tmp_path / "measurements.csv", [*measured, *lines])
    write_report(tmp_path)
    table = cells((tmp_path / "report.html").read_text("utf-8"), "The error on the validation pairs")
    assert f"diverged in {len(seeds)} of 3" in table["conv_gru"][2]
    assert table["conv_gru"][1] == ("–" if len(seeds) == 3 else "200") and table["conv_min_gru"][1] == "200"


@pytest.mark.parametrize("missing", ["conv_gru", "conv_min_gru"])
def test_a_row_whose_time_is_not_known_has_no_error_at_equal_time(tmp_path, missing):
    lines = [
        Measurement("equal_width", row, 0, "validation_epe_per_image", "synthetic", 4, 100, 2.0) for row in TWO
    ] + [
        Measurement("equal_width", row, None, "ms_per_training_step", "", None, None, 5.0)
        for row in TWO
        if row != missing
    ]
    table = cells(page_with(tmp_path, *lines), "The error on the validation pairs")
    assert table[missing] == ["–", "–", "–"]


def test_seeds_of_an_earlier_call_count_as_well(tmp_path):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",), sets=("synthetic",))
    about = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    about["config"]["seeds"] = [7]
    (tmp_path / "comparison.json").write_text(json.dumps(about), "utf-8")
    assert read_results(tmp_path).seeds == [0, 1, 2, 7]


def test_of_rows_without_times_nothing_is_said(tmp_path):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",), unmeasured=((TWO[1], None),))
    about = json.loads((tmp_path / ABOUT).read_text())
    about["machine"]["device"] = about["rows"]["equal_width"][TWO[0]]["timed_on"] = "this one"
    (tmp_path / ABOUT).write_text(json.dumps(about))
    write_report(tmp_path)
    assert "taken on" not in (tmp_path / "report.html").read_text("utf-8")


def test_times_on_other_threads_say_so(tmp_path):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",))
    about = json.loads((tmp_path / ABOUT).read_text())
    about["machine"] |= {"device": "one", "threads": 1, "torch": "1"}
    for row, threads in zip(TWO, ("2 threads", "1 thread"), strict=True):
        about["rows"]["equal_width"][row] |= {"timed_on": "one", "timed_with": f"{threads}, torch 1"}
    (tmp_path / ABOUT).write_text(json.dumps(about))
    write_report(tmp_path)
    said = f"of {TWO[0]} at equal width taken on one with 2 threads, torch 1; of {TWO[1]} at equal width"
    assert said in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("with_threads", [False, True])
def test_times_of_another_machine_say_whose_they_are(tmp_path, with_threads):
    """Times may have been taken on another machine than the comparison ran on last, and those of a few rows taken anew."""
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",))
    about = json.loads((tmp_path / ABOUT).read_text())
    about["machine"]["device"] = "this one"
    rows = about["rows"]["equal_width"]
    for row in rows:
        rows[row] = {**rows[row], "timed_on": "this one"} | (
            {"timed_with": "2 threads, torch 1"} if with_threads else {}
        )
    about["machine"] |= {"threads": 2, "torch": "1"}
    (tmp_path / ABOUT).write_text(json.dumps(about))
    write_report(tmp_path)
    assert "taken on" not in (tmp_path / "report.html").read_text("utf-8")
    rows[TWO[0]]["timed_on"] = "another"
    (tmp_path / ABOUT).write_text(json.dumps(about))
    write_report(tmp_path)
    how = " with 2 threads, torch 1" if with_threads else ""
    said = f"of {TWO[0]} at equal width taken on another{how}; of {TWO[1]} at equal width taken on this one{how}"
    assert said in (tmp_path / "report.html").read_text("utf-8")
    assert "taken on another" in (tmp_path / "table.md").read_text("utf-8")
    del rows[TWO[0]]["timed_on"]
    (tmp_path / ABOUT).write_text(json.dumps(about))
    write_report(tmp_path)
    assert f"of {TWO[0]} at equal width taken on a device not kept{how};" in (tmp_path / "report.html").read_text(
        "utf-8"
    )

"""What is said of the hypotheses about reach follows from the numbers by the rules that were written down."""

import sys

import pytest

from flowgru.comparison.errors import PARTS, WHOLE
from flowgru.comparison.measurements import Measurement, write_measurements
from flowgru.comparison.record import ABOUT, ComparisonRecord, RowRecord
from flowgru.comparison.results import MEASUREMENTS

REGIME, ZERO, DIS = "equal_parameters", "synthetic", "synthetic from dis"
ROWS = ("conv_gru", "seq_conv_gru", "conv_min_gru_no_scan", "conv_min_gru", "min_gru", "conv_lstm")
INSIDE, FAST = "epe_untextured_128", "epe_s40_plus"
FILLED = {("conv_min_gru", INSIDE, ZERO, 2): (-1.0, -1.2, -0.8)}
"""A scan that fills from afar: 10 % less error, give or take 5 %."""


def write_folder(folder, changes, validation=None):
    """A comparison whose errors are 10, 11 and 12 px, by the seed, but for the changes; 20 px more after 1 refinement."""
    measured = [
        Measurement(
            REGIME, row, seed, measure, data_set, count, None,
            10 + seed + 20 * (count == 1) + changes.get((row, measure, data_set, count), (0, 0, 0))[seed],
        )
        for row in ROWS for seed in range(3) for measure in (WHOLE, *PARTS) for data_set in (ZERO, DIS)
        for count in (1, 2, 4, 12, 32)
    ]  # fmt: skip
    for row in ROWS:
        measured.append(Measurement(REGIME, row, None, "ms_per_training_step", "", None, None, 100.0))
        measured += [
            Measurement(REGIME, row, seed, "validation_epe_per_image", ZERO, 12, step, 5 + seed + change)
            for seed, change in enumerate((validation or {}).get(row, (0, 0, 0)))
            for step in (100, 200)
        ]
    folder.mkdir()
    write_measurements(folder / MEASUREMENTS, measured)
    about = ComparisonRecord(rows={REGIME: {row: RowRecord(row) for row in ROWS}})
    (folder / ABOUT).write_text(about.as_text())
    return folder


@pytest.fixture
def said(script, tmp_path, monkeypatch, capsys):
    """What the script prints of a folder: the line of each hypothesis by its number, and all lines."""

    def of(*words):
        main = script("reach_hypotheses").main
        monkeypatch.setattr(sys, "argv", ["reach_hypotheses", *map(str, words)])
        main()
        lines = capsys.readouterr().out.splitlines()
        return {line[0]: line.partition(": ")[2] for line in lines if line[0].isdigit()}, lines

    return of


@pytest.mark.parametrize(
    "number, changes, expected",
    [
        ("1", {}, "refuted"),
        ("1", FILLED, "supported"),
        ("1", {("conv_min_gru", INSIDE, ZERO, 2): (-3.0, 3.0, -1.0)}, "undecided"),
        ("1", {("conv_min_gru", INSIDE, ZERO, 2): (-0.1, -0.11, -0.1)}, "supported, and refuted by the other rule"),
        ("2", FILLED, "supported"),
        ("2", {("conv_min_gru", FAST, ZERO, 2): (-1.0, -1.2, -0.8)}, "refuted"),
        ("2", {}, "undecided"),
        ("3", {}, "supported"),
        ("3", {("conv_min_gru", WHOLE, DIS, 4): (-1.0, -1.2, -0.8)}, "refuted"),
        ("3", {("conv_min_gru", WHOLE, DIS, 4): (-1.0, 1.0, 0.0)}, "undecided"),
        ("4", FILLED, "supported"),
        ("4", {**FILLED, ("conv_min_gru", INSIDE, ZERO, 32): (-1.0, -1.2, -0.8)}, "undecided"),
        ("4", {**FILLED, ("conv_min_gru", INSIDE, ZERO, 32): (-3.0, -3.2, -2.8)}, "refuted"),
        ("5", {}, "supported"),
        ("5", {("min_gru", WHOLE, DIS, 12): (1.0, 1.1, 1.2)}, "refuted"),
        ("5", {("min_gru", WHOLE, ZERO, 12): (1.0, -1.0, 0.1)}, "undecided"),
        ("6", {}, "refuted"),
        ("6", {("seq_conv_gru", WHOLE, ZERO, 12): (-1.0, -1.1, -1.2)}, "supported"),
        ("6", {("seq_conv_gru", WHOLE, ZERO, 12): (-1.0, 1.0, 0.1)}, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_intervals(said, tmp_path, number, changes, expected):
    found, lines = said(write_folder(tmp_path / "a", changes))
    assert found[number] == expected
    assert ("4" in found) == (found["1"].startswith("supported"))
    assert lines[0].endswith("There is something to fill.")


@pytest.mark.parametrize(
    "change, expected",
    [((-1.0, -1.1, -0.9), "supported"), ((1.0, 1.1, 0.9), "refuted"), ((-1.0, 1.0, -0.5), "undecided")],
)
def test_the_cheapest_row_is_judged_at_equal_time(said, tmp_path, change, expected):
    found, _ = said(write_folder(tmp_path / "a", {}, {"min_gru": change}))
    assert found["7"] == expected


def test_a_gain_is_a_share_of_the_error_of_the_row_that_is_subtracted(said, tmp_path):
    _, lines = said(write_folder(tmp_path / "a", FILLED))
    # 1 px of 11, and 4.303 standard errors of 0.2 px / sqrt(3).
    assert f"    conv_min_gru - conv_min_gru_no_scan, {INSIDE}, {ZERO}, 2 refinements: -9.1% ± 4.5%" in lines


def test_where_one_refinement_is_enough_there_is_nothing_to_fill(said, tmp_path):
    worse = {("conv_min_gru_no_scan", INSIDE, ZERO, 12): (0.0, 0.0, 25.0)}
    _, lines = said(write_folder(tmp_path / "a", worse))
    assert lines[0].endswith("There is nothing to fill: 1, 2 and 4 are not decided.")


def test_other_encoders_refute_what_they_turn_round(said, tmp_path):
    study = write_folder(tmp_path / "a", {("conv_min_gru", WHOLE, ZERO, 4): (-0.4, -0.5, -0.6)})
    other = write_folder(tmp_path / "b", {("conv_min_gru", WHOLE, ZERO, 4): (0.9, 0.9, 0.9)})
    like = write_folder(tmp_path / "c", {("conv_min_gru", WHOLE, ZERO, 4): (-0.9, -0.9, -0.9)})
    _, lines = said(study, "--encoders", other, "--encoders", like)
    ends = [line.rpartition(": ")[2] for line in lines[-4:]]
    assert ends == ["refuted", "refuted", "not refuted", "not refuted"]
    assert lines[-4].startswith("b: conv_min_gru - conv_gru, epe_per_image, synthetic, 4 refinements: +8.2%")

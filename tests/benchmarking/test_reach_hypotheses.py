"""What is said of the hypotheses about reach follows from the numbers by the rules that were written down."""

import math
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


SLOWEST = {"conv_min_gru": 200.0}
"""Milliseconds of a training step; of every other row 100."""


def write_folder(folder, changes, validation=None, *, more=(), seeds=3, seeds_of=None):
    """A comparison whose errors are 10, 11 and 12 px, by the seed, but for the changes; 20 px more after 1 refinement.

    The validation error is 5, 6 and 7 px but for the changes, where a row is read at equal time, and 100 px more elsewhere.
    more: rows of one seed that the study does not have. seeds_of: rows that have other seeds than that.
    """
    measured = []
    for row in (*ROWS, *more):
        measured += [
            Measurement(
                REGIME, row, seed, measure, data_set, count, None,
                10 + seed + 20 * (count == 1) + changes.get((row, measure, data_set, count), (0,) * 4)[seed],
            )
            for seed in (seeds_of or {}).get(row, range(1 if row in more else seeds)) for measure in (WHOLE, *PARTS)
            for data_set in (ZERO, DIS) for count in (1, 2, 4, 12, 32)
        ]  # fmt: skip
        milliseconds = 5000.0 if row in more else SLOWEST.get(row, 100.0)
        measured.append(Measurement(REGIME, row, None, "ms_per_training_step", "", None, None, milliseconds))
        # The slowest row is read after 100 of its 200 steps, and the others after all of theirs.
        here = 100 if row in SLOWEST else 200
        measured += [
            Measurement(
                REGIME, row, seed, "validation_epe_per_image", ZERO, 12, step, 5 + seed + change + 100 * (step != here)
            )
            for seed, change in zip(range(seeds), (validation or {}).get(row, (0, 0, 0)), strict=False)
            for step in (100, 200)
        ]
    folder.mkdir()
    write_measurements(folder / MEASUREMENTS, measured)
    about = ComparisonRecord(rows={REGIME: {row: RowRecord(row) for row in (*ROWS, *more)}})
    (folder / ABOUT).write_text(about.as_text())
    return folder


UNASKED = "The scan after every number of refinements, which no rule asks for:"


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
    assert ("4" in found) == found["1"].startswith("supported")
    assert lines[0].endswith("There is something to fill.")
    after = [line.split(":")[0] for line in lines[lines.index(UNASKED) + 1 :]]
    assert f"    conv_min_gru - conv_min_gru_no_scan, {WHOLE}, {ZERO}, 2 refinements" in after


@pytest.mark.parametrize(
    "validation, expected",
    [
        ({"min_gru": (-1.0, -1.1, -0.9)}, "supported"),
        ({"min_gru": (1.0, 1.1, 0.9)}, "refuted"),
        ({"min_gru": (-1.0, 1.0, -0.5)}, "undecided"),
        # Two rows are lower: the lowest by chance, and the second surely.
        ({"min_gru": (2.0, 2.0, 2.0), "conv_gru": (-9.0, 9.0, -3.0), "conv_lstm": (1.0, 1.1, 0.9)}, "refuted"),
        ({"min_gru": (-1.0, -1.1, -0.9), "conv_gru": (math.nan, 0, 0)}, "undecided"),
    ],
)
@pytest.mark.parametrize("more", [(), ("an_idea",)])
def test_the_cheapest_row_is_judged_at_equal_time_among_the_rows_of_the_study(
    said, tmp_path, validation, expected, more
):
    found, lines = said(write_folder(tmp_path / "a", {}, validation, more=more))
    assert found["7"] == expected
    assert sum("at equal time:" in line for line in lines) == len(ROWS) - 1


def test_a_difference_stands_in_pixels_and_as_a_share_of_what_is_subtracted(said, tmp_path):
    _, lines = said(write_folder(tmp_path / "a", FILLED))
    # 1 px of 11, and 4.303 standard errors of 0.2 px / sqrt(3).
    text = f"    conv_min_gru - conv_min_gru_no_scan, {INSIDE}, {ZERO}, 2 refinements: -1.000 ± 0.497 px (-9.1% ± 4.5%)"
    assert f"{text}, 3 seeds" in lines


def test_what_more_refinements_give_is_compared_in_pixels(said, tmp_path):
    # -1 px of 11 and -1 px of 111: the same in pixels, and not as a share.
    changes = {**FILLED, ("conv_min_gru", INSIDE, ZERO, 32): (99.0, 98.8, 99.2)}
    changes |= {("conv_min_gru_no_scan", INSIDE, ZERO, 32): (100.0, 100.0, 100.0)}
    found, _ = said(write_folder(tmp_path / "a", changes))
    assert found["4"] == "undecided"


def test_where_one_refinement_is_enough_there_is_nothing_to_fill(said, tmp_path):
    changes = {**FILLED, ("conv_min_gru_no_scan", INSIDE, ZERO, 12): (0.0, 0.0, 25.0)}
    found, lines = said(write_folder(tmp_path / "a", changes))
    assert lines[0].endswith("There is nothing to fill.")
    nothing = "not decided, since there is nothing to fill"
    assert [found[number] for number in "1234567"] == [nothing] * 2 + ["supported", nothing, "supported", "refuted"] + [
        "undecided"
    ]


@pytest.mark.parametrize("seeds, number", [(1, "1 seed"), (2, "2 seeds")])
def test_of_few_seeds_little_is_decided_and_their_number_said(said, tmp_path, seeds, number):
    changes = {("conv_min_gru", INSIDE, ZERO, 2): (-1.0, 1.0)}
    found, lines = said(write_folder(tmp_path / "a", changes, {"min_gru": (-1.0, 1.0)}, seeds=seeds))
    assert found["1"] == found["7"] == "undecided" and lines[2].endswith(f", {number}")


def test_other_encoders_refute_what_they_turn_round(said, tmp_path):
    study = write_folder(tmp_path / "a", {("conv_min_gru", WHOLE, ZERO, 4): (-0.4, -0.5, -0.6)})
    other = write_folder(tmp_path / "b", {("conv_min_gru", WHOLE, ZERO, 4): (0.9,)}, seeds=1)
    like = write_folder(tmp_path / "c", {("conv_min_gru", WHOLE, ZERO, 4): (-0.9,)}, seeds=1)
    _, lines = said(study, "--encoders", other, "--encoders", like)
    assert [line for line in lines if line[:2] in ("b:", "c:")] == [
        "b: refuted", "b: refuted", "c: not refuted", "c: not refuted"
    ]  # fmt: skip
    text = "    conv_min_gru - conv_gru, epe_per_image, synthetic, 4 refinements: +0.900 px (+9.0%), 1 seed"
    assert lines[lines.index("b: refuted") + 1] == text


def test_an_idea_is_compared_with_the_rows_with_and_without_the_plain_scan(said, tmp_path):
    changes = {
        ("conv_min_gru_no_scan", WHOLE, ZERO, 4): (2.0, 3.0, 4.0),
        ("conv_min_gru", WHOLE, ZERO, 4): (1.0, 1.0, 1.0),
    }
    _, lines = said("--ideas", write_folder(tmp_path / "a", changes, more=("an_idea",)))
    text = f"an_idea - conv_min_gru{{}}, {WHOLE}, {ZERO}, 4 refinements: {{}}, 1 seed"
    without, beside = text.format("_no_scan", "-2.000 px (-16.7%)"), text.format("", "-1.000 px (-9.1%)")
    assert lines.index(without) < lines.index(beside)
    assert any(line.startswith("conv_min_gru - conv_min_gru_no_scan, ") for line in lines)
    assert not any(line.startswith("conv_min_gru_no_scan - ") for line in lines)


@pytest.mark.parametrize(
    "errors, verdict",
    [
        ((-9.0, 0.2, 0.1, 0.2), "not shown to be better than conv_min_gru"),
        ((9.0, -0.2, -0.21, -0.2), "better than conv_min_gru"),
        ((9.0, -0.2, -0.21), "not decided yet, 2 of 3 seeds"),
    ],
)
def test_the_seeds_that_chose_an_idea_do_not_judge_it(said, tmp_path, errors, verdict):
    changes = {("an_idea", WHOLE, ZERO, 4): errors}
    seeds = {"an_idea": range(len(errors)), "conv_min_gru": range(4), "conv_min_gru_no_scan": (0,)}
    _, lines = said("--ideas", write_folder(tmp_path / "a", changes, more=("an_idea",), seeds_of=seeds))
    text = f"an_idea - conv_min_gru, {WHOLE}, {ZERO}, 4 refinements: "
    chosen = next(line for line in lines if line.startswith(text))
    assert chosen.startswith(f"{text}{errors[0]:+.3f} px") and chosen.endswith(", 1 seed")
    head = lines.index(f"an_idea, by seeds that did not choose it: {verdict}")
    assert lines[head + 1].startswith(f"    {text}") and lines[head + 1].endswith(f", {len(errors) - 1} seeds")


@pytest.mark.parametrize("words", [(), ("study", "--ideas", "ideas"), ("--ideas", "a", "--encoders", "b")])
def test_one_folder_is_read(said, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        said(*words)
    assert stopped.value.code == 2 and "give either the study's folder" in capsys.readouterr().err

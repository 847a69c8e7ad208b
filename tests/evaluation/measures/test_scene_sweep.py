"""A generated scene whose sizes were measured in part goes on with the others, beside corruptions and without them."""

import pytest
from estimates import evaluate, interrupted, interrupted_scene, only_error
from tables import csv_rows

from flowgru.evaluation.measures import results, running


@pytest.fixture(autouse=True)
def no_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart takes longer than what is looked at."""
    monkeypatch.setattr(results, "chart_svg", lambda chart: "<svg></svg>")


def test_an_interrupted_scene_goes_on_with_the_sizes_that_are_left(pairs, tmp_path, monkeypatch, capsys):
    words = (
        pairs,
        "--baseline",
        "zero",
        "--reach",
        "--reach-sizes",
        "48x64,96x128,32x32",
        "--output",
        tmp_path / "out",
    )
    interrupted_scene(monkeypatch, 3)  # the first one's first use is not counted
    assert evaluate(*words) == 130
    made = interrupted_scene(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words) == 0
    assert made == ["32x32", "96x128"] and "goes on with 2 measurements" in capsys.readouterr().out
    rows = csv_rows(tmp_path / "out/reach_sizes.csv")
    assert [(row["size"], row["epe"]) for row in rows] == [("32x32", "2"), ("48x64", "3"), ("96x128", "2")]
    assert [row["memory"] for row in rows] == ["101", "3", "2"]
    assert not (tmp_path / "out/sweep.jsonl").exists()


def test_a_refused_size_is_asked_again_and_named_after_an_interruption_too(pairs, tmp_path, monkeypatch, capsys):
    words = (pairs, "--baseline", "zero", "--reach", "--reach-sizes", "16x16,32x32,48x64", "--output", tmp_path / "out")
    interrupted_scene(monkeypatch, 3)
    assert evaluate(*words) == 130
    made = interrupted_scene(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words) == 0 and made == ["16x16", "16x16", "48x64"]
    assert "The scene of 16x16 px is left out: too small" in capsys.readouterr().err
    assert [row["epe"] for row in csv_rows(tmp_path / "out/reach_sizes.csv")] == ["", "3", "3"]


def test_a_row_without_its_numbers_counts_as_not_measured(pairs, tmp_path, monkeypatch):
    words = (pairs, "--baseline", "zero", "--reach", "--reach-sizes", "32x32,48x64", "--output", tmp_path / "out")
    interrupted_scene(monkeypatch, 2)
    assert evaluate(*words) == 130
    journal = tmp_path / "out/sweep.jsonl"
    journal.write_text(journal.read_text().replace('"epe": 2', '"epe": null'))
    made = interrupted_scene(monkeypatch, 100)
    assert evaluate(*words) == 0 and made == ["32x32", "32x32", "48x64"]


@pytest.mark.parametrize("threads, again", [(1, ["48x64"]), (7, ["32x32", "48x64"])])
def test_seconds_of_other_threads_are_measured_again_and_nothing_else(pairs, tmp_path, monkeypatch, threads, again):
    words = (pairs, "--baseline", "zero", "--corruptions", "fog", "--output", tmp_path / "out")
    scene = ("--reach", "--reach-sizes", "32x32,48x64")
    monkeypatch.setattr(running, "num_threads", lambda: 1)
    interrupted_scene(monkeypatch, 2)
    assert evaluate(*words, *scene) == 130
    monkeypatch.setattr(running, "num_threads", lambda: threads)
    spoiled, measured = interrupted(monkeypatch, 100), interrupted_scene(monkeypatch, 100)
    assert evaluate(*words, *scene) == 0
    assert spoiled == [] and measured[1:] == again  # the first one's first use is not counted


def test_a_scene_may_come_to_corruptions_later(pairs, tmp_path, monkeypatch):
    words = (pairs, "--baseline", "zero", "--corruptions", "fog,rain", "--output", tmp_path / "out")
    interrupted(monkeypatch, 1)
    assert evaluate(*words) == 130
    made = interrupted(monkeypatch, 100)
    assert evaluate(*words, "--reach", "--reach-sizes", "32x32") == 0
    assert made == ["rain", "fog", "rain"] and csv_rows(tmp_path / "out/reach_sizes.csv")[0]["size"] == "32x32"


def test_flows_from_files_leave_an_interrupted_sweep_alone(pairs, tmp_path, monkeypatch):
    """Nothing is estimated of them, so that there is no scene to measure."""
    interrupted(monkeypatch, 1)
    out = tmp_path / "out"
    assert evaluate(pairs, "--baseline", "farneback", "--corruptions", "fog", "--output", out) == 130
    kept = (out / "sweep.jsonl").read_text()
    assert evaluate(pairs, "--flows", pairs.parent, "--reach", "--output", out) == 0
    assert (out / "sweep.jsonl").read_text() == kept and (out / "reach.csv").exists()


def test_a_command_without_corruptions_takes_none_away(pairs, tmp_path, monkeypatch, capsys):
    words = (pairs, "--baseline", "zero", "--output", tmp_path / "out", "--reach", "--reach-sizes", "32x32")
    interrupted(monkeypatch, 0)
    assert evaluate(*words, "--corruptions", "fog") == 130
    interrupted_scene(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words) == 2 and "interrupted sweep that has measured none too" in only_error(capsys)


def test_a_scene_of_another_largest_size_is_another_scene(pairs, tmp_path, monkeypatch, capsys):
    words = (pairs, "--baseline", "zero", "--reach", "--output", tmp_path / "out", "--reach-sizes")
    interrupted_scene(monkeypatch, 2)
    assert evaluate(*words, "32x32,48x64") == 130
    made = interrupted_scene(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words, "32x32,96x128") == 2
    assert "interrupted sweep that has measured the scene of 48x64 at 32x32 too" in only_error(capsys) and not made
    assert evaluate(*words, "32x32,40x40,48x64") == 0 and made == ["32x32", "40x40", "48x64"]

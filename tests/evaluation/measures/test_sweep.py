"""A sweep of corruptions that was interrupted goes on, with what it was begun with and nothing else."""

import json

import numpy as np
import pytest
from estimates import corruption_rows, evaluate, interrupted, only_error

from flowgru.data.formats.flow_files import write_flow
from flowgru.evaluation.measures import results, running
from flowgru.evaluation.measures.sweep import Sweep


@pytest.fixture(autouse=True)
def no_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart takes longer than what is looked at."""
    monkeypatch.setattr(results, "chart_svg", lambda chart: "<svg></svg>")


def test_an_interrupted_sweep_goes_on(pairs, tmp_path, monkeypatch, capsys):
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain,jpeg", "--output")
    assert evaluate(*words, tmp_path / "whole") == 0
    out = tmp_path / "out"
    interrupted(monkeypatch, 4)
    assert evaluate(*words, out) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [
        f"{out}/sweep.jsonl keeps 6 measurements: the same command goes on with them",
        "stopped by Ctrl-C",
    ]
    assert [path.name for path in out.iterdir()] == ["sweep.jsonl"]
    with (out / "sweep.jsonl").open("a") as file:
        file.write('{"data": "pairs.csv", "ind')  # what is killed while it writes leaves half a line
    made = interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words, out) == 0
    assert made == ["rain", "jpeg"]
    assert "goes on with 6 measurements" in capsys.readouterr().out
    assert (out / "corruptions.csv").read_text() == (tmp_path / "whole/corruptions.csv").read_text()
    assert not (out / "sweep.jsonl").exists() and not (out / "sweep.lock").exists()


def test_names_that_read_like_numbers_are_names_after_an_interruption_too(pairs, tmp_path, monkeypatch):
    head, *lines = pairs.read_text().splitlines()
    named = [f"{line},{group},{name}" for line, group, name in zip(lines, ("inf", "nan"), ("nan", "-inf"), strict=True)]
    pairs.write_text("\n".join([f"{head},set,name", *named]))
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog", "--output")
    assert evaluate(*words, tmp_path / "whole") == 0
    interrupted(monkeypatch, 1)
    assert evaluate(*words, tmp_path / "out") == 130
    interrupted(monkeypatch, 100)
    assert evaluate(*words, tmp_path / "out") == 0
    found = (tmp_path / "out/corruptions.csv").read_text()
    assert found == (tmp_path / "whole/corruptions.csv").read_text()
    assert {row["set"] for row in corruption_rows(tmp_path / "out")} == {"inf", "nan"}


@pytest.mark.parametrize("stored, again", [("NaN", ["fog"]), ('"?"', ["fog", "fog"])])
def test_what_is_not_known_is_not_known_after_an_interruption_either(frames, tmp_path, monkeypatch, stored, again):
    """And a row without its numbers, which no sweep has left, counts as not measured."""
    words = (frames, "--baseline", "farneback", "--corruptions", "fog", "--output")
    assert evaluate(*words, tmp_path / "whole") == 0
    interrupted(monkeypatch, 1)
    assert evaluate(*words, tmp_path / "out") == 130
    journal = tmp_path / "out/sweep.jsonl"
    assert journal.read_text().count("NaN") == 3
    journal.write_text(journal.read_text().replace("NaN", stored))
    made = interrupted(monkeypatch, 100)
    assert evaluate(*words, tmp_path / "out") == 0 and made == again
    assert (tmp_path / "out/corruptions.csv").read_text() == (tmp_path / "whole/corruptions.csv").read_text()


def test_a_sweep_does_not_go_on_with_other_numbers(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = (pairs, "--corruptions", "fog", "--output", out)
    interrupted(monkeypatch, 1)
    assert evaluate(*words, "--baseline", "farneback") == 130
    interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words, "--baseline", "farneback", "--severity", 3) == 2
    said = capsys.readouterr().err
    assert "interrupted sweep whose severity were others" in said and len(said.splitlines()) == 1
    assert evaluate(*words, "--baseline", "zero") == 2
    assert evaluate(*words, "--baseline", "zero", "--overwrite") == 0
    assert {float(row["distance"]) for row in corruption_rows(out)} == {0}


@pytest.mark.parametrize("change", ["order", "direction", "flow"])
def test_a_sweep_does_not_go_on_with_other_data(pairs, tmp_path, monkeypatch, capsys, change):
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain", "--output", tmp_path / "out")
    interrupted(monkeypatch, 2)
    assert evaluate(*words) == 130
    head, *lines = pairs.read_text().splitlines()
    if change == "order":
        pairs.write_text("\n".join([head, *reversed(lines)]))
    elif change == "direction":
        pairs.write_text("\n".join(["second,first,flow", *lines]))
    else:
        write_flow(tmp_path / "f1.flo", np.ones((24, 40, 2), np.float32), overwrite=True)
    interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert evaluate(*words) == 2
    assert "interrupted sweep whose data were others" in only_error(capsys)


def test_a_sweep_does_not_go_on_with_other_weights_of_one_name(pairs, tmp_path, monkeypatch, capsys):
    """An address hf:// stands for other weights once they were pushed, and so does a graph whose weights lie beside it."""
    weights = tmp_path / "downloaded"
    weights.write_bytes(b"first")
    monkeypatch.setattr(running, "weights_beside", lambda model: [weights])
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain", "--output", tmp_path / "out")
    interrupted(monkeypatch, 2)
    assert evaluate(*words) == 130
    weights.write_bytes(b"other")
    capsys.readouterr()
    assert evaluate(*words) == 2
    assert "interrupted sweep whose weights were others" in only_error(capsys)
    journal = tmp_path / "out/sweep.jsonl"
    first, *others = journal.read_text().splitlines()
    request = json.loads(first)["request"]
    assert request.pop("weights")  # as before they were noted of this model
    journal.write_text("\n".join([json.dumps({"request": request}), *others, ""]))
    interrupted(monkeypatch, 100)
    assert evaluate(*words) == 0


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_in_the_journals_place_that_no_sweep_has_left_stays(pairs, tmp_path, capsys, is_link):
    words = (pairs, "--baseline", "zero", "--corruptions", "fog", "--output", tmp_path / "out")
    journal = tmp_path / "out/sweep.jsonl"
    journal.parent.mkdir()
    mine = tmp_path / "mine.jsonl" if is_link else journal
    mine.write_text('{"fog": "mine"}\n')
    if is_link:
        journal.symlink_to(mine)
    assert evaluate(*words) == 2 and "is no journal of an interrupted sweep" in only_error(capsys)
    assert mine.read_text() == '{"fog": "mine"}\n' and journal.is_symlink() == is_link
    assert evaluate(*words, "--overwrite") == 0 and len(corruption_rows(tmp_path / "out")) == 4


def test_a_sweep_of_fewer_corruptions_takes_nothing_away(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = (pairs, "--baseline", "farneback", "--output", out, "--corruptions")
    interrupted(monkeypatch, 3)
    assert evaluate(*words, "fog,rain,jpeg") == 130
    interrupted(monkeypatch, 100)
    kept = (out / "sweep.jsonl").read_text()
    capsys.readouterr()
    assert evaluate(*words, "fog") == 2
    said = capsys.readouterr().err
    assert "interrupted sweep that has measured rain, jpeg too" in said and len(said.splitlines()) == 1
    assert (out / "sweep.jsonl").read_text() == kept
    made = interrupted(monkeypatch, 100)
    assert evaluate(*words, "fog,rain,jpeg,contrast") == 0
    assert sorted(made) == ["contrast", "contrast", "fog", "jpeg", "rain"]
    assert {row["corruption"] for row in corruption_rows(out)} == {"none", "fog", "rain", "jpeg", "contrast"}


def test_a_sweep_that_has_measured_nothing_is_no_hindrance(tmp_path):
    Sweep(tmp_path, {"severity": 2}, {"fog"}, overwrite=False).close(keep=True)
    Sweep(tmp_path, {"severity": 3}, {"fog"}, overwrite=False).close(keep=False)

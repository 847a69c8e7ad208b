"""`flowgru evaluate` and `submit` begin where they are asked to, and say where that was."""

import json

import numpy as np
import pytest
import torch
from estimates import only_error, write
from layouts.split_trees import MAKERS
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import SyntheticSettings
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.synthetic.clip import render_clip
from flowgru.evaluation.evaluate import Estimate

DIS = ("--initial-flow", "dis")
FULL = (*DIS, "--hold", "2", "--polish")


@pytest.fixture
def set_of_two(tmp_path):
    """A manifest of two generated pairs."""
    clip = render_clip(SyntheticSettings(height=64, width=96, num_textures=4, seed=1), 0, 3)
    for number, frame in enumerate(clip.frames):
        write_image(tmp_path / f"set/{number}.png", to_levels(frame))
    for number in (0, 1):
        write(tmp_path / f"set/{number}.flo", torch.zeros(1, 2, 64, 96))
    path = tmp_path / "set/pairs.csv"
    path.write_text("first,second,flow,name\n0.png,1.png,0.flo,x/0\n1.png,2.png,1.flo,x/1\n")
    return path


def rows_of(folder) -> list[dict]:
    return csv_rows(folder / "pairs.csv")


def test_evaluate_names_the_way_and_where_each_pair_began(set_of_two, model, tmp_path, capsys):
    words = ["evaluate", str(set_of_two), "--model", model, "--device", "cpu", "--static", "1", "--worst", "0"]
    assert main([*words, *FULL, "--output", str(tmp_path / "dis")]) == 0
    title = " ".join(capsys.readouterr().out.split())
    assert "way initial flow of DIS > 2 held refinements > 2 refinements > gate > variational refinement" in title
    assert "polish true, scales 1, warm_start false, " in title
    rows = rows_of(tmp_path / "dis")
    assert [*rows[0]][:3] == ["pair", "set", "epe"] and [*rows[0]][-1] == "initial_flow"
    assert [row["initial_flow"] for row in rows] == ["dis", "dis"]
    report = json.loads((tmp_path / "dis/evaluation.json").read_text())
    assert report["method"]["way"].startswith("initial flow of DIS") and report["method"]["hold"] == 2
    assert set(next(iter(report["sets"].values()))["initial_flows"].values()) == {"dis"}

    assert main([*words, "--warm-start", *DIS, "--output", str(tmp_path / "warm")]) == 0
    assert [row["initial_flow"] for row in rows_of(tmp_path / "warm")] == ["dis", "warm"]

    capsys.readouterr()
    assert (
        main([*words, "--initial-flow", "zero", "--hold", "0", "--no-polish", "--output", str(tmp_path / "zero")]) == 0
    )
    assert "way the network alone, 2 refinements" in " ".join(capsys.readouterr().out.split())
    assert [row["initial_flow"] for row in rows_of(tmp_path / "zero")] == ["zero", "zero"]
    assert main(["evaluate", str(set_of_two), "--baseline", "zero", "--output", str(tmp_path / "base")]) == 0
    assert [row["initial_flow"] for row in rows_of(tmp_path / "base")] == ["", ""]


def test_evaluate_takes_flow_files_that_are_named_as_its_pairs(set_of_two, model, tmp_path, capsys):
    words = ["evaluate", str(set_of_two), "--model", model, "--device", "cpu", "--static", "0", "--worst", "0"]
    write(tmp_path / "flows/pairs/x/0.flo", torch.zeros(1, 2, 64, 96))
    words += ["--initial-flow", str(tmp_path / "flows"), "--output", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(words) == 3  # the other pair has none
    assert "this pair was left out" in capsys.readouterr().err
    (row,) = rows_of(tmp_path / "out")
    assert row["initial_flow"] == str(tmp_path / "flows/pairs/x/0.flo")


def test_a_picture_of_a_flow_does_not_hide_its_file(set_of_two, tmp_path, capsys):
    for number in (0, 1):
        path = tmp_path / f"flows/pairs/x/{number}.npz"
        write_flow(path, np.zeros((64, 96, 2), np.float32))
        assert main(["view", str(path), "--output", str(path.parent)]) == 0
        assert path.with_suffix(".png").exists()
    named_so = set_of_two.rename(set_of_two.with_suffix(".CSV"))
    assert main(["evaluate", str(named_so), "--flows", str(tmp_path / "flows")]) == 0


def test_baselines_have_no_way(capsys):
    for option, name in ((("--hold", "1"), "--hold"), (DIS, "--initial-flow"), (("--no-polish",), "--polish")):
        assert main(["evaluate", "sintel", "--baseline", "dis", *option]) == 2
        assert f"--baseline dis is no model, and has no {name}: give one or the others" in only_error(capsys)


def test_submit_takes_flow_files_that_are_named_as_those_it_writes(tmp_path, small_challenges, monkeypatch, capsys):
    MAKERS["kitti2012"](tmp_path)
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(None if start is None else start.name)
        return Estimate(torch.zeros(1, 2, *first.shape[2:]))

    monkeypatch.setattr("flowgru.evaluation.submission.open_estimator", lambda *_: estimate)
    words = ["submit", "kitti2012", "--root", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    folder = tmp_path / "flows"
    folder.mkdir()
    for path in (tmp_path / "out").glob("*_10.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    assert main([*words, "--overwrite", "--initial-flow", str(folder)]) == 0
    assert starts == [None, None, *(str(folder / name) for name in ("000000_10.png", "000010_10.png"))]
    (folder / "000010_10.png").unlink()
    capsys.readouterr()
    assert main([*words, "--overwrite", "--initial-flow", str(folder)]) == 3
    error = capsys.readouterr().err
    assert "has no initial flow 000010_10" in error and "add it, or leave --initial-flow out" in error

"""`flowgru evaluate` prints a table, writes every pair, and says in one line what cannot be done."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import write_image
from flowgru.data.sets.opening import open_dataset
from flowgru.evaluation.evaluate import picture_estimator
from flowgru.evaluation.metrics import METRICS, FlowErrors, Metric
from flowgru.evaluation.run import Method
from flowgru.model.flow_network import FlowNetwork


@pytest.fixture
def middlebury(tmp_path):
    root = tmp_path / "sets"
    for scene, length in (("Venus", 4.0), ("Grove2", 2.0)):
        for folder in ("other-data", "other-gt-flow"):
            (root / "Middlebury" / folder / scene).mkdir(parents=True)
        for number in (10, 11):
            write_image(root / f"Middlebury/other-data/{scene}/frame{number}.png", np.zeros((20, 30, 3), np.uint8))
        flow = np.zeros((20, 30, 2), np.float32)
        flow[..., 1] = length
        write_flow(root / f"Middlebury/other-gt-flow/{scene}/flow10.flo", flow)
    return root


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def test_the_command_prints_a_table_and_writes_every_pair(middlebury, tmp_path, capsys):
    output = tmp_path / "out"
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", output) == 0
    printed = capsys.readouterr().out
    assert "2 of 8" in printed and "other-gt-flow" in printed
    line = next(line for line in printed.splitlines() if "epe_per_image" in line)
    assert line.split()[-2] == "3.000"

    report = json.loads((output / "evaluation.json").read_text())
    assert report["method"]["baseline"] == "zero"
    assert report["sets"]["middlebury"]["metrics"]["epe"] == 3
    assert report["sets"]["middlebury"]["metrics"]["epe_matched"] is None
    rows = csv_rows(output / "pairs.csv")
    assert [(row["pair"], float(row["epe"]), row["epe_matched"], float(row["static_flow"])) for row in rows] == [
        ("middlebury/Grove2", 2, "", 0),
        ("middlebury/Venus", 4, "", 0),
    ]
    assert sorted(path.name for path in output.iterdir()) == ["evaluation.json", "pairs.csv", "worst"]
    names = [path.relative_to(output / "worst").as_posix() for path in sorted((output / "worst").rglob("*.png"))]
    assert names == ["middlebury/01_middlebury_Venus.png", "middlebury/02_middlebury_Grove2.png"]


def test_a_damaged_pair_is_named_and_the_others_are_measured(middlebury, tmp_path, capsys):
    flow = middlebury / "Middlebury/other-gt-flow/Venus/flow10.flo"
    flow.write_bytes(flow.read_bytes()[:-1])
    output = tmp_path / "out"
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", output) == 3
    printed, said = capsys.readouterr()
    assert re.search(r"epe \[px\] .* 2.000 ", printed) and "1 of 8, 1 left out" in printed
    named = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(named) == 1 and str(flow) in named[0] and named[0].endswith("; this pair was left out")
    assert "middlebury: 2/2 pairs" in said  # the progress comes to its end
    entry = json.loads((output / "evaluation.json").read_text())["sets"]["middlebury"]
    assert entry["pairs"] == 1 and entry["metrics"]["epe"] == 2
    assert len(entry["left_out"]) == 1 and str(flow) in entry["left_out"][0]
    assert [row["pair"] for row in csv_rows(output / "pairs.csv")] == ["middlebury/Grove2"]


def test_an_estimate_that_is_not_finite_is_not_shown_as_no_data(middlebury, tmp_path, monkeypatch, capsys):
    broken = picture_estimator(lambda first, second: np.full((*first.shape[:2], 2), np.nan, np.float32))
    monkeypatch.setattr("flowgru.evaluation.run.open_baseline", lambda _: Method(lambda _: broken, {}))
    output = tmp_path / "out"
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "epe [px]" in line).split()[-2] == "NaN"
    assert next(line for line in lines if "epe_matched" in line).split()[-2] == "-"
    metrics = json.loads((output / "evaluation.json").read_text())["sets"]["middlebury"]["metrics"]
    assert metrics["epe"] == "NaN" and metrics["epe_matched"] is None and metrics["outlier_1px"] == 100
    assert {(row["epe"], row["epe_matched"]) for row in csv_rows(output / "pairs.csv")} == {("NaN", "")}


def test_fewer_or_no_pictures_and_no_static_pairs_on_request(middlebury, tmp_path):
    words = ("middlebury", "--root", middlebury, "--baseline", "zero", "--output", tmp_path / "out", "--overwrite")
    assert run(*words) == 0
    assert run(*words, "--worst", 1, "--static", 0) == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["01_middlebury_Venus.png"]
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert report["sets"]["middlebury"]["metrics"]["static_flow"] is None
    assert run(*words, "--worst", 0) == 0
    assert not (tmp_path / "out/worst").exists()


def test_pictures_of_sets_that_are_not_measured_again_go_and_no_other_file(middlebury, tmp_path):
    output = tmp_path / "out"
    listed = ["worst/sintel/01_a.png", "worst/kitti2015/100_b.png"]
    own = ["worst/sintel/2024_beach.png", "worst/x/y/01_a.png", "mine.png"]
    for name in listed + own:
        write_image(output / name, np.zeros((2, 2, 3), np.uint8))
    # A list that speaks of other places is none of ours.
    pictures = [*listed, "mine.png", "worst/x/y/01_a.png", "worst/../mine.png", f"{output}/mine.png", 7]
    (output / "evaluation.json").write_text(json.dumps({"pictures": pictures}))
    (output / "worst/empty").mkdir()
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", output, "--overwrite") == 0
    assert sorted(path.name for path in (output / "worst").iterdir()) == ["empty", "middlebury", "sintel", "x"]
    assert all((output / name).exists() for name in own) and not any((output / name).exists() for name in listed)


def test_pictures_of_a_version_that_did_not_list_them_go(middlebury, tmp_path):
    output, words = tmp_path / "out", ("middlebury", "--root", middlebury, "--baseline", "zero", "--overwrite")
    assert run(*words, "--output", output) == 0
    report = json.loads((output / "evaluation.json").read_text())
    assert len(report.pop("pictures")) == 2
    (output / "evaluation.json").write_text(json.dumps(report))
    own = [output / "worst/01_mine.png", output / "worst/kitti2015/01_mine.png"]
    for path in own:
        write_image(path, np.zeros((2, 2, 3), np.uint8))
    assert run(*words, "--output", output, "--worst", 1) == 0
    assert len([*(output / "worst/middlebury").iterdir()]) == 1 and all(path.exists() for path in own)


def test_old_numbers_stay_where_old_pictures_cannot_go(middlebury, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    words = ("middlebury", "--root", middlebury, "--output", output)
    assert run(*words, "--baseline", "dis") == 0
    before = (output / "evaluation.json").read_text()

    def refused(path, missing_ok=False, *, real=Path.unlink):
        if path.suffix == ".png":
            raise PermissionError(13, "Permission denied")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    capsys.readouterr()
    assert run(*words, "--baseline", "zero", "--overwrite") == 4
    assert "error: cannot remove" in capsys.readouterr().err.splitlines()[-1]
    assert (output / "evaluation.json").read_text() == before


def test_results_are_written_even_if_nobody_reads_the_table(middlebury, tmp_path):
    words = [
        "evaluate",
        "middlebury",
        "--root",
        str(middlebury),
        "--baseline",
        "zero",
        "--output",
        str(tmp_path / "out"),
    ]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "flowgru", *words], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert done.returncode == 0 and (tmp_path / "out/pairs.csv").is_file()


def test_a_run_that_cannot_begin_leaves_no_folder(middlebury, tmp_path):
    assert run("middlebury", "--root", middlebury, "--model", "nowhere.pth", "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_every_group_of_a_manifest_has_its_column(middlebury, tmp_path, monkeypatch, capsys):
    def open_grouped(name, root):
        pairs = open_dataset("middlebury", root)
        pairs.name = pairs.label = name
        groups = zip(pairs.pairs, ["wood", "stone"], strict=True)
        pairs.pairs = [type("Grouped", (type(pair),), {"set": group})(*pair) for pair, group in groups]  # pyright: ignore
        return pairs

    monkeypatch.setattr("flowgru.data.sets.opening.open_dataset", open_grouped)
    output = tmp_path / "out"
    assert run("my.csv", "--root", middlebury, "--baseline", "zero", "--output", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.findall(r"[\w.]+", next(line for line in lines if "measure" in line)) == [
        "measure",
        "wood",
        "stone",
        "my.csv",
    ]
    assert "2.000" in (line := next(line for line in lines if "epe " in line)) and "4.000" in line and "3.000" in line
    entry = json.loads((output / "evaluation.json").read_text())["sets"]["my.csv"]
    assert entry["groups"]["wood"]["pairs"] == 1 and entry["groups"]["stone"]["metrics"]["epe"] == 4
    assert [row["set"] for row in csv_rows(output / "pairs.csv")] == ["wood", "stone"]


def test_a_model_file_is_measured(middlebury, tmp_path, capsys):
    from flowgru.model.weight_files.model_file import write_model_file

    network = FlowNetwork(NetworkConfig())
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 2}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), card, overwrite=False)
    output = tmp_path / "out"
    words = ("middlebury", "--root", middlebury, "--model", tmp_path / "model.safetensors", "--device", "cpu")
    assert run(*words, "--output", output) == 0
    method = json.loads((output / "evaluation.json").read_text())["method"]
    assert method["iterations"] == 2 and method["device"] == "cpu" and method["warm_start"] is False
    assert "iterations 2" in capsys.readouterr().out


def test_results_are_not_overwritten_unasked(middlebury, tmp_path, capsys):
    words = ("middlebury", "--root", middlebury, "--baseline", "zero", "--output", tmp_path / "out")
    assert run(*words) == 0
    before = (tmp_path / "out/pairs.csv").stat().st_mtime_ns
    assert run(*words) == 2
    assert "already holds evaluation.json and pairs.csv and worst" in capsys.readouterr().err
    assert (tmp_path / "out/pairs.csv").stat().st_mtime_ns == before
    assert run(*words, "--overwrite") == 0


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["sintle"], 2, "did you mean 'sintel'"),
        (["sintel"], 3, "sintel is not below"),
        (
            ["middlebury", "--baseline", "zero", "--iterations", "3"],
            2,
            "--baseline zero is no model, and has no --iterations",
        ),
        (["middlebury", "--baseline", "dis", "--warm-start"], 2, "--baseline dis is no model, and has no --warm-start"),
        (["middlebury", "--worst", "-1"], 2, "--worst is -1: it must be 0 or more"),
        (["middlebury", "--worst", "3"], 2, "--worst has no effect without --output; leave it out"),
        (["middlebury", "--overwrite"], 2, "--overwrite has no effect without --output; leave it out"),
        (["middlebury", "--flows", "flows", "--static", "2"], 2, "--static has no effect with --flows, which are not"),
        (["clip.mp4", "--time", "--static", "2"], 2, "--static has no effect on clips, whose true flow nobody knows"),
        (["clip.mp4", "--time", "--worst", "2", "--output", "out"], 2, "--worst has no effect on clips"),
        (["middlebury", "--static", "-1"], 2, "--static is -1: it must be 0 or more"),
        (["middlebury", "--iterations", "0"], 2, "--iterations is 0: it must be 1 or more"),
        (["middlebury", "--baseline", "zero", "--output", ""], 2, "--output is empty"),
        (["middlebury", "--baseline", "best"], 2, "--baseline is 'best'"),
        (["middlebury", "--model", "nowhere.pth"], 2, "no model file nowhere.pth"),
        ([], 2, "DATA must be given"),
    ],
)
def test_a_wrong_request_is_one_line(words, code, said, middlebury, capsys):
    assert run(*words, "--root", middlebury) == code
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


def test_a_measure_has_the_unit_that_its_table_says_whatever_its_name(middlebury, tmp_path, monkeypatch, capsys):
    class Errors(FlowErrors):
        def update(self, flow, sample):
            super().update(flow, sample)
            self._add("angle", torch.full((2,), 45.0))

    monkeypatch.setitem(METRICS, "angle", Metric("deg", "mean angle between estimated and true flow"))
    monkeypatch.setattr("flowgru.evaluation.evaluate.FlowErrors", Errors)
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", tmp_path / "out") == 0
    assert re.search(r"angle \[deg\] .* 45.000 ", capsys.readouterr().out)
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert report["measures"]["angle"] == {"unit": "deg", "says": "mean angle between estimated and true flow"}
    assert report["measures"].keys() == report["sets"]["middlebury"]["metrics"].keys()

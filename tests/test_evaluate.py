"""Evaluation measures networks and baselines by the same code, and reports every pair."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.benchmarks import open_dataset
from flowgru.data.classical import zero_flow
from flowgru.data.flow_files import write_flow
from flowgru.data.images import to_tensor, write_image
from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.evaluation.evaluate import Estimate, evaluate, network_estimator, padding_mode, picture_estimator
from flowgru.evaluation.metrics import METRICS
from flowgru.evaluation.worst import WorstPairs
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork
from flowgru.view.legend import colour_wheel_legend
from flowgru.view.panels import error_panel


def make_samples(*lengths: float) -> list[FlowSample]:
    """Pairs whose flow is everywhere (length, 0)."""
    samples = []
    for number, length in enumerate(lengths):
        flow = torch.zeros(2, 6, 8)
        flow[0] = length
        pictures = torch.rand(2, 3, 6, 8)
        samples.append(
            FlowSample(pictures[0], pictures[1], flow, torch.ones(6, 8, dtype=torch.bool), None, f"pair/{number}")
        )
    return samples


def test_every_pair_and_the_whole_set_are_measured():
    samples, seen = make_samples(1.0, 4.0), []

    def estimate(first, second, start=None, /):
        seen.append((first, second))
        return Estimate(torch.zeros(1, 2, *first.shape[2:]))

    metrics, pairs, _ = evaluate(estimate, samples)
    assert [(pair.name, pair.metrics["epe"]) for pair in pairs] == [("pair/0", 1), ("pair/1", 4)]
    assert metrics["epe"] == 2.5 and tuple(metrics) == METRICS
    for sample, (first, second) in zip(samples, seen, strict=True):
        assert first.equal(sample.first[None]) and second.equal(sample.second[None])


def test_a_method_on_pictures_gets_their_bytes_and_its_flow_comes_back():
    levels = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    given = []

    def method(first, second):
        given.extend([first, second])
        return np.dstack([np.full((16, 16), 2.0), np.full((16, 16), -3.0)]).astype(np.float32)

    first = to_tensor(levels)
    flow = picture_estimator(method)(first[None], first.flip(2)[None]).flow
    np.testing.assert_array_equal(given[0], levels)
    np.testing.assert_array_equal(given[1], levels[:, ::-1])
    assert flow.shape == (1, 2, 16, 16) and (flow[0, 0] == 2).all() and (flow[0, 1] == -3).all()


def test_a_network_is_measured_after_its_last_refinement():
    network = FlowNetwork(NetworkConfig()).eval()
    sample = make_samples(1.0)[0]
    with torch.inference_mode():
        expected = network(sample.first[None], sample.second[None], iterations=3).flows[-1]
        found = network_estimator(network, 3)(sample.first[None], sample.second[None])
    assert found.flow.equal(expected) and found.carried is None
    with pytest.raises(RequestError, match="at least 1 refinement"):
        network_estimator(network, 0)


class Listed(list[FlowSample]):
    """A data set that says which files its pairs are read from, and their groups."""

    def __init__(self, samples: list[FlowSample], files: list[str], groups: list[str] | None = None) -> None:
        super().__init__(samples)
        self.pairs = [
            GroupedFiles(Path(first), Path(second), group)
            for (first, second), group in zip(map(str.split, files), groups or [None] * len(files), strict=True)
        ]


class GroupedFiles(NamedTuple):
    first: Path
    second: Path
    set: str | None


def test_only_a_pair_that_begins_with_the_file_that_ended_the_last_one_starts_where_that_one_leads():
    files = ["clean/a/1 clean/a/2", "clean/a/2 clean/a/3", "clean/b/1 clean/b/2", "final/a/1 final/a/2", "f/2 f/3"]
    starts = []

    def estimate(first, second, start=None, /):
        if not first.equal(second):
            starts.append(None if start is None else start.flatten()[0].item())
        elif start is not None:
            raise AssertionError("a static pair starts anew")
        carried = torch.full((1, 2, 1, 1), float(len(starts)))
        return Estimate(torch.zeros(1, 2, *first.shape[2:]), carried)

    evaluate(estimate, Listed(make_samples(1.0, 2.0, 3.0, 4.0, 5.0), files), static_pairs=5)
    assert starts == [None, 1, None, None, None]
    starts.clear()
    evaluate(estimate, make_samples(1.0, 2.0))  # nothing says that these follow each other
    assert starts == [None, None]


def test_the_way_back_starts_anew():
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(start)
        return Estimate(torch.zeros(1, 2, *first.shape[2:]), torch.ones(1, 2, 1, 1))

    evaluate(estimate, Listed(make_samples(1.0, 2.0, 3.0), ["1 2", "2 1", "1 3"]))
    assert [start is None for start in starts] == [True, True, False]


def test_static_pairs_are_few_and_spread_over_the_set():
    samples, seen = make_samples(*range(1, 11)), []

    def estimate(first, second, start=None, /):
        if first.equal(second):
            seen.append(next(index for index, sample in enumerate(samples) if sample.first.equal(first[0])))
        return Estimate(torch.ones(1, 2, *first.shape[2:]))

    for number, expected in ((0, []), (3, [0, 3, 6]), (20, list(range(10)))):
        seen.clear()
        static_flow = evaluate(estimate, samples, static_pairs=number).metrics["static_flow"]
        assert seen == expected
        assert static_flow == pytest.approx(2**0.5 if expected else math.nan, nan_ok=True)


def test_a_warm_start_is_the_coarse_flow_carried_along_by_itself():
    network = FlowNetwork(NetworkConfig()).eval()
    first, second, third = torch.rand(3, 1, 3, 40, 56)
    warm = network_estimator(network, 2, warm_start=True)
    with torch.inference_mode():
        begun = network(first, second, iterations=2)
        expected = network(second, third, iterations=2, initial_flow=splat(begun.coarse, begun.coarse)).flows[-1]
        assert warm(second, third, warm(first, second).carried).flow.equal(expected)
        assert not warm(second, third).flow.equal(expected)


def test_a_network_that_gives_no_finite_flow_carries_nothing_along():
    network = FlowNetwork(NetworkConfig()).eval()
    with torch.no_grad():
        next(network.flow_head.parameters()).fill_(torch.nan)
    picture = torch.rand(1, 3, 40, 56)
    with torch.inference_mode():
        assert network_estimator(network, 1, warm_start=True)(picture, picture).carried is None


@pytest.mark.parametrize(
    "name, mode",
    [("kitti2012", "kitti"), ("kitti2015", "kitti"), ("sintel_clean", "sintel"), ("kitti_own.csv", "sintel")],
)
def test_pictures_are_padded_as_is_usual_for_their_set(name, mode):
    network = FlowNetwork(NetworkConfig()).eval()
    pair = torch.rand(2, 1, 3, 133, 140)
    with torch.inference_mode():
        found = network_estimator(network, 1, padding=padding_mode(name))(*pair).flow
        assert found.equal(network(*pair, iterations=1, padding=mode).flows[0])
        assert found.equal(network(*pair, iterations=1).flows[0]) == (mode == "sintel")


def test_pairs_are_also_measured_by_group():
    samples = Listed(make_samples(1.0, 4.0, 7.0, 20.0), ["a b"] * 4, ["near", "near", "far", ""])
    found = evaluate(picture_estimator(zero_flow), samples)
    assert {group: metrics["epe"] for group, metrics in found.groups.items()} == {"near": 2.5, "far": 7}
    assert found.metrics["epe"] == 8
    assert [pair.group for pair in found.pairs] == ["near", "near", "far", None]
    assert evaluate(picture_estimator(zero_flow), make_samples(1.0)).groups == {}


def test_the_worst_pairs_are_kept_with_their_pictures():
    samples = make_samples(2.0, 9.0, 1.0, 30.0, 9.0)
    samples[3] = samples[3]._replace(valid=torch.zeros(6, 8, dtype=torch.bool))
    worst = WorstPairs(2)
    with pytest.warns(UserWarning, match="no pixel with valid flow"):
        evaluate(picture_estimator(zero_flow), samples, watch=worst)
    assert [(pair.name, pair.error) for pair in worst.pairs] == [("pair/1", 9), ("pair/4", 9)]
    np.testing.assert_array_equal(worst.pairs[0].picture[:6, :8], (samples[1].first * 255).round().permute(1, 2, 0))

    def breaks_down(first, second, start=None, /):
        return Estimate(torch.full((1, 2, 6, 8), torch.nan))

    evaluate(breaks_down, make_samples(1.0), watch=worst)
    assert worst.pairs[0].error == float("inf")
    none = WorstPairs(0)
    evaluate(picture_estimator(zero_flow), make_samples(1.0), watch=none)
    assert none.pairs == []


def test_a_picture_of_one_pair_shows_its_frames_its_flows_and_its_error():
    height, width = 200, 260
    first, second = np.random.default_rng(0).integers(0, 255, (2, height, width, 3), np.uint8)
    truth = np.zeros((height, width, 2), np.float32)
    truth[..., 0] = 7.0
    valid = np.ones((height, width), bool)
    valid[:, 30:] = False
    flow = np.where(np.arange(width)[None, :, None] < 10, truth, truth * 2)
    picture = error_panel(first, second, flow, truth, valid)
    assert picture.shape == (3 * height, 2 * width, 3)
    np.testing.assert_array_equal(picture[:height], np.concatenate([first, second], axis=1))
    np.testing.assert_array_equal(picture[height : 2 * height, :10], picture[height : 2 * height, width : width + 10])
    assert not picture[height : 2 * height, width + 30 :].any()  # unknown
    errors = picture[2 * height :, :width]
    assert (errors[:, :10] == 255).all() and (errors[:, 10:30] == (90, 0, 40)).all() and not errors[:, 30:].any()
    np.testing.assert_array_equal(picture[2 * height :, width:][:80, :80], colour_wheel_legend(7.0, 80)[:80])


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
    with (output / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["pair"], float(row["epe"]), row["epe_matched"], float(row["static_flow"])) for row in rows] == [
        ("middlebury/Grove2", 2, "", 0),
        ("middlebury/Venus", 4, "", 0),
    ]
    assert sorted(path.name for path in output.iterdir()) == ["evaluation.json", "pairs.csv", "worst"]
    names = [path.relative_to(output / "worst").as_posix() for path in sorted((output / "worst").rglob("*.png"))]
    assert names == ["middlebury/01_middlebury_Venus.png", "middlebury/02_middlebury_Grove2.png"]


def test_fewer_or_no_pictures_and_no_static_pairs_on_request(middlebury, tmp_path):
    words = ("middlebury", "--root", middlebury, "--baseline", "zero", "--output", tmp_path / "out", "--overwrite")
    assert run(*words) == 0
    assert run(*words, "--worst", 1, "--static", 0) == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["01_middlebury_Venus.png"]
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert report["sets"]["middlebury"]["metrics"]["static_flow"] is None
    assert run(*words, "--worst", 0) == 0
    assert not (tmp_path / "out/worst").exists()


def test_pictures_of_sets_that_are_not_measured_again_go(middlebury, tmp_path):
    output = tmp_path / "out"
    for old in ("sintel/01_a.png", "kitti2015/100_b.png"):
        write_image(output / "worst" / old, np.zeros((2, 2, 3), np.uint8))
    (output / "worst/sintel/notes.txt").touch()
    assert run("middlebury", "--root", middlebury, "--baseline", "zero", "--output", output, "--overwrite") == 0
    assert sorted(path.name for path in (output / "worst").iterdir()) == ["middlebury", "sintel"]
    assert [path.name for path in (output / "worst/sintel").iterdir()] == ["notes.txt"]


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
        pairs.name = name
        groups = zip(pairs.pairs, ["wood", "stone"], strict=True)
        pairs.pairs = [type("Grouped", (type(pair),), {"set": group})(*pair) for pair, group in groups]  # pyright: ignore
        return pairs

    monkeypatch.setattr("flowgru.data.benchmarks.open_dataset", open_grouped)
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
    with (output / "pairs.csv").open(newline="") as file:
        assert [row["set"] for row in csv.DictReader(file)] == ["wood", "stone"]


def test_a_model_file_is_measured(middlebury, tmp_path, capsys):
    from flowgru.model.model_file import write_model_file

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
        (["middlebury", "--baseline", "zero", "--iterations", "3"], 2, "--baseline has no --model"),
        (["middlebury", "--baseline", "dis", "--warm-start"], 2, "--baseline has no --model"),
        (["middlebury", "--worst", "-1"], 2, "--worst is -1: it must be 0 or more"),
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

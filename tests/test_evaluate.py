"""Evaluation measures networks and baselines by the same code, and reports every pair."""

import csv
import json

import numpy as np
import pytest
import torch

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.flow_files import write_flow
from flowgru.data.images import to_tensor, write_image
from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.evaluation.evaluate import evaluate, network_estimator, picture_estimator
from flowgru.evaluation.metrics import METRICS
from flowgru.model.flow_network import FlowNetwork


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

    def estimate(first, second):
        seen.append((first, second))
        return torch.zeros(1, 2, *first.shape[2:])

    metrics, pairs = evaluate(estimate, samples)
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
    flow = picture_estimator(method)(first[None], first.flip(2)[None])
    np.testing.assert_array_equal(given[0], levels)
    np.testing.assert_array_equal(given[1], levels[:, ::-1])
    assert flow.shape == (1, 2, 16, 16) and (flow[0, 0] == 2).all() and (flow[0, 1] == -3).all()


def test_a_network_is_measured_after_its_last_refinement():
    network = FlowNetwork(NetworkConfig()).eval()
    sample = make_samples(1.0)[0]
    with torch.inference_mode():
        expected = network(sample.first[None], sample.second[None], iterations=3).flows[-1]
        assert network_estimator(network, 3)(sample.first[None], sample.second[None]).equal(expected)
    with pytest.raises(RequestError, match="at least 1 refinement"):
        network_estimator(network, 0)


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
    assert [(row["pair"], float(row["epe"]), row["epe_matched"]) for row in rows] == [
        ("middlebury/Grove2", 2, ""),
        ("middlebury/Venus", 4, ""),
    ]
    assert sorted(path.name for path in output.iterdir()) == ["evaluation.json", "pairs.csv"]


def test_a_model_file_is_measured(middlebury, tmp_path, capsys):
    from flowgru.model.model_file import write_model_file

    network = FlowNetwork(NetworkConfig())
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 2}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), card, overwrite=False)
    output = tmp_path / "out"
    words = ("middlebury", "--root", middlebury, "--model", tmp_path / "model.safetensors", "--device", "cpu")
    assert run(*words, "--output", output) == 0
    method = json.loads((output / "evaluation.json").read_text())["method"]
    assert method["iterations"] == 2 and method["device"] == "cpu"
    assert "iterations 2" in capsys.readouterr().out


def test_results_are_not_overwritten_unasked(middlebury, tmp_path, capsys):
    words = ("middlebury", "--root", middlebury, "--baseline", "zero", "--output", tmp_path / "out")
    assert run(*words) == 0
    before = (tmp_path / "out/pairs.csv").stat().st_mtime_ns
    assert run(*words) == 2
    assert "already holds evaluation.json and pairs.csv" in capsys.readouterr().err
    assert (tmp_path / "out/pairs.csv").stat().st_mtime_ns == before
    assert run(*words, "--overwrite") == 0


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["sintle"], 2, "did you mean 'sintel'"),
        (["sintel"], 3, "sintel is not below"),
        (["middlebury", "--baseline", "zero", "--iterations", "3"], 2, "--baseline has no --model"),
        (["middlebury", "--baseline", "best"], 2, "--baseline is 'best'"),
        (["middlebury", "--model", "nowhere.pth"], 2, "no model file nowhere.pth"),
        ([], 2, "DATA must be given"),
    ],
)
def test_a_wrong_request_is_one_line(words, code, said, middlebury, capsys):
    assert run(*words, "--root", middlebury) == code
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1

"""Whole commands on a device cuda whose tensors have values: none mixes devices, and all give what a CPU gives."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from estimates import SIZE
from fake_cuda import cuda_with_values

from flowgru import load_model
from flowgru.benchmarking.cases import matcher_of, record_graphs, video_flows
from flowgru.cli import main
from flowgru.data.formats.flow_files import read_flow, write_flow_array


def flows(folder):
    return {path.name: read_flow(path).flow for path in sorted(folder.glob("*.flo"))}


@pytest.mark.parametrize(
    ("options", "most_moved", "num_replayed"),
    [
        (["--backward", "--warm-start", "--initial-flow", "dis", "--polish"], 1.0, 5),
        (["--no-overlap", "--no-cuda-graph", "--correlation", "on_demand", "--resize", "0.9"], 1.0, 0),
        (["--stop-below", "0.01", "--hold", "1"], 1.0, 0),
        (["--scales", "2", "--initial-flow", "dis", "--coarse-iterations", "1"], 1.0, 4),
        (["--scales", "2", "--initial-flow", "dis", "--coarse-iterations", "1"], -1.0, 7),
    ],
)
def test_an_estimation_gives_the_flows_of_a_cpu(
    folder, estimate, tmp_path, monkeypatch, options, most_moved, num_replayed
):
    monkeypatch.setattr("flowgru.estimation.matching.initial_flow.MOST_MOVED", most_moved)
    monkeypatch.setattr("flowgru.estimation.matching.matcher.MIN_SIDE_TO_HALVE", min(SIZE))
    words = [str(folder), "--iterations", 2, "--end", 4, *options]
    assert estimate(*words, "--output", tmp_path / "cpu") == 0
    with cuda_with_values() as graphs:
        assert estimate(*words, "--output", tmp_path / "cuda", "--device", "cuda") == 0
    found, expected = flows(tmp_path / "cuda"), flows(tmp_path / "cpu")
    assert found.keys() == expected.keys() and len(found) == 3 * (1 + ("--backward" in options))
    for name, flow in expected.items():
        np.testing.assert_allclose(found[name], flow, atol=2e-3)
    assert graphs.num_replayed == num_replayed
    if "--scales" in options:
        (clip,) = json.loads((tmp_path / "cuda/summary.json").read_text())["clips"]
        assert {flow["initial_flow"] for flow in clip["flows"]} == {"zero" if most_moved < 0 else "dis"}


def test_an_evaluation_gives_the_measures_of_a_cpu(pair, model, tmp_path):
    write_flow_array(tmp_path / "true.flo", np.ones((*SIZE, 2), np.float32))
    (tmp_path / "manifest.csv").write_text("first,second,flow\na.png,b.png,true.flo\n")
    errors = []
    for device, place in (("cpu", nullcontext), ("cuda", cuda_with_values)):
        words = f"evaluate {tmp_path}/manifest.csv --model {model} --iterations 2 --trust --static 1 --device {device}"
        with place():
            assert main([*words.split(), "--output", str(tmp_path / device)]) == 0
        measured = json.loads((tmp_path / device / "evaluation.json").read_text())
        errors.append(measured["sets"]["manifest.csv"]["metrics"]["epe"])
    assert errors[0] == pytest.approx(errors[1], abs=1e-3)


def test_points_are_followed_and_a_clip_is_shown(folder, model, tmp_path):
    with cuda_with_values():
        for words in (
            f"track {folder} --grid 2 --end 3 --output {tmp_path}/out",
            f"live --source {folder} --frames 1 --display none",
        ):
            assert main([*words.split(), "--model", model, "--iterations", "1", "--device", "cuda"]) == 0
    assert len((tmp_path / "out/tracks.csv").read_text().splitlines()) == 1 + 3 * 4


@pytest.mark.parametrize("device", ["cuda:0", "cuda:7"])
def test_another_gpu_than_there_is_is_one_line(folder, estimate, capsys, device):
    with cuda_with_values():
        code = estimate(folder, "--end", 2, "--device", device)
    said = capsys.readouterr().err.splitlines()
    assert code == (4 if device == "cuda:7" else 0)
    assert ("the device cuda:7 cannot be used (CUDA error: invalid device ordinal)" in said[-1]) == (device == "cuda:7")


def test_a_benchmark_times_what_is_recorded_already(model, monkeypatch):
    monkeypatch.setattr("flowgru.benchmarking.cases.PAIRS_BEFORE", 2)
    frames = torch.rand(3, 3, *SIZE)
    with cuda_with_values() as graphs:
        matcher = matcher_of(load_model(model, "cuda"), 2)
        record_graphs(matcher, frames)
        before = graphs.num_recorded, graphs.num_replayed
        found = video_flows(matcher, frames)
        assert before == (1, 1) and (graphs.num_recorded, graphs.num_replayed) == (1, 1 + 2)
        found = [flow.cpu() for flow in found]
    torch.testing.assert_close(found, video_flows(matcher_of(load_model(model, "cpu"), 2), frames), atol=2e-3, rtol=0)

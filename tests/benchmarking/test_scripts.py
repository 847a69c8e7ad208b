"""The scripts of benchmarks/ compare what they time first, and leave out and say what is wrong or cannot be run."""

import argparse
import json
import runpy
import subprocess
import sys
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from paths import ROOT
from tables import rows, rows_without_times

from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.data.sets.opening import open_dataset
from flowgru.model.exported import formats
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.operators import operator_variants

pytestmark = pytest.mark.timeout(1800)  # of some, most is the start of processes, which a busy machine draws out

CPU = torch.device("cpu")


SMALL = ("--networks", "small", "--size", "128x128", "--rounds", 1)


def test_flows_against_torchvision_are_compared_and_then_timed(script, tmp_path, capsys):
    words = ("--iterations", 1, "--frames", 2, 3, "--autocast", "--classical", "--json", tmp_path / "a.jsonl")
    script("against_torchvision", *SMALL, *words).main()
    found = rows(tmp_path / "a.jsonl")
    assert [row["method"] for row in found[:4]] == [
        "torchvision",
        "torchvision, autocast",
        "flowgru, eager, all_pairs",
        "flowgru, eager, all_pairs, autocast",
    ]
    assert len(found) == 12 and found[2]["largest difference, px"] <= 1e-3
    assert found[0]["times as fast as torchvision (range)"] == {"median": 1, "lowest": 1, "highest": 1}


def test_a_flow_that_differs_from_torchvisions_is_not_timed(script, tmp_path, monkeypatch):
    against = script("against_torchvision", *SMALL, "--iterations", 1, "--frames", 2, "--json", tmp_path / "a.jsonl")
    right = against.video_flows
    monkeypatch.setattr(against, "video_flows", lambda *given: [flow + 2e-3 for flow in right(*given)])
    with pytest.raises(SystemExit, match=r"wrong:\nsmall, flowgru, eager, all_pairs: 2.0e-03 px from torchvision"):
        against.main()
    assert [row["method"] for row in rows(tmp_path / "a.jsonl")] == ["torchvision"]


@pytest.mark.parametrize("error, timed", [(2e-3, True), (2e-2, False)])
def test_a_difference_that_cudnn_makes_may_be_larger_but_not_by_much(script, tmp_path, monkeypatch, error, timed):
    against = script("against_torchvision", *SMALL, "--iterations", 1, "--frames", 2, "--json", tmp_path / "a.jsonl")
    right = against.video_flows
    flows = lambda *given: [flow + error * torch.backends.cudnn.enabled for flow in right(*given)]  # noqa: E731
    monkeypatch.setattr(against, "video_flows", flows)
    with nullcontext() if timed else pytest.raises(SystemExit, match=r"2.0e-02 px from torchvision"):
        against.main()
    assert len(rows(tmp_path / "a.jsonl")) == 1 + timed


def test_the_exported_files_weights_are_those_that_are_compared(script, tmp_path):
    against = script("against_torchvision", *SMALL, "--write-weights", tmp_path / "raft.pth")
    against.main()
    written = torch.load(tmp_path / "raft.pth")
    theirs, _ = against.same_weights("small", CPU)
    assert all(torch.equal(written[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("off, timed", [(0.0, True), (0.1, False)])
def test_an_exported_file_is_run_in_its_runtime_and_compared(script, tmp_path, monkeypatch, off, timed):
    words = ("--iterations", 12, "--frames", 2, "--exported", tmp_path / "pair.onnx", "--json", tmp_path / "a.jsonl")
    against = script("against_torchvision", *SMALL, *words)
    theirs, _ = against.same_weights("small", CPU)

    def run(inputs):
        pair = torch.cat([torch.from_numpy(inputs[name]) for name in ("first", "second")])
        (flow,) = against.theirs_as(theirs)(pair, 12)
        return {"flow": flow[None].detach().numpy() + off, "coarse_flow": flow[None, :, ::8, ::8].detach().numpy()}

    card = {"network": {"preset": "small", "operator": "conv_gru"}, "iterations": 12, "export": {"max_size": 256}}
    opened = formats.Opened("a runtime", json.dumps(card), ["first", "second"], run)
    monkeypatch.setitem(formats.FORMATS, "onnx", formats.FORMATS["onnx"]._replace(open=lambda path: opened))
    (tmp_path / "pair.onnx").touch()
    with nullcontext() if timed else pytest.raises(SystemExit, match=r"small, a runtime, pair.onnx: 1\.0e-01 px"):
        against.main()
    assert [row["method"] for row in rows(tmp_path / "a.jsonl")][2:] == ["a runtime, pair.onnx"] * timed


def test_both_methods_of_correlation_are_compared_and_then_timed(script, tmp_path, monkeypatch):
    words = ("--sizes", "64x72", "--channels", 8, "--rounds", 1, "--json", tmp_path / "a.jsonl")
    script("lookup", *words).main()
    assert [row["flow"] for row in rows(tmp_path / "a.jsonl")] == [
        "(making it)",
        "zero",
        "smooth",
        "bending",
        "noise of 20 px",
    ]
    lookup = script("lookup", *words)
    monkeypatch.setattr(lookup, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="64x72, smooth: the methods differ by"):
        lookup.main()


def test_a_scan_that_is_wrong_is_not_timed(script, tmp_path, monkeypatch):
    scan = script("scan", "--lengths", 4, 8, "--rounds", 1, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr(scan, "COARSE", (1, 8, 5, 6))
    right = scan.linear_scan

    def wrong(decay, update, *, dim=-1, reverse=False, backend="auto"):
        states = right(decay, update, dim=dim, reverse=reverse, backend=backend)
        return states + 1e-2 if backend == "hillis_steele" and update.dim() == 4 else states

    monkeypatch.setattr(scan, "linear_scan", wrong)
    with pytest.raises(SystemExit, match="hillis_steele over 6 steps"):
        scan.main()
    timed = [row["backend"] for row in rows_without_times(tmp_path / "a.jsonl") if "times the floor" in row]
    assert "plain loop" in timed and "blelloch" in timed and "hillis_steele" not in timed


def test_launches_are_counted_with_and_without_the_kernels(script, tmp_path):
    launches = script(
        "launches", "--networks", "compact", "--iterations", 1, "--size", "128x128", "--json", tmp_path / "a.jsonl"
    )
    launches.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [row["what"] for row in found] == [
        *["training, forward", "training, backward", "training, whole step", "estimation"] * 2,
        "estimation",
    ]
    assert all(0.3 < row["share"] < 0.9 for row in found[:-1]) and found[-1]["share"] is None
    assert {row["what"]: row["its share"] is None for row in found[:4]} == {
        "training, forward": True,
        "training, backward": True,
        "training, whole step": False,
        "estimation": False,
    }
    assert all(row["its share"] < 1 / 3 for row in found if row["what"] == "training, whole step")


@pytest.mark.slow
def test_generated_pairs_are_counted_and_timed_one_by_one_and_in_batches(script, tmp_path):
    few = ("--size", "64x80", "--num-textures", 2, "--batch", 4, "--batches", 1, "--json", tmp_path / "a.jsonl")
    generation = script("generation", *few)
    generation.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [row["form"] for row in found] == ["one by one", "drawn", "painted", "start of DIS"]
    assert all(row["measured ms"] > 0 for row in found)
    alone, together = found[0], found[2]
    assert together["launches a pair"] < alone["launches a pair"] / 4
    assert together["host ms"] == pytest.approx(together["launches a pair"] * 6e-3)


def test_all_operators_are_in_the_list(script, tmp_path):
    operators = script("operators", "--preset", "small", "--size", "8x8", "--rounds", 1, "--json", tmp_path / "a.jsonl")
    operators.main()
    assert [row["operator"] for row in rows(tmp_path / "a.jsonl")] == [*operator_variants()]


@pytest.mark.slow
def test_tracks_are_compared_with_exact_ones_both_ways(script, tmp_path, model, capsys):
    words = ("--clips", 2, "--frames", 4, "--size", "64x64", "--grid", 3, "--strides", 1, 2, "--photos", "")
    script("tracks", "--model", model, *words, "--json", tmp_path / "a.jsonl").main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [row["followed by"] for row in found] == ["flows from frame to frame", "chains over 1, 2"]
    assert all(0 <= float(row["within 16 px, %"]) <= 100 and float(row["occlusion accuracy, %"]) > 0 for row in found)
    assert "within 4 px, chosen chains minus plain chaining: " in (said := capsys.readouterr().out) and "95 %" in said


def test_a_memory_over_time_is_measured_beside_none_and_a_warm_start(script, tmp_path, capsys):
    models = []
    for memory in (False, True):
        torch.manual_seed(0)
        network = FlowNetwork(NetworkConfig("compact", "min_gru", memory=memory))
        if network.temporal_memory is not None:
            torch.nn.init.normal_(network.temporal_memory.to_hidden.weight, std=0.3)
        models.append(str(tmp_path / f"{memory}.safetensors"))
        card = {"network": {"preset": "compact", "operator": "min_gru", "memory": memory}, "iterations": 1}
        write_model_file(models[-1], network.state_dict(), card)
    words = ("--clips", 2, "--frames", 3, "--size", "64x64", "--iterations", 1, "--photos", "", "--textures", 2)
    script("memory_over_time", *models, *words, "--root", tmp_path, "--json", tmp_path / "a.jsonl").main()
    found = rows_without_times(tmp_path / "a.jsonl")
    rows_of_both = ["each pair for itself", "warm start", "memory", "memory and warm start"]
    for model, expected in zip(models, (rows_of_both[:2], rows_of_both), strict=True):
        of_model = [row for row in found if row["model"] == model]
        assert [row["row"] for row in of_model] == 2 * expected
        errors = [row["going on, px"] for row in of_model[: len(expected)]]
        assert len({*errors}) == len(errors)
    assert "sintel_clean: not measured" in capsys.readouterr().err


def test_a_case_that_memory_does_not_allow_is_written_as_not_run(script, tmp_path):
    words = ("--sizes", "128x128", "--networks", "small", "--methods", "torchvision", "--iterations", 1, "--rounds", 1)
    script("memory", *words, "--limit-gib", 0.3, "--json", tmp_path / "a.jsonl").main()
    (row,) = rows(tmp_path / "a.jsonl")
    assert row["s a pair"].startswith("not run: expected to take") and row["peak GiB"] is None


@pytest.mark.slow
def test_everything_runs_unattended(tmp_path):
    words = [sys.executable, ROOT / "benchmarks/everything.py", "--quick", "--output", tmp_path, "--device", "cpu"]
    run = subprocess.run([*words, "--threads", "1"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + (tmp_path / "log.txt").read_text()
    tables = {json.loads(line)["table"] for line in (tmp_path / "results.jsonl").read_text().splitlines()}
    assert len(tables) == 11 and "Not run" not in (tmp_path / "results.md").read_text()
    again = subprocess.run([*words, "--threads", "1"], capture_output=True, text=True)
    assert again.returncode == 1 and "exists already" in again.stderr


def test_the_tests_of_a_gpu_need_no_plugin_of_pytest(script):
    given = argparse.Namespace(device="cuda", threads=None, quick=True, compile=True)
    (words,) = [step.words for step in script("everything").steps(given) if step.name == "tests"]
    alone = "import sys; sys.modules['beartype'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", alone, *words[2:], "--collect-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0 and "test_values_and_gradients_are_those_of_all_pairs" in run.stdout, (
        run.stdout + run.stderr
    )


def test_a_benchmark_that_is_not_there_is_refused_before_anything_is_made(script, tmp_path, capsys):
    everything = script("everything", "--output", tmp_path / "out", "--device", "cpu", "--only", "scan", "scams")
    with pytest.raises(SystemExit):
        everything.main()
    assert (
        "--only names scams: the steps are operators, " in capsys.readouterr().err and not (tmp_path / "out").exists()
    )


def test_a_script_that_would_not_end_is_stopped_and_written_as_not_run(tmp_path):
    words = [sys.executable, ROOT / "benchmarks/everything.py", "--quick", "--output", tmp_path, "--device", "cpu"]
    run = subprocess.run([*words, "--minutes", "0.05", "--only", "scan", "lookup"], capture_output=True, text=True)
    assert run.returncode == 1
    text = (tmp_path / "results.md").read_text()
    assert "Not run to its end: the time was over" in text and "Not run: no time was left" in text


def test_the_list_of_operators_times_none_that_breaks_the_contract(monkeypatch, capsys):
    monkeypatch.setattr("flowgru.benchmarking.operator_table.broken_contract", lambda operator: "it is lazy")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["operators.py", "--threads", str(torch.get_num_threads())])
    with pytest.raises(SystemExit, match="conv_gru breaks the contract of update operators and nothing is timed"):
        runpy.run_path(str(ROOT / "benchmarks/operators.py"), run_name="__main__")
    assert "ms per step" not in capsys.readouterr().out


OTHERS = {
    "reporting",
    "session",
    "everything",
    "gpu_run",
    "gpu_training",
    "fine_tuning",
    "scan_ideas",
    "reach_hypotheses",
}
SCRIPTS = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - OTHERS)
"""Those that measure one thing each: reporting.py, session.py and gpu_training.py are parts of others, everything.py,
gpu_run.py and scan_ideas.py call others, fine_tuning.py writes pairs, and reach_hypotheses.py reads what was measured."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_reads_its_options_and_says_its_rows_in_the_same_way(name):
    text = (ROOT / "benchmarks" / f"{name}.py").read_text("utf-8")
    assert "arguments(__doc__" in text and "parsed(parser)" in text and "lines=given.json" in text
    assert "parse_args" not in text and f"\npython benchmarks/{name}.py" in text


def test_pairs_for_a_fine_tuning_are_listed_and_of_two_kinds(script, tmp_path, monkeypatch):
    few = ("--pairs", 2, "--held-out", 1, "--size", "64x80", "--photos", "")
    fine_tuning = script("fine_tuning", "--output", tmp_path, *few)
    monkeypatch.setattr(fine_tuning, "SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    fine_tuning.main()
    sets = {name: open_dataset(str(tmp_path / f"{name}.csv"), ".") for name in ("my_pairs", "my_held_out_pairs")}
    assert [len(pairs) for pairs in sets.values()] == [2, 1] and sets["my_pairs"][0].first.shape == (3, 64, 80)
    old = open_dataset(str(tmp_path / "old_held_out_pairs.csv"), ".")[0]
    still = [(pair.flow == 0).all(dim=0).float().mean().item() for pair in (*sets["my_pairs"], old)]
    assert min(still[:2]) > 0.3  # a background that stands still

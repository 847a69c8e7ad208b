"""What is timed is right first, is compared round by round, and says its conditions."""

import argparse
import importlib
import itertools
import json
import math
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from paths import ROOT

from flowgru.benchmarking.timing import CLOCKS, Ratio, Table, conditions, interleaved_seconds, speed_ratio
from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.formats.images import write_image
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.operators import operator_variants

pytestmark = pytest.mark.timeout(1800)  # of some, most is the start of processes, which a busy machine draws out

STATED = {"size", "dtype", "iterations", "device", "threads", "correlation", "warm-up", "rounds", "clock", "torch"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru", hidden_size=8)).eval()
    with torch.no_grad():
        for parameter in network.flow_head.parameters():
            parameter *= 0.1
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_model_file(path, network.state_dict(), {"network": asdict(network.config)})
    return str(path)


@pytest.fixture
def script(monkeypatch):
    """Runs a script of benchmarks/ in this process, and gives the module, for a test to change before."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]
    before = {name: sys.modules.pop(name, None) for name in names}

    def load(name: str, *words: object):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words), "--threads", str(torch.get_num_threads())])
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update({name: module for name, module in before.items() if module is not None})


def rows(path: Path) -> list[dict]:
    """The rows of a file of JSON lines; every one must come with its conditions."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines and all(line["conditions"].keys() >= STATED for line in lines)
    return [line["row"] for line in lines]


def test_a_ratio_is_that_of_the_rounds_not_of_the_medians():
    assert speed_ratio([1.0, 10.0, 4.0], [1.0, 5.0, 1.0]) == Ratio(2, 1, 4)


def test_what_is_short_runs_several_times_in_its_turn(monkeypatch):
    now, runs = itertools.count(), []
    clock = [0.0]
    monkeypatch.setitem(CLOCKS, "wall", lambda: clock[0])

    def action(name: str, seconds: float):
        def run() -> None:
            runs.append((name, next(now)))
            clock[0] += seconds

        return run

    actions = {"short": action("short", 0.25), "long": action("long", 2.0)}
    times = interleaved_seconds(actions, 2, CPU, warm_up=2, least=1.0)
    assert times == {"short": [0.25, 0.25], "long": [2.0, 2.0]}
    assert [name for name, _ in runs] == ["short", "long"] * 2 + [*["short"] * 4, "long"] * 2


def test_a_table_is_markdown_under_its_conditions_and_each_row_is_a_line_of_json(tmp_path):
    said = conditions(
        CPU, size="8x8 px", dtype="float32", iterations="1", correlation="none", rounds=3, warm_up="1", early_exit="no"
    )
    lines: list[str] = []
    table = Table("Title", said, ["what", "ms", "ratio", "none"], say=lines.append, lines=tmp_path / "rows.jsonl")
    table.add("a", 1234.5, Ratio(2.0, 1.0, 3.0), None)
    table.add("b", (0.5, 0.25), 1200000, math.pi)
    text = "\n".join(lines)
    assert "threads: 1; " in text and "early exit: no; " in text
    assert "| a | 1,234 | 2.00 (1.00-3.00) | - |" in text and "| b | 0.5 / 0.25 | 1,200,000 | 3.14 |" in text
    first, _ = rows(tmp_path / "rows.jsonl")
    assert first == {"what": "a", "ms": 1234.5, "ratio": {"median": 2, "lowest": 1, "highest": 3}, "none": None}


def test_every_combination_of_the_settings_is_a_case_against_the_first(model, tmp_path, capsys):
    words = f"benchmark --model {model} --size 40x48 --iterations 1,2 --correlation all_pairs,on_demand --no-memory"
    words += f" --frames 3 --rounds 1 --threads 1 --json {tmp_path / 'result.json'}"
    assert main(words.split()) == 0
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["conditions"].keys() >= STATED and found["conditions"]["size"] == "40x48 px"
    cases = [(row["refinements"], row["correlation"]) for row in found["rows"]]
    assert cases == [*itertools.product((1, 2), ("all_pairs", "on_demand"))]
    differences = [row["mean difference from the first's flow, px"] for row in found["rows"]]
    assert differences[0] is None and differences[1] < 1e-5 < differences[2]
    assert all(row["s a pair"] > 0 and row["video, frames/s"] > 0 for row in found["rows"])
    printed = capsys.readouterr().out
    assert "### Models and settings" in printed and printed.count("\n| /") == 4


def test_the_peak_of_memory_is_that_of_a_process_of_its_own(model, tmp_path, capsys):
    words = f"benchmark --model {model} --size 40x48 --iterations 1 --frames 2 --rounds 1 --json {tmp_path / 'a.json'}"
    ballast = torch.ones(2**28)  # 1 GiB, which a measurement in this process would see
    assert main(words.split()) == 0
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert 100 < row["peak MiB"] < 1000 and ballast[0] == 1


def test_the_users_own_clip_is_measured_at_its_own_size_or_another(model, tmp_path, capsys):
    (tmp_path / "clip").mkdir()
    for number in range(5):
        picture = (torch.rand(24, 40, 3) * 255).byte().numpy()
        write_image(tmp_path / "clip" / f"{number}.png", picture)
    for size, expected in (("", "24x40"), (" --size 32x48", "32x48")):
        words = f"benchmark --model {model} --clip {tmp_path / 'clip'} --iterations 1 --no-memory --frames 3 --rounds 1"
        assert main((words + size).split()) == 0
        assert f"size: {expected} px" in (out := capsys.readouterr().out) and "video: 3 frames of" in out


def test_operators_are_listed_with_parameters_and_time_of_a_step(tmp_path, capsys):
    words = ["benchmark", "--operators", "min_gru,conv_min_gru form=cand", "--size", "16x24", "--preset", "small"]
    assert main([*words, "--rounds", "1", "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["operator"] for row in found["rows"]] == ["seq_conv_gru", "min_gru", "conv_min_gru form=cand"]
    assert found["rows"][0]["parameters"] == 697_536 and all(row["ms per step"] > 0 for row in found["rows"])
    assert found["conditions"].keys() >= STATED


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--size 40", 2, "--size is '40': expected HEIGHTxWIDTH"),
        ("--iterations 0", 2, "--iterations is 0: it must be 1 or more"),
        ("--frames 1", 2, "--frames is 1: it must be 2 or more"),
        ("--precision 31", 2, "--precision is '31': expected a list, each entry one of 32, bf16, 16"),
        ("--operators conv_gro", 2, "--operators: there is no 'conv_gro': give all, or some of conv_gru"),
        ("--model nothing.pth --frames 2 --size 16x16", 2, "there is no model file nothing.pth"),
        ("--clip nothing.mp4", 3, "nothing.mp4"),
        ("--json {taken}", 2, "exists already: give --overwrite or another --json"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, code, said, tmp_path, capsys):
    (tmp_path / "taken.json").write_text("precious")
    assert main(["benchmark", *words.format(taken=tmp_path / "taken.json").split()]) == code
    assert said in (text := capsys.readouterr().err) and len(text.splitlines()) == 1
    assert (tmp_path / "taken.json").read_text() == "precious"


def test_help_needs_no_torch():
    code = "import sys; from flowgru.cli import main; main(['benchmark', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


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


def test_an_exported_file_is_run_by_both_runtimes_and_compared(script, tmp_path):
    """This one gives a flow of zeros and ones, which is wrong."""
    helper = pytest.importorskip("onnx").helper
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
    shape = [1, 3, 128, 128]
    pictures = [helper.make_tensor_value_info(name, 1, shape) for name in ("first", "second")]
    flow = helper.make_tensor_value_info("flow", 1, [1, 2, 128, 128])
    nodes = [
        helper.make_node("Greater", ["first", "second"], ["more"]),
        helper.make_node("Cast", ["more"], ["number"], to=1),
        helper.make_node("Split", ["number"], ["flow", "rest"], axis=1, num_outputs=2),
    ]
    graph = helper.make_graph(nodes, "pair", pictures, [flow])
    path = tmp_path / "pair.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    words = ("--iterations", 1, "--frames", 2, "--exported", path, "--json", tmp_path / "a.jsonl")
    with pytest.raises(SystemExit) as refused:
        script("against_torchvision", *SMALL, *words).main()
    assert all(f"small, {name}, pair.onnx: " in str(refused.value) for name in ("ONNX Runtime", "OpenVINO"))


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
    timed = [row["backend"] for row in rows(tmp_path / "a.jsonl") if "times the floor" in row]
    assert "plain loop" in timed and "blelloch" in timed and "hillis_steele" not in timed


def test_all_operators_are_in_the_list(script, tmp_path):
    operators = script("operators", "--preset", "small", "--size", "8x8", "--rounds", 1, "--json", tmp_path / "a.jsonl")
    operators.main()
    assert [row["operator"] for row in rows(tmp_path / "a.jsonl")] == [*operator_variants()]


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
    assert len(tables) == 10 and "Not run" not in (tmp_path / "results.md").read_text()
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


def test_a_script_that_would_not_end_is_stopped_and_written_as_not_run(tmp_path):
    words = [sys.executable, ROOT / "benchmarks/everything.py", "--quick", "--output", tmp_path, "--device", "cpu"]
    run = subprocess.run([*words, "--minutes", "0.02", "--only", "scan", "lookup"], capture_output=True, text=True)
    assert run.returncode == 1
    text = (tmp_path / "results.md").read_text()
    assert "Not run to its end: the time was over" in text and "Not run: no time was left" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--operators", "all", "--iterations", "3"],
            "--iterations has no effect here: --operators measures steps alone",
        ),
        (["--preset", "small"], "--preset has no effect here: it belongs to --operators"),
    ],
)
def test_an_option_without_effect_is_refused(words, said, capsys):
    assert main(["benchmark", *words]) == 2
    assert said in capsys.readouterr().err

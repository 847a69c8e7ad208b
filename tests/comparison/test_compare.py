"""A comparison gives every operator the same recipe, measures them alike, and goes on wherever it was stopped."""

import csv
import json
import math
import operator as arithmetic
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file
from torch import nn

from flowgru.benchmarking.costs import multiply_adds
from flowgru.benchmarking.timing import CLOCKS, median_ms
from flowgru.cli import main
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.measurements import read_measurements
from flowgru.comparison.plan import TOLERANCE, plan_rows, reference_network, run_config, select_rows
from flowgru.comparison.runs import measured_pairs, train_and_measure
from flowgru.config import ComparisonConfig, HeldBackConfig, NetworkConfig, RowConfig, SyntheticSettings, TrainConfig
from flowgru.errors import MachineError, RequestError
from flowgru.files.writer_lock import WriterLock
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.transfer import transfer
from flowgru.operators import make_operator
from flowgru.operators.base import UpdateOperator
from flowgru.operators.contract import broken_contract
from flowgru.processes.jobs import Job, run_jobs
from flowgru.training.engine import Diverged
from flowgru.training.pairs import training_pairs
from flowgru.training.run import _new_network

pytestmark = pytest.mark.timeout(1800)  # most of it is the start of processes, which a busy machine draws out

CONFIGS = ROOT / "configs"
ROWS = ("conv_gru", "conv_min_gru", "seq_conv_gru")
TINY = ComparisonConfig(
    rows=tuple(RowConfig(name, name) for name in ROWS),
    reference="conv_gru",
    seeds=(0, 1),
    training=TrainConfig(data=SyntheticSettings(height=128, width=128, num_textures=4), batch_size=1),
    test=HeldBackConfig(pairs=1, height=128, width=136),
    iterations=(1, 3),
)
RECIPE = """
rows: [{name: conv_gru, operator: conv_gru}, {name: control, operator: conv_min_gru}]
reference: conv_gru
seeds: [0]
training:
  data: {height: 128, width: 128, photos: null, num_textures: 4}
  validation: {pairs: 1, height: 128, width: 128, iterations: [1]}
  steps: 2
  batch_size: 1
  iterations: 1
  workers: 0
  log_every: 1
  checkpoint_every: 1
test: {pairs: 1, height: 128, width: 136}
iterations: [1, 3]
"""


def words(folder: Path, *more: str) -> list[str]:
    """The command line of a comparison in `folder`, whose recipe lies beside it."""
    recipe = folder.parent / "recipe.yaml"
    if not recipe.exists():
        recipe.write_text(RECIPE)
    return ["compare", "--config", str(recipe), "--output", str(folder), "--device", "cpu", *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a comparison of one row with one seed."""
    folder = tmp_path_factory.mktemp("comparison") / "results"
    assert main(words(folder, "--operators", "conv_gru")) == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of it that a test may harm."""
    shutil.copy(finished.parent / "recipe.yaml", tmp_path)
    return Path(shutil.copytree(finished, tmp_path / "results"))


def test_a_comparison_measures_all_that_it_promises(finished):
    found = {one[:-1]: one.value for one in read_measurements(finished / "measurements.csv")}
    assert {key[0] for key in found} == {"equal_width", "equal_parameters"} and {key[1] for key in found} == {
        "conv_gru"
    }
    for regime in ("equal_width", "equal_parameters"):
        mine = {key[2:]: value for key, value in found.items() if key[0] == regime}
        assert {key for key in mine if key[1] == "epe_per_image"} == {
            (0, "epe_per_image", "synthetic", n, None) for n in (1, 3)
        }
        assert {key[4] for key in mine if key[1] == "training_loss"} == {1, 2}
        assert {key[3] for key in mine if key[1] == "ms_per_pair"} == {1, 3}
        for measure in ("parameters", "operator_parameters", "hidden_size", "multiply_adds", "ms_per_step", "peak_mib"):
            assert mine[None, measure, "", None, None] > 0, measure
        assert mine[None, "zero_epe_per_image", "synthetic", None, None] > 0
    assert all(math.isfinite(value) for value in found.values())


def test_comparison_json_says_what_was_compared_and_on_what(finished):
    about = json.loads((finished / "comparison.json").read_text())
    assert about["config"]["training"]["steps"] == 2 and about["config"]["reference"] == "conv_gru"
    row = about["rows"]["equal_parameters"]["conv_gru"]
    network = FlowNetwork(NetworkConfig("compact", "conv_gru"))
    assert row["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (row["operator"], row["options"], row["hidden_size"], row["steps"]) == ("conv_gru", {}, 80, 2)
    assert about["machine"].keys() == {"torch", "device", "threads", "platform"}
    assert about["zero_flow"]["synthetic"] > 0 and {"command", "commit", "date"} <= about.keys()


def test_what_is_finished_is_not_done_again(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/**/*")}
    measured = (finished / "measurements.csv").read_text()
    assert main(words(finished, "--operators", "conv_gru")) == 0
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("runs/**/*")}
    assert (finished / "measurements.csv").read_text() == measured
    assert "1 of 1 runs are finished already" in capsys.readouterr().out


def test_the_report_is_written_at_the_end(finished, monkeypatch, capsys):
    told = []
    report = SimpleNamespace(write_report=lambda folder: told.append(folder) or [folder / "report.html"])
    monkeypatch.setitem(sys.modules, "flowgru.comparison.report.page", report)
    assert main(words(finished, "--operators", "conv_gru")) == 0
    assert told == [finished] and f"wrote {finished / 'report.html'}" in capsys.readouterr().out


def test_the_regimes_share_the_runs_of_one_width(finished):
    assert [str(path.relative_to(finished)) for path in finished.glob("runs/*/*/seed*")] == [
        "runs/equal_width/conv_gru/seed0"
    ]


def test_a_finished_run_keeps_its_model_and_drops_its_checkpoints(finished):
    run = finished / "runs/equal_width/conv_gru/seed0"
    assert (run / "model.safetensors").is_file() and not list(run.glob("step-*"))


def test_the_measured_error_is_that_of_the_model_file(finished):
    from flowgru.commands.compare import compare
    from flowgru.evaluation.validation import validate
    from flowgru.model.weight_files.loading import load_model
    from flowgru.parser import TaskParser

    config = TaskParser("flowgru compare", compare).parse(words(finished)[1:])["config"]
    network = load_model(finished / "runs/equal_width/conv_gru/seed0/model.safetensors", "cpu")
    errors = validate(network, measured_pairs(config, "synthetic"), (1, 3), torch.device("cpu"))
    for one in read_measurements(finished / "measurements.csv"):
        if one.measure == "epe_per_image" and one.iterations is not None:
            assert one.value == pytest.approx(errors[one.iterations], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("comparison.json", '{"config": {"rows"', "comparison.json is damaged"),
        ("comparison.json", "[]", "comparison.json is damaged"),
        ("measurements.csv", "regime,row,seed,measure,set,iterations,step,value\nequal_width,conv_g\n", "line 2"),
        ("measurements.csv", "regime,row,seed,measure,set,iterations,step,value\na,b,0,epe,c,1,,3.1", "is cut"),
        ("measurements.csv", "", "is cut"),
    ],
)
def test_half_written_results_are_refused_in_one_line(copy, capsys, name, text, said):
    (copy / name).write_text(text)
    assert main(words(copy, "--operators", "conv_gru")) == 3
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and (copy / name).read_text() == text


def test_another_recipe_is_refused_and_one_with_more_rows_is_not(copy):
    noted = json.loads((copy / "comparison.json").read_text())["config"]
    one = replace(TINY, training=replace(TINY.training, steps=3))
    noted_now = json.loads(json.dumps(noted))
    with pytest.raises(RequestError, match=r"another recipe \(training\."):
        ComparisonFolder(copy, one)
    noted_now["training"]["stepz"] = 3
    (copy / "comparison.json").write_text(json.dumps({"config": noted_now, "rows": {}, "machine": {}, "zero_flow": {}}))
    with pytest.raises(RequestError, match=r"another version of flowgru \(setting training.stepz"):
        ComparisonFolder(copy, TINY)


def test_a_row_keeps_its_meaning_and_rows_may_be_added(tmp_path):
    with ComparisonFolder(tmp_path / "results", TINY) as folder:
        folder.note()
    more = replace(TINY, rows=(TINY.rows[0], RowConfig("new", "conv_gru")), seeds=(4,))
    with ComparisonFolder(tmp_path / "results", more) as folder:
        assert [row["name"] for row in folder.about["config"]["rows"]] == [*ROWS, "new"]
    other = replace(TINY, rows=(RowConfig("conv_gru", "conv_min_gru"),))
    with pytest.raises(RequestError, match="another row called conv_gru"):
        ComparisonFolder(tmp_path / "results", other)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="it is not the folder of a comparison"):
        ComparisonFolder(tmp_path, TINY)
    with pytest.raises(RequestError, match="is a file"):
        ComparisonFolder(tmp_path / "thesis.txt", TINY)


def test_a_second_comparison_in_the_same_folder_is_refused(copy, capsys):
    lock = WriterLock(copy / "run.lock")
    lock.acquire()
    try:
        assert main(words(copy, "--operators", "conv_gru")) == 4
    finally:
        lock.release()
    assert f"is being written by process {os.getpid()}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--operators", "conv_gruu"], "unknown row 'conv_gruu': did you mean 'conv_gru'"),
        (["--seeds", "0,1,x"], "--seeds is 'x': expected a list of whole numbers with commas between"),
        (["--seeds", "0,0"], "without repetition"),
        (["--steps", "0"], "steps is 0: it must be 1 or more"),
        (["--steps", "5", "--minutes", "1.5"], "--steps is 5 and --minutes 1.5: give one of them"),
        (["--minutes=-1"], "minutes is -1.0: it must be above 0"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--reference", "gru"], "reference is 'gru': it must be one of the rows conv_gru, control"),
        (["--sets", "sintl"], "did you mean"),
        (["--test.seed", "0"], "test.seed is 0: it must be another seed"),
        (["--iterations", "4,2"], "ascending"),
    ],
)
def test_a_senseless_request_is_one_line_and_leaves_no_folder(tmp_path, capsys, more, said):
    assert main(words(tmp_path / "results", *more)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_an_unknown_operator_of_a_row_is_refused_with_the_nearest_name(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("operator: conv_min_gru", "operator: conv_min_grew"))
    assert main(words(tmp_path / "results")) == 2
    assert "did you mean 'conv_min_gru'" in capsys.readouterr().err and not (tmp_path / "results").exists()


def test_the_shipped_comparisons_load_without_torch_and_the_study_compares_rows_of_the_large_one():
    code = """
import sys
from flowgru.config import ComparisonConfig
from flowgru.parser import TaskParser
from flowgru.commands.compare import compare
for name in sys.argv[1:]:
    print(*(row.name for row in TaskParser("x", compare).parse(["--config", name, "--output", "y"])["config"].rows))
assert "torch" not in sys.modules
"""
    names = [str(CONFIGS / name) for name in ("compare.yaml", "operator_study.yaml", "operator_selection.yaml")]
    run = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    rows, studied, variants = (line.split() for line in run.stdout.splitlines())
    assert {*ROWS, "conv_min_gru_no_scan"} <= {*studied} <= {*rows} and len(rows) == 13
    assert len(variants) >= 4


def test_rows_differ_by_their_operator_alone():
    one, other = (replace(TINY.training.network, operator=name) for name in ROWS[:2])
    first, second = (run_config(TINY, network, 1, 5, Path("initial")) for network in (one, other))
    assert replace(first, network=other) == second
    for index in (0, 3):
        pair, same = training_pairs(first)[index], training_pairs(second)[index]
        assert torch.equal(pair.first, same.first) and torch.equal(pair.flow, same.flow)
    another_seed = run_config(TINY, one, 0, 5, Path("initial"))
    assert not torch.equal(training_pairs(another_seed)[0].flow, training_pairs(first)[0].flow)


def test_networks_begin_with_the_same_weights_where_they_fit():
    torch.manual_seed(7)
    source = FlowNetwork(reference_network(TINY))
    started = []
    for row in TINY.rows:
        torch.manual_seed(0)
        run = run_config(TINY, NetworkConfig(operator=row.operator), 0, 5, Path("initial"))
        started.append(_new_network(run, source, announce=False).state_dict())
    for weights in started:
        for name, value in source.state_dict().items():
            if not name.startswith("operator."):
                assert torch.equal(weights[name], value), name


def test_only_the_initial_parts_are_taken_over():
    torch.manual_seed(1)
    source, target = (FlowNetwork(NetworkConfig(operator="conv_gru")) for _ in range(2))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    left = transfer(source, target, parts=["motion_encoder"])
    for name, value in target.state_dict().items():
        taken = name.startswith("motion_encoder.")
        assert torch.equal(value, (source.state_dict() if taken else before)[name]) and (name in left) != taken
    with pytest.raises(RequestError, match=r"initial_parts is \('operator',\): it must be out of feature_encoder, "):
        replace(TINY, initial_parts=("operator",))


def test_equal_parameters_are_within_the_tolerance_and_the_reference_keeps_its_width():
    planned = {(one.regime, one.row.name): one for one in plan_rows(TINY, TINY.rows)}
    assert planned["equal_parameters", "conv_gru"].network == planned["equal_width", "conv_gru"].network
    assert {one.width for (regime, _), one in planned.items() if regime == "equal_width"} == {80}
    for one in planned.values():
        counted = sum(parameter.numel() for parameter in FlowNetwork(one.network).parameters())
        assert counted == one.parameters
        if one.regime == "equal_parameters":
            assert abs(counted / one.reference_parameters - 1) <= TOLERANCE and abs(one.difference) <= TOLERANCE
    assert planned["equal_parameters", "conv_min_gru"].width % 4 == 0


def test_a_much_larger_reference_widens_a_row_to_a_width_its_operator_takes():
    small = replace(TINY, reference="conv_min_gru", training=replace(TINY.training, network=NetworkConfig("large")))
    planned = plan_rows(small, select_rows(small, ["seq_conv_gru"]))
    widths = {one.regime: one.width for one in planned}
    assert widths["equal_width"] == 128 and widths["equal_parameters"] != 128
    assert abs(planned[1].difference) <= TOLERANCE


class Sound(UpdateOperator[torch.Tensor]):
    """Keeps the contract; the others break it in one place."""

    def __init__(self) -> None:
        super().__init__(4, 3, 2)
        self.mix = nn.Conv2d(9, 4, 1)
        self.context: torch.Tensor

    def begin(self, hidden, context):
        self.context = context
        return hidden

    def step(self, motion, state):
        hidden = torch.tanh(self.mix(torch.cat([state, motion, self.context], 1)))
        return hidden, hidden


class WrongShape(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden[..., 1:], state


class NotFinite(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden / 0, state


class MixesBatch(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden + hidden.mean(0, keepdim=True), state


class UnusedParameter(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))


class NoGradient(Sound):
    def step(self, motion, state):
        return tuple(value.detach() for value in super().step(motion, state))


class Fails(Sound):
    def step(self, motion, state):
        return super().step(motion[:, 1:], state)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (WrongShape, "step 1 gives [2, 4, 5, 6]"),
        (NotFinite, "not finite"),
        (MixesBatch, "one picture of a batch"),
        (UnusedParameter, "idle"),
        (NoGradient, "no gradient"),
        (Fails, "its step fails"),
    ],
)
def test_an_operator_that_breaks_the_contract_is_found(kind, said):
    broken = broken_contract(kind())
    assert broken is not None and said in broken


def test_sound_operators_keep_the_contract():
    assert broken_contract(Sound()) is None
    for name in ROWS:
        assert broken_contract(make_operator(name, 8, 6, 4)) is None


def test_a_row_that_breaks_the_contract_is_named_and_not_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flowgru.comparison.preparing.broken_contract", lambda operator: "it is lazy")
    assert main(words(tmp_path / "results")) == 2
    assert "conv_gru breaks the contract of update operators: it is lazy" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_list_of_operators_times_none_that_breaks_the_contract(monkeypatch, capsys):
    monkeypatch.setattr("flowgru.benchmarking.operator_table.broken_contract", lambda operator: "it is lazy")
    monkeypatch.syspath_prepend(CONFIGS.parent / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["operators.py", "--threads", str(torch.get_num_threads())])
    with pytest.raises(SystemExit, match="conv_gru breaks the contract of update operators and nothing is timed"):
        runpy.run_path(str(CONFIGS.parent / "benchmarks/operators.py"), run_name="__main__")
    assert "ms per step" not in capsys.readouterr().out


def test_multiply_adds_are_those_of_the_convolutions():
    operator = make_operator("conv_gru", 8, 6, 4)
    assert multiply_adds(operator, 128, 136) == 16 * 17 * 9 * (8 + 6) * 3 * 8
    wide = make_operator("conv_gru", 128, 128, 128)  # its convolutions take fewer, however they are counted
    assert multiply_adds(wide, 440, 1024) == 55 * 128 * 9 * 256 * 3 * 128


def test_times_are_medians_of_turns_without_the_first(monkeypatch):
    clock, turns = SimpleNamespace(now=0.0), []
    monkeypatch.setitem(CLOCKS, "wall", lambda: clock.now)

    def taking(name: str, *seconds: float):
        durations = iter(seconds)

        def action() -> None:
            turns.append(name)
            clock.now += next(durations)

        return action

    actions = {"a": taking("a", 9.0, 1.0, 6.0, 2.0), "b": taking("b", 0.0, 5.0, 3.0, 4.0)}
    assert median_ms(actions, 3, torch.device("cpu")) == pytest.approx({"a": 2000, "b": 4000})
    assert turns == ["a", "b"] * 4


def test_a_job_answers_fails_or_dies_for_itself(tmp_path):
    outcomes = {}
    jobs = [
        Job("sum", arithmetic.add, (2, 3), tmp_path / "sum.txt"),
        Job("bug", arithmetic.truediv, (1, 0), tmp_path / "bug.txt"),
        Job("killed", signal.raise_signal, (signal.SIGKILL,), tmp_path / "killed.txt"),
    ]
    run_jobs(jobs, at_once=3, num_threads=1, ended=lambda job, outcome: outcomes.update({job.name: outcome}))
    assert outcomes["sum"] == 5
    assert isinstance(outcomes["bug"], MachineError) and "ZeroDivisionError" in str(outcomes["bug"])
    assert isinstance(outcomes["killed"], MachineError) and "killed by SIGKILL" in str(outcomes["killed"])
    assert "Traceback" in (tmp_path / "bug.txt").read_text()


@pytest.fixture
def started(tmp_path):
    """Starts comparisons of two rows and seeds as processes of their own; kills what is left of them."""
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("seeds: [0]", "seeds: [0, 1]").replace("steps: 2", "steps: 30")
    )
    processes = []

    def start(folder: Path, *more: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "flowgru", *words(folder, "--regimes", "equal_width", "--jobs", "2", *more)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def children(process: subprocess.Popen) -> list[int]:
    """The processes of a comparison that train."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
    ).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(holds, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_two_operators_and_seeds_go_on_after_a_kill_to_the_same_bits(tmp_path, started):
    whole = started(tmp_path / "whole")
    assert whole.wait(900) == 0, whole.stderr.read()
    hurt = started(tmp_path / "hurt")
    run = tmp_path / "hurt/runs/equal_width/conv_gru/seed0"
    wait_until(lambda: any(run.glob("step-*")))
    workers = children(hurt)
    assert len(workers) == 2
    hurt.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)), 60)
    again = started(tmp_path / "hurt")
    out, error = again.communicate(timeout=900)
    assert again.returncode == 0, error
    assert "goes on after step" in out
    for model in tmp_path.glob("whole/runs/*/*/*/model.safetensors"):
        one, other = load_file(model), load_file(tmp_path / "hurt" / model.relative_to(tmp_path / "whole"))
        assert all(torch.equal(one[name], other[name]) for name in one)
    found, expected = (
        {m[:-1]: m.value for m in read_measurements(tmp_path / name / "measurements.csv") if m.seed is not None}
        for name in ("hurt", "whole")
    )
    assert found == expected and len({key[1:3] for key in found}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_all_trainings_and_leaves_no_process(tmp_path, started, number):
    process = started(tmp_path / "results", "--steps", "3000", "--training.checkpoint-every", "3000")
    logs = [tmp_path / f"results/runs/equal_width/{name}/seed0/log.jsonl" for name in ("conv_gru", "control")]
    wait_until(lambda: all(log.exists() and log.stat().st_size for log in logs))
    workers = children(process)
    process.send_signal(number)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 128 + number and "the same command goes on from here" in error
    assert not any(map(is_alive, workers))
    assert all(len([*log.parent.glob("step-*")]) == 1 for log in logs)


def test_a_training_that_diverges_has_errors_that_are_not_finite(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise Diverged("10 steps in a row gave no finite loss")

    monkeypatch.setattr("flowgru.comparison.runs.train", diverge)
    run = run_config(TINY, NetworkConfig(), 1, 5, Path("initial"))
    measured = train_and_measure(TINY, run, tmp_path, "cpu", ("synthetic",))
    assert [one.of_row("r", "a")[:-1] for one in measured] == [
        ("r", "a", 1, "epe_per_image", "synthetic", count, None) for count in (1, 3)
    ]
    assert all(math.isnan(one.value) for one in measured)


@pytest.mark.slow
def test_a_training_that_diverges_is_a_result_and_not_begun_again(tmp_path, started):
    more = ("--training.optimizer.learning-rate", "1e30", "--operators", "control", "--seeds", "0")
    for said in ("EPE per image synthetic nan px", "1 of 1 runs are finished already"):
        process = started(tmp_path / "results", *more)
        out, error = process.communicate(timeout=900)
        assert process.returncode == 0, error
        assert said in out
    measured = read_measurements(tmp_path / "results/measurements.csv")
    assert "ms_per_step" in {one.measure for one in measured}
    assert all(math.isnan(one.value) for one in measured if one.measure == "epe_per_image")


@pytest.mark.slow
def test_without_its_measurements_a_comparison_measures_the_trained_networks_again(copy):
    def errors():
        return {one[:-1]: one.value for one in read_measurements(copy / "measurements.csv") if one.seed is not None}

    before, model = errors(), next(copy.glob("runs/*/*/*/model.safetensors"))
    written = model.stat().st_mtime_ns
    (copy / "measurements.csv").unlink()
    assert main(words(copy, "--operators", "conv_gru")) == 0
    assert errors() == before and model.stat().st_mtime_ns == written


@pytest.mark.slow
def test_minutes_decide_the_steps_once(tmp_path, started):
    more = ("--minutes", "0.05", "--operators", "conv_gru", "--seeds", "0")
    first = started(tmp_path / "results", *more)
    assert first.wait(900) == 0, first.stderr.read()
    about = json.loads((tmp_path / "results/comparison.json").read_text())
    steps = about["rows"]["equal_width"]["conv_gru"]["steps"]
    assert about["config"]["minutes"] == 0.05 and steps >= 1
    with (tmp_path / "results/measurements.csv").open() as file:
        last = max(int(line["step"]) for line in csv.DictReader(file) if line["step"])
    assert last == steps
    second = started(tmp_path / "results", *more)
    out, _ = second.communicate(timeout=900)
    assert second.returncode == 0 and "steps/s" not in out and "1 of 1 runs are finished already" in out

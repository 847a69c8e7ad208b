"""The folder of a comparison holds all that was promised, and is never mixed with another recipe or half-written results."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comparisons import TINY, TINY_ROWS, words
from PIL import Image

from flowgru.cli import main
from flowgru.comparison import costs, preparing, run
from flowgru.comparison.errors import PARTS
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.measurements import Measurement, read_measurements
from flowgru.comparison.runs import measured_pairs
from flowgru.config import NetworkConfig, RowConfig
from flowgru.data.formats.flow_files import write_flow_array
from flowgru.errors import RequestError, counted
from flowgru.files.writer_lock import WriterLock
from flowgru.model.flow_network import FlowNetwork

pytestmark = pytest.mark.timeout(1800)  # most of it is the start of processes, which a busy machine draws out


@pytest.fixture(scope="module")
def finished_comparison(tmp_path_factory) -> Path:
    """The folder of a comparison of one row with one seed."""
    folder = tmp_path_factory.mktemp("comparison") / "results"
    with pytest.MonkeyPatch.context() as patch:
        for turns in ("STEP_TURNS", "PAIR_TURNS", "TRAINING_TURNS"):
            patch.setattr(costs, turns, 1)  # how long anything takes is not asked here
        assert main(words(folder, "--operators", "conv_gru")) == 0
    return folder


@pytest.fixture
def copied_comparison(finished_comparison, tmp_path) -> Path:
    """A copy of it that a test may harm."""
    shutil.copy(finished_comparison.parent / "recipe.yaml", tmp_path)
    return Path(shutil.copytree(finished_comparison, tmp_path / "results"))


def test_a_comparison_measures_all_that_it_promises(finished_comparison):
    found = {one[:-1]: one.value for one in read_measurements(finished_comparison / "measurements.csv")}
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
        assert {key[2:] for key in mine if key[1] == "validation_epe_per_image"} == {("synthetic", 1, 2)}
        parts = {key[1] for key in mine if key[1] in PARTS}
        assert parts and all((0, part, "synthetic", n, None) in mine for part in parts for n in (1, 3))
        costs = ("multiply_adds", "ms_per_step", "ms_per_training_step", "peak_mib")
        for measure in ("parameters", "operator_parameters", "hidden_size", *costs):
            assert mine[None, measure, "", None, None] > 0, measure
        assert mine[None, "zero_epe_per_image", "synthetic", None, None] > 0
    assert all(math.isfinite(value) for value in found.values())


def test_comparison_json_says_what_was_compared_and_on_what(finished_comparison):
    about = json.loads((finished_comparison / "comparison.json").read_text())
    assert about["config"]["training"]["steps"] == 2 and about["config"]["reference"] == "conv_gru"
    row = about["rows"]["equal_parameters"]["conv_gru"]
    network = FlowNetwork(NetworkConfig("compact", "conv_gru"))
    assert row["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (row["operator"], row["options"], row["hidden_size"], row["steps"]) == ("conv_gru", {}, 80, 2)
    assert about["machine"].keys() == {"torch", "device", "threads", "platform"}
    assert row["timed_on"] == about["machine"]["device"]
    assert row["timed_with"] == f"{counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}"
    assert about["zero_flow"]["synthetic"] > 0 and {"command", "commit", "date"} <= about.keys()


def test_what_is_finished_is_not_done_again(finished_comparison, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished_comparison.glob("runs/**/*")}
    measured = (finished_comparison / "measurements.csv").read_text()
    assert main(words(finished_comparison, "--operators", "conv_gru")) == 0
    assert before == {path: path.stat().st_mtime_ns for path in finished_comparison.glob("runs/**/*")}
    assert (finished_comparison / "measurements.csv").read_text() == measured
    assert "1 of 1 runs are finished already" in capsys.readouterr().out


def test_who_trained_is_kept_until_something_else_is_to_be_done(copied_comparison, monkeypatch):
    about = copied_comparison / "comparison.json"
    before = json.loads(about.read_text())
    monkeypatch.setattr(preparing, "commit", lambda: "a later commit")
    assert main(words(copied_comparison, "--operators", "conv_gru")) == 0
    now = json.loads(about.read_text())
    assert all(now[name] == before[name] for name in ("commit", "machine", "date"))
    lines = (copied_comparison / "measurements.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "peak_mib" not in line]
    assert len(kept) < len(lines)
    (copied_comparison / "measurements.csv").write_text("".join(kept))
    monkeypatch.setattr(run.Comparison, "measure_costs", lambda self: None)
    assert main(words(copied_comparison, "--operators", "conv_gru")) == 0
    assert json.loads(about.read_text())["commit"] == "a later commit"


def test_the_report_is_written_at_the_end(finished_comparison, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(run, "write_report", lambda folder: told.append(folder) or [folder / "report.html"])
    assert main(words(finished_comparison, "--operators", "conv_gru")) == 0
    assert told == [finished_comparison] and f"wrote {finished_comparison / 'report.html'}" in capsys.readouterr().out


def test_the_regimes_share_the_runs_of_one_width(finished_comparison):
    assert [str(path.relative_to(finished_comparison)) for path in finished_comparison.glob("runs/*/*/seed*")] == [
        "runs/equal_width/conv_gru/seed0"
    ]


def test_a_finished_run_keeps_its_model_and_drops_its_checkpoints(finished_comparison):
    trained = finished_comparison / "runs/equal_width/conv_gru/seed0"
    assert (trained / "model.safetensors").is_file() and not list(trained.glob("step-*"))


def test_the_measured_error_is_that_of_the_model_file(finished_comparison):
    from flowgru.commands.compare import compare
    from flowgru.evaluation.validation import validate
    from flowgru.model.weight_files.loading import load_model
    from flowgru.parser import TaskParser

    config = TaskParser("flowgru compare", compare).parse(words(finished_comparison)[1:])["config"]
    network = load_model(finished_comparison / "runs/equal_width/conv_gru/seed0/model.safetensors", "cpu")
    errors = validate(network, measured_pairs(config, "synthetic"), (1, 3), torch.device("cpu"))
    for one in read_measurements(finished_comparison / "measurements.csv"):
        if one.measure == "epe_per_image" and one.iterations is not None:
            assert one.value == pytest.approx(errors[one.iterations], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("comparison.json", '{"config": {"rows"', "comparison.json is damaged"),
        ("comparison.json", "[]", "comparison.json is damaged"),
        ("comparison.json", '{"config": {}, "rows": {}, "machine": {}, "zero_flow": {}}', "comparison.json is damaged"),
        ("measurements.csv", "regime,row,seed,measure,set,iterations,step,value\nequal_width,conv_g\n", "line 2"),
        ("measurements.csv", "regime,row,seed,measure,set,iterations,step,value\na,b,0,epe,c,1,,3.1", "is cut"),
        ("measurements.csv", "", "is cut"),
    ],
)
def test_half_written_results_are_refused_in_one_line(copied_comparison, capsys, name, text, said):
    (copied_comparison / name).write_text(text)
    assert main(words(copied_comparison, "--operators", "conv_gru")) == 3
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and (copied_comparison / name).read_text() == text


def test_another_recipe_is_refused_and_one_with_more_rows_is_not(copied_comparison):
    noted = json.loads((copied_comparison / "comparison.json").read_text())["config"]
    one = replace(TINY, training=replace(TINY.training, steps=3))
    noted_now = json.loads(json.dumps(noted))
    with pytest.raises(RequestError, match=r"another recipe \(training\."):
        ComparisonFolder(copied_comparison, one)
    noted_now["training"]["stepz"] = 3
    (copied_comparison / "comparison.json").write_text(
        json.dumps({"config": noted_now, "rows": {}, "machine": {}, "zero_flow": {}})
    )
    with pytest.raises(RequestError, match=r"another version of flowgru \(setting training.stepz"):
        ComparisonFolder(copied_comparison, TINY)


def test_a_setting_that_came_later_had_its_default(tmp_path):
    with ComparisonFolder(tmp_path / "results", TINY) as folder:
        folder.note()
    path = tmp_path / "results/comparison.json"
    noted = json.loads(path.read_text())
    del noted["config"]["training"]["data"]["untextured"], noted["config"]["test"]["initial_flows"]
    path.write_text(json.dumps(noted))
    ComparisonFolder(tmp_path / "results", TINY)
    data = replace(TINY.training.data, untextured=0.5)
    with pytest.raises(RequestError, match=r"training.data.untextured was 0.* and is 0.5"):
        ComparisonFolder(tmp_path / "results", replace(TINY, training=replace(TINY.training, data=data)))


def test_a_run_whose_parts_are_not_measured_is_measured_again(tmp_path):
    def measured(measure: str) -> Measurement:
        return Measurement("equal_width", "conv_gru", 0, measure, "synthetic", 1, None, 2.0)

    with ComparisonFolder(tmp_path / "results", TINY) as folder:
        folder.note()
        asked = ("equal_width", "conv_gru", 0, ("synthetic",), (1,))
        folder.add([measured("epe_per_image")])
        assert folder.unmeasured_sets(*asked) == ("synthetic",)
        folder.add([measured("epe_s10_40")])
        assert folder.unmeasured_sets(*asked) == ()


def test_a_row_keeps_its_meaning_and_rows_may_be_added(tmp_path):
    with ComparisonFolder(tmp_path / "results", TINY) as folder:
        folder.note()
    more = replace(TINY, rows=(TINY.rows[0], RowConfig("new", "conv_gru")), seeds=(4,))
    with ComparisonFolder(tmp_path / "results", more) as folder:
        assert [row["name"] for row in folder.record.config["rows"]] == [*TINY_ROWS, "new"]
    other = replace(TINY, rows=(RowConfig("conv_gru", "conv_min_gru"),))
    with pytest.raises(RequestError, match="another row called conv_gru"):
        ComparisonFolder(tmp_path / "results", other)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="it is not the folder of a comparison"):
        ComparisonFolder(tmp_path, TINY)
    with pytest.raises(RequestError, match="is a file"):
        ComparisonFolder(tmp_path / "thesis.txt", TINY)


def test_a_second_comparison_in_the_same_folder_is_refused(copied_comparison, capsys):
    lock = WriterLock(copied_comparison / "run.lock")
    lock.acquire()
    try:
        assert main(words(copied_comparison, "--operators", "conv_gru")) == 4
    finally:
        lock.release()
    assert f"is being written by process {os.getpid()}" in capsys.readouterr().err


@pytest.mark.slow
def test_without_its_measurements_a_comparison_measures_the_trained_networks_again(copied_comparison):
    def errors():
        return {
            one[:-1]: one.value
            for one in read_measurements(copied_comparison / "measurements.csv")
            if one.seed is not None
        }

    before, model = errors(), next(copied_comparison.glob("runs/*/*/*/model.safetensors"))
    written = model.stat().st_mtime_ns
    (copied_comparison / "measurements.csv").unlink()
    assert main(words(copied_comparison, "--operators", "conv_gru")) == 0
    assert errors() == before and model.stat().st_mtime_ns == written


def test_a_list_of_pairs_that_has_changed_since_is_refused(tmp_path):
    listed = tmp_path / "mine.csv"
    write_pairs(listed)
    config = replace(TINY, sets=(str(listed),))
    with ComparisonFolder(tmp_path / "results", config) as folder:
        folder.note(lists={str(listed): "another digest", "gone.csv": "a digest"})
        assert not folder.has_results
        folder.add([Measurement("equal_width", "conv_gru", None, "parameters", "", None, None, 7.0)])
    with pytest.raises(RequestError, match=r"mine\.csv has changed since .*results was begun"):
        run.run_comparison(config, tmp_path / "results", (), 1, "cpu")


def write_pairs(listed: Path) -> None:
    """One pair in a list."""
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((128, 136, 3), np.uint8)).save(listed.parent / name)
    write_flow_array(listed.parent / "a.flo", np.ones((128, 136, 2), np.float32))
    listed.write_text("first,second,flow\na.png,b.png,a.flo\n")

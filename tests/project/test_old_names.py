"""`epe` is pooled over pixels and `epe_per_image` the mean of the pairs' means; files from before, which called the second
one `epe`, are read as what they mean."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, log_lines
from torch.utils.data import Dataset

from flowgru.comparison import runs
from flowgru.comparison.measurements import Measurement, read_measurements
from flowgru.config import ComparisonConfig, HeldOutConfig, RowConfig
from flowgru.config.renamed import OldName
from flowgru.config.way import Way
from flowgru.data.classical import zero_flow
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator, evaluate, picture_estimator
from flowgru.model.exported import formats, runtimes
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import read_weights, write_model_file
from flowgru.training import engine
from flowgru.training.checkpoints.store import CheckpointStore
from flowgru.training.run import train
from flowgru.training.run_log import RunLog


class UnevenPairs(Dataset[FlowSample]):
    """Two pairs, of which one is known everywhere and the other in a corner."""

    def __init__(self) -> None:
        self.samples = list(SyntheticPairs(TINY.data, length=2))
        corner = torch.zeros(128, 128, dtype=torch.bool)
        corner[:20, :20] = True
        self.samples[1] = self.samples[1]._replace(valid=corner, flow=3 * self.samples[1].flow * corner)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> FlowSample:
        return self.samples[index]


def test_a_comparison_and_evaluate_have_one_number_under_one_name(tmp_path, monkeypatch):
    config = ComparisonConfig(
        rows=(RowConfig("a", "conv_gru"),), reference="a", training=TINY, test=HeldOutConfig(pairs=1), iterations=(1,)
    )
    write_model_file(tmp_path / "model.safetensors", FlowNetwork(TINY.network).state_dict(), {})
    network, pairs = load_model(tmp_path / "model.safetensors", "cpu"), UnevenPairs()
    monkeypatch.setattr(runs, "measured_pairs", lambda *_: pairs)
    measured = runs.train_and_measure(config, TINY, tmp_path, "cpu", False, ("synthetic",))
    found = {one.measure: one.value for one in measured}
    expected = evaluate(NetworkEstimator(network, MatchSettings(Way(1))), pairs).metrics
    assert "epe_per_image" in found and abs(expected["epe"] - expected["epe_per_image"]) > 0.1
    assert len(found) > 1 and found == {name: pytest.approx(expected[name], rel=1e-5) for name in found}
    zero = evaluate(picture_estimator(zero_flow), pairs).metrics
    assert runs.zero_error(config, "synthetic") == pytest.approx(zero["epe_per_image"], rel=1e-5)


def test_measurements_from_before_are_read_by_the_names_of_today(tmp_path):
    lines = ["regime,row,seed,measure,set,iterations,step,value"]
    lines += ["r,a,,zero_epe,synthetic,,,5.0", "r,a,0,training_epe,,,50,3.0", "r,a,0,epe,synthetic,12,,1.5"]
    (tmp_path / "m.csv").write_text("\n".join([*lines, ""]))
    with pytest.warns(OldName, match=r"m.csv: zero_epe is now zero_epe_per_image; training_epe is now"):
        found = read_measurements(tmp_path / "m.csv")
    assert found == [
        Measurement("r", "a", None, "zero_epe_per_image", "synthetic", None, None, 5.0),
        Measurement("r", "a", 0, "training_epe_per_image", "", None, 50, 3.0),
        Measurement("r", "a", 0, "epe_per_image", "synthetic", 12, None, 1.5),
    ]


def old_log(folder: Path) -> None:
    """Gives the log in a folder the names that it had."""
    log = folder / "log.jsonl"
    log.write_text(log.read_text().replace("epe_per_image", "epe"))


def test_a_log_from_before_gives_the_curves_of_its_training(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0, "epe": 1.5}\n{"step": 1, "validation_epe": {}}\n{"st')
    with pytest.warns(OldName, match=r"log.jsonl: epe is now epe_per_image"):
        found = [(one.measure, one.step, one.value) for one in runs.training_curves(tmp_path, 0)]
    assert found == [("training_loss", 1, 2.0), ("training_epe_per_image", 1, 1.5)]


def test_the_validation_that_is_due_again_is_dropped_from_a_log_of_before(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "epe": 1.5}\n{"step": 1, "validation_epe": {}}\n')
    log = RunLog(tmp_path, 1)
    with pytest.warns(OldName, match=r"log.jsonl: epe is now epe_per_image; validation_epe is now"):
        log.begin(1, 4, passed_over=[], validation_due=True)
    log.close()
    assert log_lines(tmp_path) == [{"step": 1, "epe_per_image": 1.5}]


def test_a_run_of_before_goes_on_to_the_same_log(tmp_path, monkeypatch):
    config = replace(TINY, steps=5, log_every=2)
    train(replace(config, checkpoint_every=5), str(tmp_path / "whole"), device="cpu")
    save, step = CheckpointStore.save, engine.training_step

    def save_as_before(store, number, weights, state, *, best, card):
        log = {name.replace("epe_per_image", "epe"): value for name, value in state["log"].items()}
        save(store, number, weights, {**state, "log": log}, best=best)

    def stopped(fabric, network, run, *more):
        if run.step == 3:
            raise KeyboardInterrupt
        return step(fabric, network, run, *more)

    monkeypatch.setattr(CheckpointStore, "save", save_as_before)
    monkeypatch.setattr(engine, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path / "cut"), device="cpu")
    monkeypatch.undo()
    old_log(tmp_path / "cut")
    with pytest.warns(OldName, match="the checkpoint of step 3: epe is now epe_per_image"):
        train(config, str(tmp_path / "cut"), device="cpu")
    whole = log_lines(tmp_path / "whole")
    assert log_lines(tmp_path / "cut") == whole and [line["step"] for line in whole] == [2, 4, 5, 5]
    assert whole[1]["epe_per_image"] > 0 and whole[3]["validation_epe_per_image"]["synthetic"]["1"] > 0


def test_cards_from_before_are_read_by_the_names_of_today(tmp_path, monkeypatch):
    card = {"network": {"preset": "compact", "operator": "conv_gru"}, "epe": {"a": 1}, "held_back_epe": {"b": {}}}
    write_model_file(tmp_path / "m.safetensors", {"weight": torch.zeros(1)}, card)
    today = {"network": card["network"], "epe_per_image": {"a": 1}, "held_out_epe_per_image": {"b": {}}}
    with pytest.warns(OldName, match=r"m.safetensors: epe is now .*held_back_epe is now"):
        assert read_weights(tmp_path / "m.safetensors")[1] == today
    exported = {"iterations": 4, "export": {"max_size": 9}}
    opened = formats.Opened("a runtime", json.dumps({**card, **exported}), [], lambda inputs: inputs)
    monkeypatch.setitem(formats.FORMATS, "onnx", formats.FORMATS["onnx"]._replace(open=lambda path: opened))
    (tmp_path / "m.onnx").touch()
    with pytest.warns(OldName, match=r"m.onnx: epe is now"):
        found = runtimes.open_file(tmp_path / "m.onnx")[1]
    assert found == {**today, **exported}


def test_the_bundled_weights_are_read_without_a_word_of_old_names(recwarn):
    card = load_model("default", "cpu").card  # its file says epe
    assert "epe_per_image" in card and not any(issubclass(each.category, OldName) for each in recwarn)

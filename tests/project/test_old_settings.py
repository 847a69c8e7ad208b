"""Settings, options and values that have another name today are read by their old one, with one line of note."""

import importlib
import json
import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from comparisons import TINY as COMPARISON
from comparisons import write_comparison
from paths import ROOT
from safetensors.torch import load_file
from tiny_run import TINY, log_lines, write_config

from flowgru.cli import main
from flowgru.commands.benchmark import benchmark
from flowgru.commands.compare import compare
from flowgru.commands.train import train as train_command
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.results import read_results
from flowgru.config import STAGES, ComparisonConfig, OptimizerConfig, RowConfig, TrainConfig
from flowgru.config.flatten import completed
from flowgru.config.renamed import OldName
from flowgru.errors import RequestError
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import read_weights, write_model_file
from flowgru.parser import TaskParser
from flowgru.training import engine
from flowgru.training.checkpoints.resuming import noted_settings, require_same_config
from flowgru.training.run import train

OF_BEFORE = {"no_grad_iterations": "settling", "gradient_accumulation_steps": "accumulate"}
PRECISIONS_OF_BEFORE = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def as_before(settings: dict) -> dict:
    """The settings of a training as they were called before."""
    named = {OF_BEFORE.get(name, name): value for name, value in settings.items()}
    return {**named, "precision": PRECISIONS_OF_BEFORE[settings["precision"]]}


def trained_by(*words: str) -> TrainConfig:
    return TaskParser("flowgru train", train_command).parse([*words, "--output", "x"])["config"]


def test_old_options_give_the_settings_of_today():
    with pytest.warns(OldName) as noted:
        config = trained_by("--settling", "3", "--accumulate=2", "--precision", "bf16-mixed")
    assert config == TrainConfig(no_grad_iterations=3, gradient_accumulation_steps=2, precision="bf16")
    (note,) = [str(one.message) for one in noted]
    assert note == (
        "flowgru train: --settling is now --no-grad-iterations; --accumulate is now --gradient-accumulation-steps; "
        "precision bf16-mixed is now precision bf16"
    )


def test_old_keys_of_a_configuration_are_read_and_what_the_command_line_says_goes_first(tmp_path):
    write_config(tmp_path / "c.yaml", TINY, **as_before({"no_grad_iterations": 2, "precision": "bf16"}))
    (text := json.loads((tmp_path / "c.yaml").read_text())).pop("no_grad_iterations")
    (tmp_path / "c.yaml").write_text(json.dumps(text))
    with pytest.warns(OldName, match=r"^c.yaml: .*settling is now no_grad_iterations"):
        config = trained_by("--config", str(tmp_path / "c.yaml"), "--gradient-accumulation-steps", "3")
    assert config == replace(TINY, no_grad_iterations=2, precision="bf16", gradient_accumulation_steps=3)


def test_the_trainings_of_a_comparison_have_the_same_old_names(tmp_path):
    words = ["--config", str(ROOT / "configs/compare.yaml"), "--output", "x", "--training.accumulate", "4"]
    with pytest.warns(OldName, match=r"--training.accumulate is now --training.gradient-accumulation-steps"):
        config = TaskParser("flowgru compare", compare).parse(words)["config"]
    assert config.training.gradient_accumulation_steps == 4
    text = (ROOT / "configs/compare.yaml").read_text()
    (tmp_path / "old.yaml").write_text(text.replace("no_grad_iterations", "settling").replace(": bf16", ": bf16-mixed"))
    words[1] = str(tmp_path / "old.yaml")
    with pytest.warns(OldName, match="settling is now no_grad_iterations"):
        old = TaskParser("flowgru compare", compare).parse(words[:4])["config"]
    assert old == replace(config, training=replace(config.training, gradient_accumulation_steps=1))


def test_a_name_and_its_old_name_together_are_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("settling: 1\nno_grad_iterations: 2\n")
    with pytest.raises(RequestError, match=r"c.yaml: no_grad_iterations is there twice"), pytest.warns(OldName):
        trained_by("--config", str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(("text", "precision"), [("16", "16"), ("32", "32"), ("bf16", "bf16"), ("'16'", "16")])
def test_digits_without_quotes_are_a_precision_and_no_old_name(tmp_path, text, precision):
    (tmp_path / "c.yaml").write_text(f"precision: {text}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trained_by("--config", str(tmp_path / "c.yaml")).precision == precision


def test_one_vocabulary_of_precision_holds_for_every_command():
    with pytest.warns(OldName, match="precision 32-true is now precision 32"):
        found = TaskParser("flowgru benchmark", benchmark).parse(["--precision", "32-true"])
    assert found["settings"].precision == ("32",)


def test_an_old_name_of_another_command_is_unknown(capsys):
    assert main(["view", "a.flo", "--output", "o", "--settling", "3"]) == 2
    assert "unknown argument --settling" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_the_note_is_one_line_of_the_first_process(rank, lines, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert main(["train", "--settling", "-3", "--output", "x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["note: flowgru train: --settling is now --no-grad-iterations"] * lines + [
        "error: no_grad_iterations is -3: it must be 0 or more"
    ]


def test_a_run_that_was_begun_under_old_names_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    config = replace(TINY, batch_size=2, gradient_accumulation_steps=2, no_grad_iterations=2, precision="bf16", steps=3)
    train(config, str(tmp_path / "whole"), device="cpu")
    step = engine.training_step

    def stopped(fabric, network, run, *more):
        if run.step == 1:
            raise KeyboardInterrupt
        return step(fabric, network, run, *more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "training_step", stopped)
        train(config, str(tmp_path / "cut"), device="cpu")
    noted = tmp_path / "cut" / "config.yaml"
    before = json.dumps(as_before(json.loads(noted.read_text())), indent=1)
    noted.write_text(before)
    with pytest.warns(OldName, match=r"cut/config.yaml: .*settling is now no_grad_iterations.*bf16-mixed is now"):
        train(config, str(tmp_path / "cut"), device="cpu")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "cut") and noted.read_text() == before
    with pytest.raises(RequestError, match="no_grad_iterations was 2 and is 1"), pytest.warns(OldName):
        train(replace(config, no_grad_iterations=1), str(tmp_path / "cut"), device="cpu")


def test_a_card_says_the_settings_of_its_training_by_the_names_of_today(tmp_path):
    settings = json.loads(json.dumps(asdict(replace(TINY, no_grad_iterations=3))))
    card = {"network": settings["network"], "config": as_before(settings)}
    write_model_file(tmp_path / "m.safetensors", {"weight": torch.zeros(1)}, card)
    with pytest.warns(OldName, match=r"the card of .*m.safetensors: .*settling is now no_grad_iterations"):
        assert read_weights(tmp_path / "m.safetensors")[1] == {"network": settings["network"], "config": settings}


def test_options_of_an_operator_keep_their_names(tmp_path):
    config = {"network": {"options": {"settling": 3, "precision": "32-true"}}}
    write_model_file(tmp_path / "m.safetensors", {"weight": torch.zeros(1)}, {"config": config})
    assert read_weights(tmp_path / "m.safetensors")[1] == {"config": config}


def test_the_bundled_model_has_no_old_name():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model("default", "cpu")


def test_a_comparison_of_before_goes_on_and_is_reported(tmp_path):
    config = replace(COMPARISON, training=replace(COMPARISON.training, no_grad_iterations=8))
    noted = json.loads(json.dumps(asdict(config)))
    noted["training"] = as_before(noted["training"])
    about = {"config": noted, "rows": {}, "machine": {}, "zero_flow": {}}
    (tmp_path / "comparison.json").write_text(json.dumps(about))
    with pytest.warns(OldName, match=r"comparison.json: .*settling is now .*precision 32-true is now precision 32"):
        ComparisonFolder(tmp_path, config)
    write_comparison(tmp_path / "done", sets=("synthetic",))
    path: Path = tmp_path / "done/comparison.json"
    path.write_text(path.read_text().replace("no_grad_iterations", "settling"))
    with pytest.warns(OldName, match="settling is now no_grad_iterations"):
        assert read_results(tmp_path / "done").setting("training", "no_grad_iterations") == 8


OF_RELEASE_0_1_0 = Path(__file__).with_name("comparison_0_1_0.json")
"""What release 0.1.0 wrote of a comparison under its default settings."""


def test_a_comparison_of_release_0_1_0_goes_on_for_what_came_later_was_as_it_is_by_default(tmp_path):
    shutil.copy(OF_RELEASE_0_1_0, tmp_path / "comparison.json")
    rows = RowConfig("conv_gru", "conv_gru"), RowConfig("control", "conv_min_gru", {"scan": False})
    config = ComparisonConfig(rows, reference="conv_gru")
    with pytest.warns(OldName):
        ComparisonFolder(tmp_path, config)
    both = replace(config, test=replace(config.test, initial_flows=("zero", "dis")))
    with pytest.raises(RequestError, match=r"test.initial_flows was zero and is zero, dis\)"), pytest.warns(OldName):
        ComparisonFolder(tmp_path, both)


def test_a_run_of_release_0_1_0_on_a_gpu_painted_one_pair_after_the_other(tmp_path):
    noted = json.loads(OF_RELEASE_0_1_0.read_text())["config"]["training"] | {"generate_on": "cuda", "workers": 0}
    (tmp_path / "config.yaml").write_text(json.dumps(noted))
    with pytest.warns(OldName):
        old = noted_settings(tmp_path, "")
    assert old is not None
    today = TrainConfig(generate_on="cuda", workers=0)
    require_same_config(old, replace(today, generate_in_batches=False), tmp_path, "")
    with pytest.raises(RequestError, match=r"generate_in_batches was false and is true"):
        require_same_config(old, today, tmp_path, "")


@pytest.mark.parametrize(
    ("schedule", "name", "value"), [("one_cycle", "warmup_steps", 50), ("constant", "warmup_share", 0.2)]
)
def test_a_run_goes_on_without_a_setting_that_its_schedule_never_used(schedule, name, value, tmp_path):
    today = TrainConfig(optimizer=OptimizerConfig(schedule=schedule))
    (tmp_path / "config.yaml").write_text(json.dumps(asdict(today)))
    noted = noted_settings(tmp_path, "")
    assert noted is not None
    old = {**noted, f"optimizer.{name}": value}
    require_same_config(old, today, tmp_path, "")
    with pytest.raises(RequestError, match=r"optimizer.weight_decay was 0.5 and is 0.0001"):
        require_same_config({**old, "optimizer.weight_decay": 0.5}, today, tmp_path, "")


def test_settings_in_a_list_may_lack_what_came_later():
    stored = json.loads(json.dumps(asdict(TrainConfig(stage="chairs", sets=()))))
    entry = json.loads(json.dumps(asdict(STAGES["chairs"][0])))
    del entry["repeats"], entry["augmentation"]["hue"]
    found = completed({**stored, "sets": [entry]}, TrainConfig)
    assert found["sets"] == [json.loads(json.dumps(asdict(STAGES["chairs"][0])))]


def test_the_folder_of_the_sets_may_still_be_the_last_word(tmp_path, capsys):
    assert main(["data", "check", "chairs", "sintel", str(tmp_path)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"note: flowgru data check: the last word {tmp_path} is now --root {tmp_path}"
    assert [line.split(" is not below ")[0] for line in said[1:]] == ["error: chairs", "error: sintel"]
    assert main(["data", "check", "chairs", str(tmp_path), "--root", "elsewhere"]) == 2
    assert "is no data set, and --root is elsewhere already" in capsys.readouterr().err


def test_a_script_for_measuring_takes_the_old_option(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    reporting = importlib.import_module("reporting")
    monkeypatch.setattr("sys.argv", ["tiles.py", "--data-root", "sets"])
    parser = reporting.arguments("", rounds=1)
    reporting.add_root(parser)
    assert reporting.parsed(parser).root == "sets"
    assert capsys.readouterr().err == "note: tiles.py: --data-root is now --root\n"

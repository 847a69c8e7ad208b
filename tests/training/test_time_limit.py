"""A run that is to end within some minutes chooses its steps by itself, and is then like any other."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from safetensors.torch import load_file
from tiny_run import log_lines, write_config

from flowgru.cli import main
from flowgru.commands import train as command
from flowgru.commands.train import train
from flowgru.config import NetworkConfig, OptimizerConfig
from flowgru.errors import RequestError
from flowgru.model.weight_files.model_file import read_weights
from flowgru.processes.signals import Stopped
from flowgru.training import engine, time_limit
from flowgru.training.checkpoints.store import CheckpointStore
from flowgru.training.time_limit import Costs

TINY = replace(tiny_run.TINY, checkpoint_every=6)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def steps_of(folder: Path) -> int:
    return json.loads((folder / "config.yaml").read_text())["steps"]


@pytest.fixture
def few_steps(monkeypatch):
    """Whatever was measured, 3 steps fit; and a few steps are measured."""
    monkeypatch.setattr(time_limit, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(Costs, "steps_in", lambda self, seconds, config: 3)


def test_the_steps_are_as_many_as_fit_with_their_validations_and_saves():
    config = replace(TINY, validation=replace(TINY.validation, every=10), checkpoint_every=4)
    costs = Costs(start=2.0, step=1.0, validation=5.0, save=0.5)
    assert costs.of_run(config, 1) == 2 + 1 + 5 + 0.5
    assert costs.of_run(config, 8) == 2 + 8 + 5 + 3 * 0.5
    assert costs.of_run(config, 21) == 2 + 21 + 3 * 5 + 8 * 0.5
    for seconds in (8.4, 8.5, 17.0, 30.0, 1000.0):
        steps = costs.steps_in(seconds, config)
        assert steps == 0 or costs.of_run(config, steps) <= seconds
        assert costs.of_run(config, steps + 1) > seconds
    assert costs.steps_in(8.4, config) == costs.steps_in(-1.0, config) == 0


def test_steps_are_timed_after_the_first_ones_until_the_time_or_the_number_says_enough():
    ends = [10.0 + number for number in range(200)]  # the first step takes 10 seconds, every other one 1
    enough = [number for number in range(1, 201) if time_limit.enough_steps(ends[:number], 200.0)]
    assert enough[0] == 8 + 20  # a tenth of the time
    enough = [number for number in range(1, 201) if time_limit.enough_steps(ends[:number], 400.0)]
    assert enough[0] == 8 + 32  # 32 steps, which are more than a twentieth of the time
    assert not time_limit.enough_steps([70.0], 100.0) and time_limit.enough_steps(
        [70.0, 81.0], 100.0
    )  # compiled meanwhile


@pytest.mark.parametrize(
    ("schedule", "preset"),
    [
        pytest.param(
            "one_cycle", "large", marks=pytest.mark.slow
        ),  # it has batch norm, which remembers what it has seen
        ("constant", "compact"),
    ],
)
def test_it_is_the_run_that_so_many_steps_would_have_been(tmp_path, few_steps, schedule, preset):
    config = replace(
        TINY,
        network=NetworkConfig(preset, "conv_gru"),
        optimizer=OptimizerConfig(schedule=schedule),
        no_grad_iterations=2,
        hold=1,
    )
    train(replace(config, steps=1), str(tmp_path / "limited"), device="cpu", minutes=0.05)
    assert steps_of(tmp_path / "limited") == 3
    train(replace(config, steps=3), str(tmp_path / "planned"), device="cpu")
    assert same(tmp_path / "limited", tmp_path / "planned")
    assert log_lines(tmp_path / "limited") == log_lines(tmp_path / "planned")
    card = read_weights(tmp_path / "limited" / "model.safetensors")[1]
    assert card is not None and card["steps"] == card["config"]["steps"] == 3


def test_it_ends_by_itself_in_time(tmp_path, monkeypatch):
    now = 1000.0

    def lasting(seconds, real):
        def timed(*inputs, **options):
            nonlocal now
            now += seconds
            return real(*inputs, **options)

        return timed

    clock = SimpleNamespace(monotonic=lambda: now)
    for module in (time_limit, command):
        monkeypatch.setattr(module, "time", clock)
    for module in (time_limit, engine):
        monkeypatch.setattr(module, "training_step", lasting(2.0, module.training_step))
        monkeypatch.setattr(module, "pair_errors", lasting(1.5, module.pair_errors))
    monkeypatch.setattr(CheckpointStore, "save", lasting(1.0, CheckpointStore.save))
    config = replace(TINY, validation=replace(TINY.validation, every=4), checkpoint_every=2)
    train(config, str(tmp_path), device="cpu", minutes=0.6)
    assert 0.7 * 36 < now - 1000 <= 36
    assert [line["step"] for line in log_lines(tmp_path) if "validation_epe_per_image" in line][-1] == steps_of(
        tmp_path
    )


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_step(tmp_path, few_steps, monkeypatch, capsys):
    train(TINY, str(tmp_path / "whole"), device="cpu", minutes=0.05)
    real = engine.training_step

    def stopped(*inputs):
        if inputs[2].step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*inputs)

    monkeypatch.setattr(engine, "training_step", stopped)
    with pytest.raises(Stopped):
        train(TINY, str(tmp_path / "cut"), device="cpu", minutes=0.05)
    monkeypatch.setattr(engine, "training_step", real)
    monkeypatch.setattr(engine, "limited", lambda *_: pytest.fail("it measured again"))
    capsys.readouterr()
    train(TINY, str(tmp_path / "cut"), device="cpu", minutes=100.0)
    assert "resumed after step 2 of 3" in capsys.readouterr().out
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_that_was_stopped_while_it_measured_is_no_run_yet(tmp_path, few_steps, monkeypatch):
    real = time_limit.training_step

    def stopped(*inputs):
        if inputs[2].step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*inputs)

    monkeypatch.setattr(time_limit, "training_step", stopped)
    with pytest.raises(Stopped):
        train(TINY, str(tmp_path / "run"), device="cpu", minutes=0.05)
    assert not list((tmp_path / "run").glob("step-*")) and not (tmp_path / "run" / "config.yaml").exists()
    monkeypatch.setattr(time_limit, "training_step", real)
    train(TINY, str(tmp_path / "run"), device="cpu", minutes=0.05)
    train(replace(TINY, steps=3), str(tmp_path / "planned"), device="cpu")
    assert same(tmp_path / "run", tmp_path / "planned")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "--minutes is 0: it must be above 0, and finite"),
        (["--minutes=-3"], "--minutes is -3: it must be above 0, and finite"),
        (["--minutes", ".nan"], "--minutes is nan: it must be above 0, and finite"),
        (["--minutes", ".inf"], "--minutes is inf: it must be above 0, and finite"),
        (["--minutes", "soon"], "--minutes is 'soon': expected a number"),
        (["--minutes", "2.5", "--steps=7"], "--steps is 7 and --minutes is 2.5: give one of them"),
    ],
)
def test_minutes_that_make_no_sense_are_refused(tmp_path, words, said, capsys):
    config = write_config(tmp_path / "c.yaml")
    command = ["train", "--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, *words]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
    assert not (tmp_path / "run").exists()


def test_minutes_in_which_nothing_fits_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Costs, "steps_in", lambda self, seconds, config: 0)
    with pytest.raises(RequestError, match=r"--minutes is 0.01, and a run of one step takes \d.* here: give more"):
        train(TINY, str(tmp_path / "run"), device="cpu", minutes=0.01)
    assert not (tmp_path / "run" / "config.yaml").exists()

"""A run that was stopped goes on to the same bits; what it may go on from, and that it is no other run then."""

import os
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from interpreter import run_alone
from safetensors.torch import load_file
from tiny_run import TINY, log_lines, write_config

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.temporal_memory import TemporalMemory
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.operators import UPDATE_OPERATORS
from flowgru.processes.signals import Stopped
from flowgru.training import engine
from flowgru.training.checkpoints.saving import Saving
from flowgru.training.checkpoints.store import load_checkpoint
from flowgru.training.run import train

DRAWN = replace(
    TINY,
    validation=replace(TINY.validation, every=4, width=160, iterations=(1, 2)),
    iterations=2,
    no_grad_iterations=2,
    checkpoint_every=2,
)
"""How often it refines is drawn for each step."""

KEPT = replace(TINY, steps=4, keep_checkpoints=6)
SHORT = replace(TINY, steps=2, validation=replace(TINY.validation, every=2))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The folder of a finished run with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("kept")
    train(KEPT, str(folder), device="cpu")
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """The folder of a finished run of two steps and a validation."""
    folder = tmp_path_factory.mktemp("short")
    train(SHORT, str(folder), device="cpu")
    return folder


@pytest.mark.parametrize(
    ("operator", "precision", "workers"),
    [("conv_gru", "bf16", 1), *(pytest.param(name, "32", 0, marks=pytest.mark.slow) for name in UPDATE_OPERATORS)],
)
def test_kill_minus_nine_and_the_same_command_give_the_same_bits(tmp_path, operator, precision, workers):
    config = replace(DRAWN, network=NetworkConfig("compact", operator), precision=precision, workers=workers, steps=4)
    train(config, str(tmp_path / "whole"), device="cpu")
    file = write_config(tmp_path / "c.yaml", config)
    killed = run_alone(KILLED, file, tmp_path / "cut")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    train(config, str(tmp_path / "cut"), device="cpu")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "cut")


KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
from flowgru.training import engine
def step_then_die(*inputs, real=engine.training_step):
    if inputs[2].step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*inputs)
engine.training_step = step_then_die
from flowgru.cli import main
main(["train", "--config", sys.argv[1], "--output", sys.argv[2], "--device", "cpu"])
"""


VALIDATED = replace(DRAWN, steps=4, validation=replace(DRAWN.validation, every=2, pairs=2))
"""It is measured after every second step."""


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("validated")
    train(VALIDATED, str(folder), device="cpu")
    return folder


@pytest.mark.parametrize("step", [2, 4], ids=["in the middle", "at the end"])
def test_a_signal_during_a_validation_stops_it_and_the_same_command_makes_up_for_it(
    validated, tmp_path, monkeypatch, step
):
    real, measured = engine.pair_errors, []

    def interrupted(network, data, iterations, device, **options):
        if len(measured) == step // 2 - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        errors = real(network, data, iterations, device, **options)
        measured.append(bool((errors != 0).any()))
        return errors

    monkeypatch.setattr(engine, "pair_errors", interrupted)
    with pytest.raises(Stopped):
        train(VALIDATED, str(tmp_path), device="cpu")
    assert measured[-1] is False  # not one pair more
    assert load_checkpoint(tmp_path / f"step-{step:08d}").state["validation_due"]
    monkeypatch.setattr(engine, "pair_errors", real)
    train(VALIDATED, str(tmp_path), device="cpu")
    whole, cut = (load_file(folder / "model.safetensors") for folder in (validated, tmp_path))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert log_lines(validated) == log_lines(tmp_path)


def test_resume_never_refuses_a_folder_with_checkpoints(kept):
    with pytest.raises(RequestError, match="holds 4 checkpoints: name another --output"):
        train(KEPT, str(kept), resume="never", device="cpu")


def test_resuming_from_a_named_checkpoint_gives_the_same_bits(kept, tmp_path):
    start = str(kept / "step-00000002")
    train(KEPT, str(tmp_path), resume=start, device="cpu")
    run, again = (load_file(folder / "model.safetensors") for folder in (kept, tmp_path))
    assert all(torch.equal(run[name], again[name]) for name in run)
    with pytest.raises(RequestError, match="holds step-00000004, newer than"):
        train(KEPT, str(kept), resume=start, device="cpu")


def test_a_memory_is_added_to_weights_and_a_run_on_clips_goes_on_to_the_same_bits(tmp_path, capsys, monkeypatch):
    real, trained_on = TemporalMemory.forward, set()

    def noted(self, hidden, *given, pairs_in_clip=1):
        if self.training:
            trained_on.add((len(hidden), pairs_in_clip))
        return real(self, hidden, *given, pairs_in_clip=pairs_in_clip)

    monkeypatch.setattr(TemporalMemory, "forward", noted)
    start = tmp_path / "start.safetensors"
    write_model_file(start, FlowNetwork(TINY.network).state_dict(), {"network": asdict(TINY.network)})
    control = replace(KEPT, data=replace(TINY.data, clip_frames=3), batch_size=2, steps=3, init_from=str(start))
    config = replace(control, network=replace(TINY.network, memory=True))
    for name, each in (("control", replace(control, steps=1)), ("whole", config)):
        train(each, str(tmp_path / name), device="cpu")
    said = capsys.readouterr().out
    assert said.count("generated clips of 3 frames of 128x128 px") == 2
    (new,) = (line for line in said.splitlines() if "left at random" in line)
    assert all(name.startswith("temporal_memory.") for name in new.split("at random: ")[1].split(", "))
    losses = [log_lines(tmp_path / name)[0]["loss"] for name in ("control", "whole")]
    assert losses[0] == losses[1]  # it begins as the network that it was
    assert trained_on == {(2, 2)}
    train(config, str(tmp_path / "cut"), resume=str(tmp_path / "whole/step-00000002"), device="cpu")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert whole["temporal_memory.to_hidden.weight"].abs().max() > 0
    early = load_file(tmp_path / "whole/step-00000001/model.safetensors")
    late = load_file(tmp_path / "whole/step-00000003/model.safetensors")
    gates = "temporal_memory.cell.gates.recurrent.weight"
    assert not torch.equal(early[gates], late[gates])


def test_a_named_checkpoint_of_another_configuration_is_refused_before_the_folder_is_made(tmp_path):
    train(replace(TINY, steps=1), str(tmp_path / "run"), device="cpu")
    start = str(tmp_path / "run" / "step-00000001")
    with pytest.raises(RequestError, match=r"another configuration \(seed was 0 and is 1\): begin from"):
        train(replace(TINY, steps=1, seed=1), str(tmp_path / "other"), resume=start, device="cpu")
    assert not (tmp_path / "other").exists()


def test_a_named_checkpoint_may_be_named_by_its_name_alone_and_its_run_made_longer(tmp_path, capsys):
    train(replace(TINY, steps=1), str(tmp_path / "run"), device="cpu")
    train(replace(TINY, steps=2), str(tmp_path / "run"), resume="step-00000001", device="cpu")
    assert "the run was to end at step 1 and ends at step 2" in capsys.readouterr().out
    start = str(tmp_path / "run" / "step-00000002")
    train(replace(TINY, steps=3), str(tmp_path / "other"), resume=start, device="cpu")
    assert "the run was to end at step 2 and ends at step 3" in capsys.readouterr().out
    assert (tmp_path / "other" / "step-00000003").exists()


def test_a_finished_run_says_that_it_is_finished(tmp_path, capsys):
    train(replace(TINY, steps=1), str(tmp_path / "run"), device="cpu")
    began = capsys.readouterr().out
    assert "1 process on cpu, in float32\n" in began and "1 refinement with gradient\n" in began
    train(replace(TINY, steps=1), str(tmp_path / "run"), device="cpu", minutes=1.0)
    said = capsys.readouterr().out
    assert "the run is finished, at step 1" in said and "more --steps make it longer, and --minutes is for" in said
    assert "the run is finished" not in began and "after 1 refinement\n" in began and "resumed" not in said


@pytest.mark.parametrize("wrong", ["typo", "never/there", 300 * "a"])
def test_a_checkpoint_that_is_not_there_is_one_line_with_those_that_are(kept, tmp_path, wrong, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("of: something else\n")
    with pytest.raises(RequestError, match=f"--resume is '{wrong}', which is no folder: .*there is step-0000000"):
        train(KEPT, str(kept), resume=wrong, device="cpu")
    with pytest.raises(RequestError, match="there is none"):
        train(KEPT, str(tmp_path / "new"), resume=wrong, device="cpu")
    assert not (tmp_path / "new").exists()


def test_a_named_checkpoint_that_is_damaged_is_an_error(kept, tmp_path):
    damaged = tmp_path / "step-00000004"
    shutil.copytree(kept / "step-00000004", damaged)
    (damaged / "model.safetensors").write_bytes(b"0")
    with pytest.raises(RequestError, match="step-00000004"):
        train(KEPT, str(tmp_path / "other"), resume=str(damaged), device="cpu")
    assert not (tmp_path / "other").exists()


def test_nothing_depends_on_the_clock(short, tmp_path, monkeypatch):
    jumps = iter(range(0, -(10**9), -86_400))
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(jumps))  # back by a day whenever somebody looks
    train(SHORT, str(tmp_path), device="cpu")
    monkeypatch.undo()
    steady, jumping = (load_file(folder / "model.safetensors") for folder in (short, tmp_path))
    assert all(torch.equal(steady[name], jumping[name]) for name in steady)
    assert log_lines(short) == log_lines(tmp_path)


def test_kill_minus_nine_before_a_validation_that_was_made_up_for_is_saved_logs_it_once(short, tmp_path, monkeypatch):
    measure = engine.pair_errors

    def asked_to_stop(*inputs, **options):
        signal.raise_signal(signal.SIGTERM)
        return measure(*inputs, **options)

    def killed(*_, **__):
        raise KeyboardInterrupt

    for home, name, interrupted, raised in (
        (engine, "pair_errors", asked_to_stop, Stopped),
        (Saving, "save", killed, KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch, pytest.raises(raised):
            patch.setattr(home, name, interrupted)
            train(SHORT, str(tmp_path), device="cpu")
    assert "validation_epe_per_image" in log_lines(tmp_path)[-1]
    train(SHORT, str(tmp_path), device="cpu")
    assert log_lines(short) == log_lines(tmp_path)

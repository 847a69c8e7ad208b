"""What a run may go on from, and that it is no other run then."""

import signal
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import TINY, log_lines

from flowgru.errors import RequestError
from flowgru.processes.signals import Stopped
from flowgru.training import engine
from flowgru.training.run import train
from flowgru.training.saving import Saving


def test_resume_never_refuses_a_folder_with_checkpoints(tmp_path):
    train(TINY, str(tmp_path / "run"), device="cpu")
    with pytest.raises(RequestError, match="holds 3 checkpoints: name another --output"):
        train(TINY, str(tmp_path / "run"), resume="never", device="cpu")


def test_resuming_from_a_named_checkpoint_gives_the_same_bits(tmp_path):
    config = replace(TINY, keep_checkpoints=6)
    train(config, str(tmp_path / "run"), device="cpu")
    start = str(tmp_path / "run" / "step-00000002")
    train(config, str(tmp_path / "again"), resume=start, device="cpu")
    run, again = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "again"))
    assert all(torch.equal(run[name], again[name]) for name in run)
    with pytest.raises(RequestError, match="holds step-00000006, newer than"):
        train(config, str(tmp_path / "run"), resume=start, device="cpu")


def test_a_named_checkpoint_of_another_configuration_is_refused_before_the_folder_is_made(tmp_path):
    train(replace(TINY, steps=1), str(tmp_path / "run"), device="cpu")
    start = str(tmp_path / "run" / "step-00000001")
    with pytest.raises(RequestError, match=r"another configuration \(steps was 1 and is 6\): begin from"):
        train(TINY, str(tmp_path / "other"), resume=start, device="cpu")
    assert not (tmp_path / "other").exists()


def test_a_named_checkpoint_that_is_damaged_is_an_error(tmp_path):
    train(TINY, str(tmp_path / "run"), device="cpu")
    damaged = tmp_path / "run" / "step-00000006"
    (damaged / "model.safetensors").write_bytes(b"0")
    with pytest.raises(RequestError, match="step-00000006"):
        train(TINY, str(tmp_path / "other"), resume=str(damaged), device="cpu")
    assert not (tmp_path / "other").exists()


def test_nothing_depends_on_the_clock(tmp_path, monkeypatch):
    config = replace(TINY, steps=2, validation=replace(TINY.validation, every=2))
    train(config, str(tmp_path / "steady"), device="cpu")
    jumps = iter(range(0, -(10**9), -86_400))
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(jumps))  # back by a day whenever somebody looks
    train(config, str(tmp_path / "jumping"), device="cpu")
    monkeypatch.undo()
    steady, jumping = (load_file(tmp_path / name / "model.safetensors") for name in ("steady", "jumping"))
    assert all(torch.equal(steady[name], jumping[name]) for name in steady)
    assert log_lines(tmp_path / "steady") == log_lines(tmp_path / "jumping")


def test_kill_minus_nine_before_a_validation_that_was_made_up_for_is_saved_logs_it_once(tmp_path, monkeypatch):
    config = replace(TINY, steps=2, validation=replace(TINY.validation, every=2))
    train(config, str(tmp_path / "whole"), device="cpu")
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
            train(config, str(tmp_path / "cut"), device="cpu")
    assert "validation_epe_per_image" in log_lines(tmp_path / "cut")[-1]
    train(config, str(tmp_path / "cut"), device="cpu")
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "cut")

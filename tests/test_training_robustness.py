"""A run survives what goes wrong around it, and says so."""

import contextlib
import errno
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from safetensors.torch import load_file
from tiny_run import TINY, log_lines, write_config
from torch.utils.data import get_worker_info

from flowgru.cli import main
from flowgru.data.synthetic import SyntheticPairs
from flowgru.errors import InputFileError, MachineError, RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.tasks import progress
from flowgru.tasks.train import train
from flowgru.training import engine, loader, step
from flowgru.training.checkpoints import CheckpointStore, require_space
from flowgru.training.objective import endpoint_error
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import Run, RunningMean, one_cycle
from flowgru.training.sampler import collate
from flowgru.training.validation import pair_errors


def die_once(marker: Path, monkeypatch) -> None:
    """The worker that makes pair 2 is killed, as by a system without memory, until `marker` exists."""
    real = SyntheticPairs.__getitem__

    def deadly(self, index):
        if index == 2 and get_worker_info() is not None and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, index)

    monkeypatch.setattr(SyntheticPairs, "__getitem__", deadly)


def test_a_killed_worker_is_replaced_and_changes_nothing(tmp_path, monkeypatch):
    train(replace(TINY, workers=1), str(tmp_path / "whole"), device="cpu")
    die_once(tmp_path / "died", monkeypatch)
    train(replace(TINY, workers=1), str(tmp_path / "hurt"), device="cpu")
    assert (tmp_path / "died").exists()
    whole, hurt = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "hurt"))
    assert all(torch.equal(whole[name], hurt[name]) for name in whole)


def test_workers_that_die_again_end_the_run_and_name_the_pairs(tmp_path, monkeypatch):
    def deadly(self, index):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(SyntheticPairs, "__getitem__", deadly)
    with pytest.raises(MachineError, match=r"died twice, the last time at step 1 \(pairs 0 to 0"):
        list(
            loader.batches(SyntheticPairs(TINY.data), replace(TINY, workers=1), 0, share=0, shares=1, pin_memory=False)
        )


def test_an_error_in_the_data_is_not_taken_for_a_dead_worker(monkeypatch):
    def broken(self, index):
        raise RuntimeError("a bug")

    monkeypatch.setattr(SyntheticPairs, "__getitem__", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        list(loader.batches(SyntheticPairs(TINY.data), TINY, 0, share=0, shares=1, pin_memory=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_one_line_from_whatever_process(monkeypatch, workers):
    def damaged(self, index):
        raise InputFileError("a.flo is damaged: get it again")

    monkeypatch.setattr(SyntheticPairs, "__getitem__", damaged)
    config = replace(TINY, workers=workers)
    with pytest.raises(InputFileError) as caught:
        list(loader.batches(SyntheticPairs(TINY.data), config, 0, share=0, shares=1, pin_memory=False))
    assert str(caught.value) == "a.flo is damaged: get it again"


def refuse(times: int, monkeypatch) -> None:
    """The disk refuses the first saves."""
    real, left = CheckpointStore.save, [times]

    def save(self, *inputs, **options):
        if left[0]:
            left[0] -= 1
            raise MachineError("cannot save the checkpoint: No space left on device")
        return real(self, *inputs, **options)

    monkeypatch.setattr(CheckpointStore, "save", save)


def test_a_disk_that_is_full_for_a_while_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    refuse(2, monkeypatch)
    train(replace(TINY, keep_checkpoints=6), str(tmp_path), device="cpu")
    assert (tmp_path / "model.safetensors").exists()
    assert sorted(path.name[-1] for path in tmp_path.glob("step-*")) == ["3", "4", "5", "6"]
    assert capsys.readouterr().out.count("warning: cannot save the checkpoint: No space left on device") == 2


def test_a_disk_that_stays_full_ends_the_run(tmp_path, monkeypatch):
    refuse(100, monkeypatch)
    with pytest.raises(MachineError, match="No space left"):
        train(TINY, str(tmp_path), device="cpu")
    assert max(line["step"] for line in log_lines(tmp_path)) == 3


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    real = Path.open

    def full(self, *inputs, **options):
        if self.name == "log.jsonl" and "a" in inputs:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *inputs, **options)

    monkeypatch.setattr(Path, "open", full)
    train(TINY, str(tmp_path), device="cpu")
    assert (tmp_path / "model.safetensors").exists()
    assert capsys.readouterr().out.count("training goes on without") == 1


def test_a_damaged_line_of_the_log_is_dropped_and_does_not_end_the_run(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n{"step\xff": 2, "loss": 1.0}\n')
    log = RunLog(tmp_path, 1)
    log.begin(2, 4, passed_over=[])
    log.close()
    assert log_lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_lines_that_nobody_reads_any_more_do_not_end_the_run(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        with progress.lines_over_bar(2) as (console, _):
            console.print("step 1")
            console.print("step 2")


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


FULL_DISK = """
import torch
torch.set_num_threads(1)
from flowgru.errors import MachineError
from flowgru.training.checkpoints import CheckpointStore
def save(*inputs, **options):
    raise MachineError("No space left on device")
CheckpointStore.save = save
from flowgru.cli import main
raise SystemExit(main())
"""


@pytest.mark.slow
def test_a_disk_that_stays_full_ends_all_processes_with_one_line(tmp_path):
    (tmp_path / "run.py").write_text(FULL_DISK)
    write_config(tmp_path / "c.yaml", batch_size=2, steps=9)
    command = [sys.executable, str(tmp_path / "run.py"), "train", "--config", str(tmp_path / "c.yaml")]
    command += ["--output", str(tmp_path / "out"), "--device", "cpu", "--devices", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 4 and ended.stderr.strip() == "error: No space left on device"
    assert max(line["step"] for line in log_lines(tmp_path / "out")) == 3


def test_one_gpu_cannot_be_named_for_several_processes():
    with pytest.raises(RequestError, match="--device is cuda:1 for 2 processes"):
        engine.connect(torch.device("cuda:1"), 2, "32-true")


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


def test_a_network_that_diverges_on_one_pair_is_not_measured_on_the_others(monkeypatch):
    network = FlowNetwork(TINY.network)
    pairs = SyntheticPairs(TINY.data, length=3)
    samples = [pairs[0], pairs[1]._replace(first=pairs[1].first * float("nan")), pairs[2]]
    samples[2] = samples[2]._replace(valid=torch.zeros_like(samples[2].valid))
    monkeypatch.setattr(SyntheticPairs, "__getitem__", lambda self, index: samples[index])
    errors = pair_errors(network, pairs, (1,), torch.device("cpu"))[:, 0].tolist()
    assert math.isfinite(errors[0]) and errors[1] == math.inf and math.isnan(errors[2])


def test_an_error_that_is_not_a_number_is_never_the_best_one(monkeypatch):
    network = FlowNetwork(TINY.network)
    optimizer = torch.optim.AdamW(network.parameters())
    run = Run(network, optimizer, one_cycle(optimizer, TINY.optimizer, 6), RunningMean(network.state_dict(), 0.9))
    fabric, found = Fabric(accelerator="cpu", devices=1), []
    for error in (math.nan, 2.0, math.inf, math.nan, 3.0, 1.0):
        monkeypatch.setattr(engine, "pair_errors", lambda *_, e=error, **__: torch.tensor([[e]], dtype=torch.float64))
        assert engine._validate(fabric, run, TINY, {"synthetic": SyntheticPairs(TINY.data)}, None, ()) is None
        found.append(run.is_best)
    assert found == [False, True, False, False, False, True]


def test_the_log_is_json_also_without_errors_that_are_numbers(tmp_path):
    log = RunLog(tmp_path, 2)
    log.begin(0, 200_000, passed_over=[])
    for number, error in enumerate((math.nan, 3.0, math.nan, math.nan), 1):
        log.step(number, 1.0, error, 1e-4, 0.0, 1.0)
    log.validation(4, {"synthetic": {1: math.inf}})
    log.close()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("epe") for line in lines] == [3.0, None, None]
    assert lines[2]["validation_epe"] == {"synthetic": {"1": None}}


def test_the_remaining_time_may_be_days(tmp_path, capsys):
    log = RunLog(tmp_path, 1)
    log.begin(0, 200_001, passed_over=[])
    log.step(1, 1.0, 1.0, 1e-4, 0.0, 1.0)
    assert "remaining 2 days, 7:33:20" in capsys.readouterr().out


def overflowing(loss):
    """The same loss, with a gradient that is not finite."""
    loss.register_hook(lambda gradient: gradient * math.inf)
    return loss


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_skipped_step_in_sixteen_bit_changes_no_weight_and_the_next_one_goes_on(monkeypatch, poison):
    plugin = MixedPrecision("bf16-mixed", "cpu")  # the scaler is all that differs from 16-mixed
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    run, wrapped = engine._begin(fabric, TINY, lambda: FlowNetwork(TINY.network), None, compile=False)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    real = step.loss_of

    def poisoned(prediction, batch, config):
        loss = real(prediction, batch, config)
        return loss + math.inf if poison == "loss" else overflowing(loss)

    monkeypatch.setattr(step, "loss_of", poisoned)
    batch = collate([SyntheticPairs(TINY.data)[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's about a schedule whose first step was skipped
        skipped = step.training_step(fabric, wrapped, run, TINY, batch)
    assert skipped.loss is None and skipped.overflow is (poison == "gradient")
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert run.scaler is not None and run.scaler.get_scale() == (1024.0 if poison == "loss" else 512.0)
    monkeypatch.setattr(step, "loss_of", real)
    assert step.training_step(fabric, wrapped, run, TINY, batch).loss is not None
    assert any(not torch.equal(value, before[name]) for name, value in run.network.state_dict().items())


def test_an_overflow_is_the_scales_fault_until_the_scale_is_one(monkeypatch):
    plugin = MixedPrecision("bf16-mixed", "cpu")
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    run, wrapped = engine._begin(fabric, TINY, lambda: FlowNetwork(TINY.network), None, compile=False)
    real = step.loss_of
    monkeypatch.setattr(step, "loss_of", lambda *inputs: overflowing(real(*inputs)))
    batch = collate([SyntheticPairs(TINY.data)[0]])
    results = [step.training_step(fabric, wrapped, run, TINY, batch) for _ in range(2)]
    assert [result.overflow for result in results] == [True, False]  # the scale is 1, then a half


@pytest.mark.parametrize("overflow", [True, False])
def test_a_scale_that_is_being_lowered_is_no_reason_to_give_up(tmp_path, monkeypatch, overflow):
    skipped = step.StepResult(None, None, ("a",), None, overflow)
    monkeypatch.setattr(engine, "training_step", lambda *_: skipped)
    config = replace(TINY, steps=12, checkpoint_every=12, validation=replace(TINY.validation, every=12))
    if overflow:
        train(config, str(tmp_path), device="cpu")
    else:
        with pytest.raises(MachineError, match=r"10 steps in a row .* the last of them step 10;"):
            train(config, str(tmp_path), device="cpu")


@pytest.mark.parametrize("every", [4, 5])
def test_a_stop_between_two_lines_of_the_log_changes_neither(tmp_path, monkeypatch, every):
    calls = []

    def numbers(fabric, network, run, config, batch, asked):
        calls.append(run.step)
        if len(calls) == 7 + 4:  # in the second run, after 3 of 7 steps and before step 4
            raise KeyboardInterrupt
        loss = 1 / (3 + run.step)
        return step.StepResult(loss, 2 * loss, (), None)

    monkeypatch.setattr(engine, "training_step", numbers)
    config = replace(TINY, steps=7, log_every=every, checkpoint_every=3)
    train(config, str(tmp_path / "whole"), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path / "cut"), device="cpu")
    train(config, str(tmp_path / "cut"), device="cpu")
    assert calls == [*range(7), *range(4), *range(3, 7)]
    assert log_lines(tmp_path / "cut") == log_lines(tmp_path / "whole")


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


def no_work(monkeypatch) -> None:
    monkeypatch.setattr(engine, "train_network", lambda *_, **__: pytest.fail("it began to train"))


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    no_work(monkeypatch)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30_000_000))
    config = write_config(tmp_path / "c.yaml")
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "a/run"), "--device", "cpu"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "has 30 MB free and the run needs " in line and "5 checkpoints of " in line
    assert not (tmp_path / "a").exists()


def test_the_room_that_is_asked_for_is_what_the_checkpoints_take(tmp_path, monkeypatch):
    config = replace(TINY, steps=2, keep_checkpoints=1, validation=replace(TINY.validation, every=2))
    train(config, str(tmp_path), device="cpu")
    (checkpoint,) = tmp_path.glob("step-*")
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    weights = sum(value.nbytes for value in FlowNetwork(TINY.network).state_dict().values())
    usage = shutil.disk_usage(tmp_path)
    for share, fits in ((1.1, True), (0.9, False)):  # two more, and the model, beside the one that is there
        free = int(share * (2 * size + weights))
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with contextlib.nullcontext() if fits else pytest.raises(MachineError, match="MB free"):
            require_space(tmp_path, weights, keep=1)


@pytest.mark.parametrize("output", ["/proc/flowgru_run", "file", "file/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path, monkeypatch, capsys, output):
    if output.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("there is no /proc here")
    no_work(monkeypatch)
    (tmp_path / "file").write_text("mine")
    folder = str(tmp_path / output)
    config = write_config(tmp_path / "c.yaml")
    assert main(["train", "--config", str(config), "--output", folder, "--device", "cpu"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot write to {folder}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_set_is_padded_in_validation_as_its_published_errors_were(monkeypatch):
    network = FlowNetwork(TINY.network)
    optimizer = torch.optim.AdamW(network.parameters())
    run = Run(network, optimizer, one_cycle(optimizer, TINY.optimizer, 6), RunningMean(network.state_dict(), 0.9))
    pairs = SyntheticPairs(replace(TINY.data, height=129, width=128), length=1)
    pair = pairs[0]
    engine._validate(
        Fabric(accelerator="cpu", devices=1), run, TINY, {"kitti2015": pairs, "sintel_clean": pairs}, None, ()
    )
    with torch.inference_mode():
        for name, padding in (("kitti2015", "kitti"), ("sintel_clean", "sintel")):
            flow = network(pair.first[None], pair.second[None], iterations=1, padding=padding).flows[0]
            expected = endpoint_error(flow, pair.flow[None], pair.valid[None]).item()
            assert run.validation[name][1] == pytest.approx(expected, rel=1e-6)
    assert run.validation["kitti2015"] != run.validation["sintel_clean"]


class Terminal(io.StringIO):
    """What a terminal would be sent."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_every_step_below_the_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FRAMES", 0.0)
    shown = sys.stdout
    with progress.lines_over_bar(200) as (console, show):
        log = RunLog(tmp_path, 100, console, show)
        log.begin(0, 200, passed_over=[])
        log.step(1, 0.5, 1.25, 1e-4, 0.5, 2.0)
        log.close()
    assert isinstance(shown, Terminal)
    text = "loss 0.500  EPE 1.250 px  0.50 steps/s  waiting for data 25%  remaining 0:06:38"
    assert "1/200" in shown.getvalue() and text in shown.getvalue()

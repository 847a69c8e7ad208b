"""A disk that is full or cannot be written to ends a run before any work, or once saving has failed too often."""

import contextlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import TINY, log_lines, write_config

from flowgru.cli import main
from flowgru.errors import MachineError
from flowgru.model.flow_network import FlowNetwork
from flowgru.training import engine
from flowgru.training.checkpoints.store import CheckpointStore, require_space
from flowgru.training.run import train


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
    train(replace(TINY, steps=4, keep_checkpoints=6), str(tmp_path), device="cpu")
    assert (tmp_path / "model.safetensors").exists()
    assert sorted(path.name[-1] for path in tmp_path.glob("step-*")) == ["3", "4"]
    assert capsys.readouterr().out.count("warning: cannot save the checkpoint: No space left on device") == 2


def test_a_disk_that_stays_full_ends_the_run(tmp_path, monkeypatch):
    refuse(100, monkeypatch)
    with pytest.raises(MachineError, match="No space left"):
        train(TINY, str(tmp_path), device="cpu")
    assert max(line["step"] for line in log_lines(tmp_path)) == 3


FULL_DISK = """
import torch
torch.set_num_threads(1)
from flowgru.errors import MachineError
from flowgru.training.checkpoints.store import CheckpointStore
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


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("/proc/flowgru_run", 4, "cannot write to {}: "),
        ("file", 2, "--output {} is a file: name a folder"),
        ("file/run", 2, "--output {} is to lie in "),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path, monkeypatch, capsys, output, code, said):
    if output.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("there is no /proc here")
    no_work(monkeypatch)
    (tmp_path / "file").write_text("mine")
    folder = str(tmp_path / output)
    config = write_config(tmp_path / "c.yaml")
    assert main(["train", "--config", str(config), "--output", folder, "--device", "cpu"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said.format(folder)}")
    assert (tmp_path / "file").read_text() == "mine"

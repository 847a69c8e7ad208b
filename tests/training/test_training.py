"""Training learns, in one process or several, saves when it is stopped, and refuses what makes no sense."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from interpreter import killed_at_the_end
from paths import ROOT
from safetensors.torch import load_file
from tiny_run import log_lines, new_run

from flowgru.cli import main
from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import read_weights, write_model_file
from flowgru.operators import UPDATE_OPERATORS
from flowgru.training.feeding.sampler import collate
from flowgru.training.losses import sequence_loss
from flowgru.training.run import train
from flowgru.training.run_state import drawn_refinements

TINY = replace(
    tiny_run.TINY,
    validation=replace(tiny_run.TINY.validation, every=4, width=160, iterations=(1, 2)),
    iterations=2,
    no_grad_iterations=2,
    checkpoint_every=2,
)


def write_config(path: Path, **changes: Any) -> Path:
    return tiny_run.write_config(path, TINY, **changes)


def test_settling_is_drawn_from_the_step_alone():
    config = replace(TINY, no_grad_iterations=6)
    drawn = [drawn_refinements(config, step).no_grad_iterations for step in range(2000)]
    assert drawn == [drawn_refinements(config, step).no_grad_iterations for step in range(2000)]
    assert 0.45 < sum(count == 0 for count in drawn) / 2000 < 0.55
    assert set(drawn) == set(range(7))


@pytest.mark.parametrize("operator", UPDATE_OPERATORS)
def test_the_loss_falls(operator):
    torch.manual_seed(1)
    network = FlowNetwork(NetworkConfig("compact", operator))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    batch = collate([SyntheticPairs(SyntheticSettings(height=128, width=128, photos=None, num_textures=4))[0]])
    losses = []
    for _ in range(7):
        optimizer.zero_grad()
        loss = sequence_loss(network(batch.first, batch.second, iterations=2).flows, batch.flow, batch.valid)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.filterwarnings("ignore:.*meta parameter")
def test_a_resumed_moving_average_stays_on_the_networks_device():
    with torch.device("meta"):  # stands for a GPU; what a checkpoint gives is on the CPU
        network = FlowNetwork(TINY.network)
    run = new_run(network)
    weights = dict(FlowNetwork(TINY.network).state_dict())
    run.restore(weights, {**run.state(), "mean": weights})
    assert {value.device.type for value in run.average.weights.values()} == {"meta"}


def test_a_resumed_run_does_not_need_the_weights_it_started_from(tmp_path):
    start = tmp_path / "start.safetensors"
    card = {"network": {"preset": "compact", "operator": "conv_gru"}, "license": "HD1K: as its page says"}
    write_model_file(start, FlowNetwork(TINY.network).state_dict(), card)
    config = replace(TINY, steps=1, init_from=str(start))
    train(config, str(tmp_path / "run"), device="cpu")
    expected = load_file(tmp_path / "run" / "model.safetensors")
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    start.unlink()
    train(config, str(tmp_path / "run"), device="cpu")
    card = read_weights(tmp_path / "run" / "model.safetensors")[1]
    assert card is not None and card["license"] == "HD1K: as its page says"
    assert card["init_from"] == {"name": str(start), "license": card["license"], "sha256": digest}
    found = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("device", "code"), [("cuda:63", 4), ("gpu", 2)])
def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path, device, code, capsys):
    config = write_config(tmp_path / "c.yaml")
    command = ["train", "--config", str(config), "--output", str(tmp_path / "run"), "--device", device]
    assert main(command) == code
    assert device in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_sigterm_to_the_whole_group_saves_and_exits_143(tmp_path, devices):
    config = write_config(tmp_path / "c.yaml", steps=100_000, batch_size=2, workers=1)
    command = [sys.executable, "-m", "flowgru", "train", "--config", str(config), "--output", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--devices", devices],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    with killed_at_the_end(process):
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 143, errors
    assert errors.strip() == "stopped by SIGTERM; the same command goes on from here"
    steps = max(line["step"] for line in log_lines(tmp_path / "run"))
    assert (tmp_path / "run" / f"step-{steps:08d}").is_dir()


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path):
    config = write_config(tmp_path / "c.yaml", steps=5, batch_size=2)
    # At four times this rate ten steps magnify a rounding of 1e-8 to 3e-4.
    words = ["train", "--config", str(config), "--device", "cpu", "--optimizer.learning-rate", "1e-4", "--output"]
    assert main([*words, str(tmp_path / "1")]) == 0
    command = [sys.executable, "-m", "flowgru", *words, str(tmp_path / "2"), "--devices", "2"]
    subprocess.run(command, check=True, timeout=200)
    one, two = (log_lines(tmp_path / devices) for devices in ("1", "2"))
    assert len(one) == 7 and [line["step"] for line in one] == [line["step"] for line in two]
    for alone, shared in zip(one, two, strict=True):
        if "validation_epe_per_image" in alone:
            assert shared["validation_epe_per_image"]["synthetic"] == pytest.approx(
                alone["validation_epe_per_image"]["synthetic"], rel=1e-4
            )
        else:
            assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-5)
            assert shared["epe_per_image"] == pytest.approx(alone["epe_per_image"], rel=1e-5)


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path, capsys):
    command = ["train", "--config", str(write_config(tmp_path / "c.yaml")), "--output", str(tmp_path / "run")]
    assert main([*command, "--device", "cpu", "--devices", "2"]) == 2
    said = "batch_size is 1: it must be a multiple of 2, for 2 processes with gradient_accumulation_steps 1"
    assert said in capsys.readouterr().err
    assert main([*command, "--device", "cpu", "--devices", "0"]) == 2
    assert "--devices is 0" in capsys.readouterr().err


def test_a_folder_of_another_run_is_refused(tmp_path):
    train(replace(TINY, steps=1), str(tmp_path / "run"))
    begin = re.escape(f"begin from its weights with --init-from {tmp_path}/run/model.safetensors")
    with pytest.raises(
        RequestError, match=rf"another configuration \(batch_size was 1 and is 2\): name another .* {begin}"
    ):
        train(replace(TINY, steps=1, batch_size=2), str(tmp_path / "run"))


def test_what_changes_no_weights_may_change_while_a_run_goes_on(tmp_path):
    train(replace(TINY, steps=1), str(tmp_path / "run"))
    train(replace(TINY, steps=1, workers=1, log_every=7, checkpoint_every=3, keep_checkpoints=1), str(tmp_path / "run"))


@pytest.mark.parametrize("preset", ["compact", "large"])  # large has batch norm, which remembers what it has seen
def test_steps_that_are_not_finite_are_skipped_and_named(tmp_path, monkeypatch, preset):
    real = SyntheticPairs.__getitem__

    def poisoned(self, index):
        sample = real(self, index)
        return sample._replace(first=sample.first * float("nan")) if index in (1, 2) else sample

    monkeypatch.setattr(SyntheticPairs, "__getitem__", poisoned)
    config = replace(tiny_run.TINY, steps=4, checkpoint_every=4, network=NetworkConfig(preset, "conv_gru"))
    train(config, str(tmp_path), device="cpu")
    skipped = [line for line in log_lines(tmp_path) if "skipped" in line]
    assert [line["step"] for line in skipped] == [2, 3]
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "model.safetensors").values())


def test_the_model_file_says_where_it_comes_from(tmp_path):
    train(replace(TINY, steps=1), str(tmp_path))
    card = read_weights(tmp_path / "model.safetensors")[1]
    assert card is not None
    assert card["network"] == asdict(TINY.network)
    assert (card["steps"], card["seed"], card["license"]) == (1, 0, "BSD-3-Clause")
    errors = {int(count): error for count, error in card["held_out_epe_per_image"]["synthetic"].items()}
    assert errors.keys() == {1, 2} and errors[card["iterations"]] == min(errors.values())


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(config, capsys):
    command = "compare" if "flowgru compare" in config.read_text() else "train"
    assert main([command, "--config", str(config), "--print_config"]) == 0
    assert "operator:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"stepz": 3}, "stepz"),
        ({"batch_size": "many"}, "--batch-size is 'many'"),
        ({"gamma": 1.5}, "gamma is 1.5"),
    ],
)
def test_a_wrong_config_is_one_line_and_exit_code_2(tmp_path, change, said, capsys):
    config = write_config(tmp_path / "c.yaml", **change)
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_an_unknown_operator_is_refused_with_the_nearest_name(tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml")
    command = ["train", "--config", str(config), "--output", str(tmp_path / "run"), "--network.operator", "conv_gruu"]
    assert main(command) == 2
    assert "did you mean 'conv_gru'" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "run" / "model.safetensors")

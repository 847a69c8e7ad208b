"""A comparison goes on wherever it was stopped, and leaves no process behind."""

import json
import math
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from comparisons import RECIPE, words
from interpreter import is_alive, killed_at_the_end, spawned
from safetensors.torch import load_file
from tables import csv_rows

from flowgru.comparison.measurements import read_measurements

pytestmark = pytest.mark.timeout(1800)  # most of it is the start of processes, which a busy machine draws out


@pytest.fixture
def started(tmp_path):
    """Starts comparisons of two rows and seeds as processes of their own; kills what is left of them."""
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("seeds: [0]", "seeds: [0, 1]").replace("steps: 2", "steps: 30")
    )
    processes = ExitStack()

    def start(folder: Path, *more: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "flowgru", *words(folder, "--regimes", "equal_width", "--jobs", "2", *more)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        processes.enter_context(killed_at_the_end(process))
        return process

    with processes:
        yield start


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
    begun = spawned(hurt.pid)
    assert len(begun) == 2
    hurt.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, begun)), 60)
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
    begun = spawned(process.pid)
    process.send_signal(number)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 128 + number and "the same command goes on from here" in error
    assert not any(map(is_alive, begun))
    assert all(len([*log.parent.glob("step-*")]) == 1 for log in logs)


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
def test_minutes_decide_the_steps_once(tmp_path, started):
    more = ("--minutes", "0.05", "--operators", "conv_gru", "--seeds", "0")
    first = started(tmp_path / "results", *more)
    assert first.wait(900) == 0, first.stderr.read()
    about = json.loads((tmp_path / "results/comparison.json").read_text())
    steps = about["rows"]["equal_width"]["conv_gru"]["steps"]
    assert about["config"]["minutes"] == 0.05 and steps >= 1
    last = max(int(row["step"]) for row in csv_rows(tmp_path / "results/measurements.csv") if row["step"])
    assert last == steps
    second = started(tmp_path / "results", *more)
    out, _ = second.communicate(timeout=900)
    assert second.returncode == 0 and "steps/s" not in out and "1 of 1 runs are finished already" in out

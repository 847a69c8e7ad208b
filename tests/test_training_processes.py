"""The processes of a run live and end together, and a line says which one has died."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric import Fabric
from tiny_run import TINY, log_lines, write_config

from flowgru.errors import MachineError
from flowgru.model.flow_network import FlowNetwork
from flowgru.training import processes
from flowgru.training.run_state import Run, RunningMean, one_cycle

DIES_ONCE = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from flowgru.training import engine
died = Path(sys.argv[0]).with_name("died")
def step_then_die(*inputs, real=engine.training_step):
    if inputs[2].step == 2 and os.environ.get("LOCAL_RANK", "0") == "1" and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*inputs)
engine.training_step = step_then_die
from flowgru.cli import main
raise SystemExit(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_that_is_killed_ends_the_run_by_its_name_and_the_same_command_goes_on(tmp_path):
    (tmp_path / "run.py").write_text(DIES_ONCE)
    config = write_config(tmp_path / "c.yaml", batch_size=2, steps=4)
    command = [sys.executable, str(tmp_path / "run.py"), "train", "--config", str(config), "--device", "cpu"]
    command += ["--output", str(tmp_path / "out"), "--devices", "2"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert killed.returncode == 4, killed.stderr
    (line,) = killed.stderr.splitlines()
    assert line.startswith("error: process 2 of 2 (pid ") and "was killed by SIGKILL" in line
    again = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stderr
    assert "resumed after step 2 of 4" in again.stdout.splitlines()
    assert [line["step"] for line in log_lines(tmp_path / "out") if "loss" in line] == [1, 2, 3, 4]


FIRST = """
import subprocess, sys, time
from types import SimpleNamespace as Namespace
from flowgru.training import processes
processes.GRACE_SECONDS = 0.5
dead = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
launcher = Namespace(procs=[dead])
with processes.together(Namespace(world_size=2, is_global_zero=True, strategy=Namespace(launcher=launcher))):
    time.sleep(1000)  # as in a collective that never returns
"""

STARTED = """
import time
from types import SimpleNamespace as Namespace
from flowgru.training import processes
with processes.together(Namespace(world_size=2, is_global_zero=False, strategy=Namespace(launcher=None))):
    print("waits", flush=True)
    time.sleep(1000)
"""


def test_a_process_that_waits_in_vain_for_a_dead_one_ends_with_its_exit_code():
    ended = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 3
    assert "of 2 (pid " in ended.stderr and "ended with exit code 3" in ended.stderr


def test_a_process_whose_first_one_is_killed_ends(tmp_path):
    first = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STARTED!r}])"
    process = subprocess.Popen([sys.executable, "-c", first], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.kill()
    _, errors = process.communicate(timeout=200)  # until the last one that can write has ended
    assert errors.strip() == "error: the first process of this run has died"


def test_an_error_of_the_first_process_ends_the_others_without_being_killed_for_it(monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = [process]
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    monkeypatch.setattr(fabric.strategy.launcher, "procs", started)
    with pytest.raises(MachineError, match="died twice"), processes.together(fabric):
        raise MachineError("a process that reads pairs died twice")
    assert process.wait(timeout=100) == -signal.SIGKILL and not started


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_processes_that_do_not_end_with_the_first_one_are_ended_together(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 1.0)
    started = [sleeper(), sleeper()]
    fabric = Fabric(accelerator="cpu", devices=3, strategy="ddp")
    monkeypatch.setattr(fabric.strategy.launcher, "procs", list(started))
    try:
        with processes.together(fabric):
            pass
        assert [process.wait(timeout=20) for process in started] == [-signal.SIGKILL] * 2
    finally:
        for process in started:
            process.kill()


@pytest.mark.parametrize("first", [True, False])
def test_a_lost_connection_whose_other_end_lives_is_one_line_in_either_process(monkeypatch, first):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 1.0)
    started = [sleeper()] if first else []
    launcher = SimpleNamespace(procs=list(started))
    fabric = SimpleNamespace(world_size=2, is_global_zero=first, strategy=SimpleNamespace(launcher=launcher))
    said = r"cannot be reached \(NCCL error: no such device\)"
    try:
        with pytest.raises(MachineError, match=said), processes.together(fabric):
            raise RuntimeError("NCCL error: no such device")
        assert [process.wait(timeout=20) for process in started] == [-signal.SIGKILL] * first
    finally:
        for process in started:
            process.kill()


def test_under_torchrun_a_lost_process_is_one_line(monkeypatch):
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    said = r"another process of this run has died .*the same command goes on"
    with pytest.raises(MachineError, match=said), processes.together(fabric):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3")


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"processes": 2, "device": "cuda"}, "1 process on cpu, 2 processes on cuda before: each step takes the same"),
        ({}, None),
    ],
)
def test_going_on_with_other_processes_says_what_stays(before, said):
    here = {"processes": 1, "device": "cpu"}
    network = FlowNetwork(TINY.network)
    optimizer = torch.optim.AdamW(network.parameters())
    mean = RunningMean(network.state_dict(), 0.9)
    run = Run(network, optimizer, one_cycle(optimizer, TINY.optimizer, 6), mean, machine=here)
    run.restore(dict(network.state_dict()), {**run.state(), "machine": {**here, **before}})
    assert run.resumed_by is None if said is None else said in str(run.resumed_by)

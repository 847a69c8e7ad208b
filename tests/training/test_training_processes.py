"""The processes of a run live and end together, and a line says which one has died."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interpreter import run_alone
from lightning_fabric import Fabric
from paths import HELPERS
from tiny_run import TINY, log_lines, new_run, write_config

from flowgru.errors import MachineError, RequestError
from flowgru.processes.fabric import connect
from flowgru.training import ranks as processes
from flowgru.training import run
from flowgru.training.run import train

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


LATE = """
import os, time
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "1" and os.environ["LOCAL_RANK"] == "0":
    time.sleep(10)  # the other one asks for it before it has come
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_starts_a_run_anew_whose_processes_meet_each_other(tmp_path):
    (tmp_path / "run.py").write_text(LATE + DIES_ONCE)
    config = write_config(tmp_path / "c.yaml", batch_size=2, steps=4)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command += [str(tmp_path / "run.py"), "train", "--config", str(config), "--device", "cpu"]
    ended = subprocess.run([*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, timeout=800)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "died").exists() and "resumed after step 2 of 4" in ended.stdout.splitlines()
    assert [line["step"] for line in log_lines(tmp_path / "out") if "loss" in line] == [1, 2, 3, 4]


TWICE = """
import os, sys
from dataclasses import replace
from tiny_run import TINY
from flowgru.errors import RequestError
from flowgru.training.run import train
config = replace(TINY, steps=1, batch_size=2)
before = {name for name in os.environ if "RANK" in name or "MASTER" in name or "FLOWGRU" in name}
train(config, sys.argv[1] + "/first", device="cpu", devices=2)
after = {name for name in os.environ if "RANK" in name or "MASTER" in name or "FLOWGRU" in name}
print("goes on", after - before)
try:
    train(config, sys.argv[1] + "/second", device="cpu", devices=2)
except RequestError as error:
    print(error)
train(config, sys.argv[1] + "/third", device="cpu")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_a_run_of_several_processes_a_script_goes_on_in_one_and_makes_no_other_such_run(tmp_path):
    (tmp_path / "script.py").write_text(TWICE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), *sys.path])}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment)
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stdout.splitlines() if line.startswith(("goes on", "--devices"))]
    assert said[0] == "goes on set()" and len(said) == 2 and "start the next one in a process of its own" in said[1]
    assert sorted(path.parent.name for path in tmp_path.glob("*/model.safetensors")) == ["first", "third"]


def test_every_process_takes_the_bare_name_of_a_checkpoint_as_one_in_the_output_folder(tmp_path, monkeypatch):
    """Those that are not the first one know of the checkpoint by it, and read none."""
    output = tmp_path / "out"
    train(replace(TINY, steps=1), str(output), device="cpu")
    fabric = SimpleNamespace(is_global_zero=False, world_size=1, launch=lambda: sys.exit("launched"))
    monkeypatch.setattr(run, "connect", lambda *_: fabric)
    monkeypatch.setattr(run, "together", lambda _: nullcontext())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="launched"):
        train(replace(TINY, steps=1, init_from="nowhere.safetensors"), str(output), resume="step-00000001")


def test_one_gpu_cannot_be_named_for_several_processes():
    with pytest.raises(RequestError, match="--device is cuda:1 for 2 processes"):
        connect(torch.device("cuda:1"), 2, "32")


def test_more_processes_than_gpus_are_the_machines_fault(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MachineError, match="--devices is 2 and there is 1 GPU: a process needs one of its own"):
        connect(torch.device("cuda"), 2, "32")


def test_a_second_run_of_several_processes_in_one_is_refused():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(RequestError, match="--devices is 2, and this Python process has had a run of several"):
            connect(torch.device("cpu"), 2, "32")
        assert connect(torch.device("cpu"), 1, "32").world_size == 1
    finally:
        torch.distributed.destroy_process_group()


FIRST = """
import subprocess, sys, time
from types import SimpleNamespace as Namespace
from flowgru.training import ranks as processes
processes.GRACE_S = 0.5
dead = subprocess.Popen([sys.executable, "-c", "raise SystemExit(CODE)"])
launcher = Namespace(procs=[dead])
with processes.together(Namespace(world_size=2, is_global_zero=True, strategy=Namespace(launcher=launcher))):
    time.sleep(1000)  # as in a collective that never returns
"""

STARTER = """
import subprocess, sys
from types import SimpleNamespace as Namespace
from flowgru.training import ranks as processes
with processes.together(Namespace(world_size=2, is_global_zero=True, strategy=Namespace(launcher=None))):
    subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""

STARTED = """
import os, sys, time
from types import SimpleNamespace as Namespace
parent = os.getppid()
from flowgru.training import ranks as processes
def wait():
    print("waits", flush=True)
    while os.getppid() == parent:
        time.sleep(0.1)
if sys.argv[1] == "importing":
    wait()
with processes.together(Namespace(world_size=2, is_global_zero=False, strategy=Namespace(launcher=None))):
    if sys.argv[1] == "training":
        wait()
    time.sleep(1000)  # as in a collective that never returns
"""


@pytest.mark.parametrize(
    ("code", "expected", "how"), [(3, 3, "exit code 3, and"), (0, 4, "exit code 0 before the run was done, and")]
)
def test_a_process_that_waits_in_vain_for_one_that_ended_says_how_and_ends(code, expected, how):
    ended = run_alone(FIRST.replace("CODE", str(code)))
    assert ended.returncode == expected
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: process 2 of 2 (pid ") and f"ended with {how} the others ended with it" in line


@pytest.mark.parametrize("moment", ["importing", "training"])
def test_a_process_whose_first_one_is_killed_ends(moment):
    command = [sys.executable, "-c", STARTER, STARTED, moment]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.kill()
    _, errors = process.communicate(timeout=200)  # until the last one that can write has ended
    assert errors.strip() == "error: the first process of this run has died"


@pytest.mark.parametrize(("starter", "code"), [("1", processes.AGREED), (None, 0)], ids=["started", "a cluster's"])
def test_a_process_that_is_no_longer_needed_fails_in_no_launchers_eyes(monkeypatch, starter, code):
    if starter:
        monkeypatch.setenv(processes.STARTER, starter)
    fabric = fake_fabric(is_global_zero=False, barrier=lambda: None)
    with pytest.raises(SystemExit) as ended:
        processes.end_others(fabric)
    assert ended.value.code == code


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
    monkeypatch.setattr(processes, "GRACE_S", 1.0)
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
    monkeypatch.setattr(processes, "GRACE_S", 1.0)
    started = [sleeper()] if first else []
    launcher = SimpleNamespace(procs=list(started))
    fabric = fake_fabric(world_size=2, is_global_zero=first, strategy=SimpleNamespace(launcher=launcher))
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
    run = new_run(machine=here)
    run.restore(dict(run.network.state_dict()), {**run.state(), "machine": {**here, **before}})
    assert run.resumed_by is None if said is None else said in str(run.resumed_by)


USED = [name for name in vars(processes.Fabric) if not name.startswith("_")]
"""What a run uses of Lightning's Fabric."""


def fake_fabric(**given: Any) -> Any:
    """An object with all that, which does nothing where it is not given."""
    return SimpleNamespace(**dict.fromkeys(USED, lambda *_, **__: None) | given)


def test_what_a_run_uses_of_lightnings_fabric_is_there():
    fabric = Fabric(accelerator="cpu", devices=1)
    assert {"broadcast", "all_reduce", "clip_gradients"} < {*USED} and all(hasattr(fabric, name) for name in USED)

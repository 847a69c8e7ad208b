"""Training on two machines, imitated by two torchruns with node ranks of their own that meet on the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from interpreter import children
from tiny_run import log_lines, write_config

from flowgru.cli import main
from flowgru.config import OptimizerConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 10

CHANGES = {
    "batch_size": 2,
    "steps": STEPS,
    # At four times this rate ten steps magnify a rounding of 1e-8 to more than 1e-4.
    "optimizer": asdict(OptimizerConfig(learning_rate=1e-4, ema_decay=0.9)),
}

RUN = """
import torch
torch.set_num_threads(1)
from flowgru.cli import main
raise SystemExit(main())
"""


class Nodes:
    """Two torchruns, each the leader of a process group of its own, as on a machine of its own."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.output = folder / "out"
        (folder / "run.py").write_text(RUN)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        words = [
            str(folder / "run.py"),
            "train",
            "--config",
            str(config),
            "--device",
            "cpu",
            "--output",
            str(self.output),
        ]
        self.processes = [self._start(port, number, words) for number in (0, 1)]

    @staticmethod
    def _start(port: str, number: int, words: list[str]) -> subprocess.Popen[str]:
        node = ["--nnodes=2", f"--node-rank={number}", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *node, f"--master-port={port}", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def until(self, step: int) -> None:
        patience = time.monotonic() + 600
        while not any(self.output.glob(f"step-{step:08d}")):
            assert time.monotonic() < patience and self.processes[0].poll() is None
            time.sleep(0.1)

    def kill(self, number: int) -> None:
        """Ends a whole machine at once: its torchrun, and the process that this has started."""
        agent = self.processes[number]
        for pid in [*children(agent.pid), agent.pid]:
            os.kill(pid, signal.SIGKILL)

    def ended(self, number: int) -> tuple[int, list[str]]:
        """Exit code and flowgru's own lines of errors: torchrun says more around them."""
        errors = self.processes[number].communicate(timeout=900)[1]
        return self.processes[number].returncode, [line for line in errors.splitlines() if line.startswith("error: ")]

    def losses(self) -> list[float]:
        return [line["loss"] for line in log_lines(self.output) if "loss" in line]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> list[float]:
    """The losses of one process."""
    folder = tmp_path_factory.mktemp("alone")
    config = write_config(folder / "c.json", **CHANGES)
    assert main(["train", "--config", str(config), "--output", str(folder / "out"), "--device", "cpu"]) == 0
    return [line["loss"] for line in log_lines(folder / "out") if "loss" in line]


def test_two_nodes_train_as_one_process_does(tmp_path, alone):
    nodes = Nodes(tmp_path, write_config(tmp_path / "c.json", **CHANGES))
    assert [nodes.ended(number) for number in (0, 1)] == [(0, []), (0, [])]
    assert len(alone) == STEPS and nodes.losses() == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("number_after", [1, 2])
def test_a_node_that_is_killed_ends_the_other_within_a_minute_and_two_or_one_go_on(
    tmp_path, alone, killed, number_after
):
    config = write_config(tmp_path / "c.json", **CHANGES)
    nodes = Nodes(tmp_path, config)
    nodes.until(4)
    nodes.kill(killed)
    began = time.monotonic()
    code, errors = nodes.ended(1 - killed)
    assert time.monotonic() - began < 60
    assert code != 0 and len(errors) == 1 and "the same command goes on from the last checkpoint" in errors[0], errors
    if number_after == 2:
        again = Nodes(tmp_path, config)
        assert [again.ended(number) for number in (0, 1)] == [(0, []), (0, [])]
    else:
        assert main(["train", "--config", str(config), "--output", str(nodes.output), "--device", "cpu"]) == 0
    assert nodes.losses() == pytest.approx(alone, abs=1e-4)

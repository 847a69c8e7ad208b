"""Networks that are exported, and the two commands that make and use an exported file."""

from pathlib import Path
from typing import Any

import torch
from interpreter import run_alone

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file


@torch.no_grad()
def small_network(
    operator: str = "conv_gru", preset: str = "small", confidence: bool = False, options: Any = None
) -> FlowNetwork:
    """A network of random weights whose first refinement changes noise by up to 2 px."""
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(preset, operator, confidence, options or {})).eval()  # pyright: ignore[reportArgumentType]
    change = network(*torch.rand(2, 1, 3, 128, 128), iterations=1).coarse
    network.flow_head[-1].weight *= 2 / (8 * change.abs().max())
    return network


def write_model(path: Path, network: FlowNetwork) -> str:
    config = network.config
    named = {"preset": config.preset, "operator": config.operator, "confidence": config.confidence}
    card = {"network": {**named, "options": config.options}, "iterations": 2, "license": "CC0-1.0"}
    write_model_file(path, network.state_dict(), card)
    return str(path)


COMMAND = "import sys; from flowgru.cli import main; sys.exit(main(sys.argv[1:]))"


def exported(output: Path, *words: object) -> str:
    """Runs the command and gives what it said.

    It runs in a process of its own: PyTorch's tracer cannot read the tests' type checks.
    """
    run = run_alone(COMMAND, "export", "--output", output, "--max-size", 256, *words)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def estimate(file: object, *words: object) -> int:
    return main(["estimate", *map(str, words), "--model", str(file)])

"""The smallest whole run, as a configuration and as a file, what runs leave behind, and an augmentation of nothing."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flowgru.config import (
    AugmentationSettings,
    NetworkConfig,
    OptimizerConfig,
    SyntheticSettings,
    TrainConfig,
    ValidationConfig,
)
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.training.run import train
from flowgru.training.run_state import ExponentialMovingAverage, Run, one_cycle

TINY = TrainConfig(
    network=NetworkConfig("compact", "conv_gru"),
    data=SyntheticSettings(height=128, width=128, photos=None, num_textures=4),
    optimizer=OptimizerConfig(ema_decay=0.9),
    validation=ValidationConfig(every=6, pairs=1, height=128, width=128, iterations=(1,)),
    steps=6,
    batch_size=1,
    iterations=1,
    workers=0,
    log_every=1,
    checkpoint_every=1,
)


def write_config(path: Path, config: TrainConfig = TINY, **changes: Any) -> Path:
    """The configuration as a file, with settings changed; JSON is YAML, too."""
    path.write_text(json.dumps(asdict(config) | changes))
    return path


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """The log without the fields that measure time."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    times = ("steps_per_second", "data_wait_share", "first_steps", "recorded_steps")
    return [{k: v for k, v in line.items() if k not in times} for line in lines]


def final_weights(config: TrainConfig, folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a run when it has ended."""
    train(config, str(folder), device="cpu")
    return load_model(folder / "model.safetensors", "cpu").state_dict()


def new_run(network: FlowNetwork | None = None, **options: Any) -> Run:
    """A run of TINY before its first step."""
    network = network or FlowNetwork(TINY.network)
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = one_cycle(optimizer, TINY.optimizer, TINY.steps)
    return Run(network, optimizer, schedule, ExponentialMovingAverage(network.state_dict(), 0.9), **options)


NOTHING = AugmentationSettings(
    height=144,
    width=176,
    log2_scale=(0.0, 0.0),
    scaling=0.0,
    stretching=0.0,
    horizontal_flip=0.0,
    vertical_flip=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    asymmetric=0.0,
    erasing=0.0,
)
"""The augmentation that changes nothing but the extent."""

"""A step of a training, to be timed: what all of its steps have in common, without the making of pairs."""

from collections.abc import Callable
from typing import Any, cast

import torch

from flowgru.config import TrainConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import loss_of

PRECISION = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


def prepared_training_step(config: TrainConfig, device: torch.device) -> Callable[[], object]:
    """Forward pass, loss and backward pass of a batch of random pictures, as large as the training's.

    The refinements that hold the flow, and those without gradient, are as many as in the mean of the steps, rounded. The
    pass at half the size, which a part of the steps has with `coarse_first`, is left out.
    """
    network = FlowNetwork(config.network).to(device).train()
    if config.channels_last:
        cast(Any, network).to(memory_format=torch.channels_last)  # torch 2.11's types lack memory_format
    height, width = _crop(config)
    size = config.batch_size // config.gradient_accumulation_steps
    first, second = (torch.rand(size, 3, height, width, device=device) for _ in range(2))
    flow = torch.zeros(size, 2, height, width, device=device)
    batch = FlowBatch(first, second, flow, torch.ones_like(flow[:, 0], dtype=torch.bool), ())
    most = config.no_grad_iterations  # half of the steps have none, the others 1 to `most`
    counts = {"hold": round(config.hold / 2), "no_grad_iterations": round((most + 1) / 4) if most else 0}

    def step() -> None:
        network.zero_grad(set_to_none=True)
        for _ in range(config.gradient_accumulation_steps):
            with torch.autocast(device.type, PRECISION[config.precision], enabled=config.precision != "32"):
                prediction = network(first, second, iterations=config.iterations, **counts)
                loss = loss_of(prediction, batch, config)
            loss.backward()

    return step


def _crop(config: TrainConfig) -> tuple[int, int]:
    """Height and width of the pictures of a batch."""
    crop = config.parts[0].augmentation if config.parts else config.data
    return crop.height, crop.width

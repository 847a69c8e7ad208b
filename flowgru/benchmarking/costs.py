"""What a network costs before it has learned anything: parameters, multiply-adds, memory, and a step to be timed."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowgru.config import NetworkConfig
from flowgru.layers.convolution import inference_layout
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory import forget_peak, peak_memory
from flowgru.operators.base import UpdateOperator


def count_parameters(config: NetworkConfig) -> tuple[int, int]:
    """Parameters of the whole network, and of its update operator alone. RequestError for a network that cannot be."""
    with torch.device("meta"):
        network = FlowNetwork(config)
    return _count(network), _count(network.operator)


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.inference_mode()
def multiply_adds(operator: UpdateOperator, height: int, width: int) -> int:
    """Multiply-adds of one step of the operator on a picture of height x width pixels.

    Those of convolutions, each computed directly, and of products of matrices, as is usual; gates and scans, a few for each
    value, are not counted.
    """
    step = prepared_step(copy.deepcopy(operator).to("meta"), height, width)  # nothing is computed there
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() // 2


def prepared_step(operator: UpdateOperator, height: int, width: int) -> Callable[[], object]:
    """One step of the operator on a picture of height x width pixels, begun already, on the operator's device."""
    device = next(operator.parameters()).device
    layout = inference_layout(device)
    operator = cast(Any, copy.deepcopy(operator)).to(memory_format=layout)  # torch 2.11's types lack memory_format
    sizes = (operator.hidden_size, operator.context_size, operator.motion_size)
    maps = (torch.randn(1, size, -(-height // 8), -(-width // 8), device=device) for size in sizes)
    hidden, context, motion = (each.contiguous(memory_format=layout) for each in maps)
    with torch.inference_mode():
        state = operator.begin(hidden, context)
    return lambda: operator.step(motion, state)


@torch.inference_mode()
def peak_mib(config: NetworkConfig, height: int, width: int, iterations: int, device: torch.device) -> float:
    """How far one estimation, on pictures of height x width pixels, raises the peak of memory, in MiB.

    On a CPU it is the resident memory of the process, which keeps what it had once: call it in a process of its own.
    """
    network = FlowNetwork(config).to(device).for_inference()
    first, second = (torch.rand(1, 3, height, width, device=device) for _ in range(2))
    forget_peak(device)
    before = peak_memory(device)
    network(first, second, iterations=iterations, final_only=True)
    return (peak_memory(device) - before) / 2**20

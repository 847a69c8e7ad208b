"""torch.compile for a network: each part of it is one graph, made once for each size of pictures."""

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from flowgru.errors import MachineError, RequestError, first_line
from flowgru.model.flow_network import FlowNetwork

MAX_GRAPHS = 1000
"""Sizes of pictures for which one process compiles; PyTorch's own limit of 8 is there to find mistakes."""


class CompiledPart:
    """A function that torch.compile makes faster, as one graph; its first call for each size of pictures is slow.

    It belongs to one network, so a network that is compiled is neither copied nor pickled: RequestError.
    """

    def __init__(self, function: Callable[..., Any], backend: str | Callable[..., Any]) -> None:
        self.function = torch.compile(function, dynamic=False, fullgraph=True, backend=backend)
        self.known: set[Any] = set()
        """What was compiled for."""
        self.seconds = 0.0
        """Seconds that the first calls took, which compile."""

    def __call__(self, first: Tensor, *others: Any) -> Any:
        # Strides are part of what a graph is made for, so they are always the same ones.
        given: Any = tree_map_only(Tensor, _channels_last, (first, *others))
        kind = first.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()
        kinds = [each if isinstance(each, bool) else type(each) for each in others]
        key = (first.shape, precision, *modes, *kinds)
        if key in self.known:
            return self.function(*given)
        from torch._dynamo import config
        from torch._dynamo.exc import ShortenTraceback

        began = time.perf_counter()
        try:
            with config.patch(recompile_limit=MAX_GRAPHS, accumulated_recompile_limit=MAX_GRAPHS):
                result = self.function(*given)
        except ShortenTraceback as error:
            reason = first_line(getattr(error, "inner_exception", error))
            raise MachineError(
                f"torch.compile cannot work here ({reason}): install a C++ compiler and Python's headers, or leave "
                "--compile out"
            ) from None
        self.known.add(key)
        self.seconds += time.perf_counter() - began
        return result

    def __reduce__(self) -> Any:  # copy.deepcopy and pickle both ask it
        raise RequestError("a compiled network cannot be copied or pickled: load it again, with compile=True")


def compile_for_inference(network: FlowNetwork, backend: str = "inductor") -> FlowNetwork:
    """Lets torch.compile make the network's estimates faster, and returns it; its flow differs by rounding only.

    One graph for each encoder, for a whole refinement with its look-up, and for the read-out with and without confidence,
    made in the first call for each size of pictures. It can be trained no more. MachineError, in the first call, where there
    is no compiler.
    """
    cast(Any, network).to(memory_format=torch.channels_last)  # torch 2.11's types lack memory_format
    encoders = ((encoder, "forward") for encoder in (network.feature_encoder, network.context_encoder))
    places = [*encoders, (network, "refine"), (network, "read_out")]
    network.compiled_parts = tuple(CompiledPart(getattr(*place), backend) for place in places)
    for (module, name), part in zip(places, network.compiled_parts, strict=True):
        setattr(module, name, part)
    return network


def compile_for_training(network: FlowNetwork, backend: str | Callable[..., Any] = "inductor") -> None:
    """Lets torch.compile make the network's training faster: every part for itself, the loop between them stays Python's.

    A graph of a whole refinement would keep more for its gradient. Every new size of pictures costs minutes of compiling.
    """
    from torch._dynamo import config

    # What is compiled no more runs as plain PyTorch, slower, for the rest of the training.
    config.recompile_limit = config.accumulated_recompile_limit = MAX_GRAPHS
    parts = [network.feature_encoder, network.context_encoder, network.motion_encoder, network.flow_head]
    for part in (*parts, network.upsampler, network.mixture_head):
        if part is not None:
            part.compile(dynamic=False, backend=backend)
    network.operator.step = torch.compile(network.operator.step, dynamic=False, backend=backend)


def compile_seconds(network: object) -> float:
    """What the first calls of a compiled network's parts have taken so far; 0 for one that is not compiled."""
    return sum((part.seconds for part in getattr(network, "compiled_parts", ())), 0.0)


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values.contiguous()

"""How well the two pictures match: the correlation of their features, and the look-up around where the flow points."""

from dataclasses import dataclass
from typing import Protocol, get_args, runtime_checkable

import torch

from flowgru.config.choices import CorrelationMethod
from flowgru.config.require import require_effect
from flowgru.errors import RequestError
from flowgru.grid import Coordinates
from flowgru.kernels import takes_triton
from flowgru.kinds import whole_number
from flowgru.model.buffers import release
from flowgru.model.correlation.all_pairs import AllPairsCorrelation, pyramid_bytes
from flowgru.model.correlation.compiled import CompiledAllPairs, CompiledOnDemand
from flowgru.model.correlation.on_demand import WORKING_BYTES, OnDemandCorrelation
from flowgru.model.memory import free_memory
from flowgru.types import Features

MAX_PYRAMID_BYTES = 2**30
"""Bytes above which auto prefers on_demand on a CPU, however much memory is free: there it is no slower."""


@dataclass(frozen=True)
class MatchPlan:
    """How the matches of a pair are computed; it changes memory and time, and the flow by rounding only.

    RequestError for an unknown method, and for a budget that is none.
    """

    correlation: CorrelationMethod = "auto"
    memory_budget: int | None = None
    """Bytes that the correlation may take; None lets auto see what is free."""

    def __post_init__(self) -> None:
        check_method(self.correlation, self.memory_budget)


@runtime_checkable
class Correlation(Protocol):
    """The match of every first-picture feature with the second picture, asked for in windows."""

    def lookup(self, centres: Coordinates) -> Features:
        """Correlation in a window around each centre, on every level.

        centres [B, 2, h, w]: where each coarse pixel of the first picture points in the second, in coarse pixels. Returns
        [B, levels * (2 radius + 1)^2, h, w]: finest level first; in a window the x offset is the slow index (RAFT's order).
        """
        ...


def correlate(
    first: Features,
    second: Features,
    *,
    levels: int,
    radius: int,
    method: CorrelationMethod = "auto",
    memory_budget: int | None = None,
    compiled: bool = False,
) -> Correlation:
    """The correlation of two pictures' features, ready to be looked up.

    memory_budget: bytes that it may take beside the features themselves.
    compiled: the look-up will be compiled, for inference.
    """
    batch, _, height, width = first.shape
    if method == "auto":
        method = preferred_method(batch, height, width, levels, first.device, memory_budget)
    if method == "on_demand":
        release()
    if compiled:
        return (CompiledAllPairs if method == "all_pairs" else CompiledOnDemand)(first, second, levels, radius)
    if takes_triton(first.device):
        if method == "all_pairs":
            from flowgru.model.correlation.triton_all_pairs import TritonAllPairsCorrelation

            return TritonAllPairsCorrelation(first, second, levels, radius)
        from flowgru.model.correlation.triton import TritonCorrelation

        return TritonCorrelation(first, second, levels, radius)
    if method == "all_pairs":
        return AllPairsCorrelation(first, second, levels, radius)
    working_bytes = WORKING_BYTES if memory_budget is None else min(memory_budget, WORKING_BYTES)
    return OnDemandCorrelation(first, second, levels, radius, working_bytes)


def preferred_method(
    batch: int, height: int, width: int, levels: int, device: torch.device, memory_budget: int | None = None
) -> CorrelationMethod:
    """What auto takes for pictures of height x width coarse pixels.

    all_pairs where its pyramid fits memory_budget; without one, where it is under a quarter of the memory that is free (on a
    GPU: that was free when such pictures first came), and on a CPU under 1 GiB.

    While gradients are recorded, and in an exported graph, only a given budget counts: what a training gives must
    not depend on what else the machine is doing.
    """
    if memory_budget is None:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return "all_pairs"
        memory_budget = _free(device, batch, height, width, levels) // 4
        if device.type == "cpu":
            memory_budget = min(memory_budget, MAX_PYRAMID_BYTES)
    return "all_pairs" if pyramid_bytes(batch, height, width, levels) <= memory_budget else "on_demand"


_first_free: dict[tuple[torch.device | int, ...], int] = {}
"""Bytes that were free on a GPU when pictures of a size first came."""


def _free(device: torch.device, *size: int) -> int:
    """Bytes that are free; on a GPU they are asked for once for each size.

    Asking the driver takes longer than a kernel's launch, and is nothing to be done while a CUDA graph is captured: before
    that, the same pictures have been through the network once.
    """
    if device.type != "cuda":
        return free_memory(device)
    if (device, *size) not in _first_free:
        _first_free[device, *size] = free_memory(device)
    return _first_free[device, *size]


def check_method(method: str, memory_budget: int | None) -> None:
    """RequestError for an unknown method, and for a budget that is none, or has no effect."""
    if method not in get_args(CorrelationMethod):
        raise RequestError(f"unknown correlation {method!r}: choose one of {', '.join(get_args(CorrelationMethod))}")
    if memory_budget is not None:
        whole_number("memory_budget, in bytes,", memory_budget, 1)
        require_effect(method != "all_pairs", "memory_budget", "with correlation all_pairs")

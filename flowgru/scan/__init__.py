"""The linear recurrence h[t] = decay[t] * h[t-1] + update[t], solved along any axis.

`linear_scan` is the contract and `scan_directions` the same for groups of channels that each go their own way;
sequential.py is the truth and every other file a faster form of it. docs/scan.md compares them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowgru.kernels import why_not_triton
from flowgru.scan.analytic import FORMS, AnalyticScan
from flowgru.scan.fixed_depth import fixed_depth_scan
from flowgru.scan.launched import gpu_kernels
from flowgru.scan.log_space import log_space_scan
from flowgru.scan.parallel import associative_scan
from flowgru.scan.sequential import sequential_scan
from flowgru.tracing import is_exporting

DIFFERENTIABLE = {"sequential": sequential_scan, "fixed_depth": fixed_depth_scan, "log_space": log_space_scan}
"""Forms with PyTorch's own gradient; they run forwards only."""

BACKENDS = ("auto", *DIFFERENTIABLE, *FORMS, "triton")

VECTOR_SLICE = 2048
"""Elements of one slice above which a loop over slices, in place, is faster on a CPU than a scan of logarithmic depth."""


def preferred_backend(backend: str, update: Tensor, dim: int = -1) -> str:
    """The implementation that really runs when `backend` is asked for to scan `update` along `dim`.

    auto is triton on a CUDA device where Triton kernels can run, in a compiled graph too. On a CPU it is in_place where
    slices are long and their elements neighbours in memory, else blelloch, which is also what a compiled graph gets there:
    it is short and has no loop. An exported graph, which may leave the length open, gets fixed_depth. ValueError for an
    unknown backend and for one that cannot run here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown scan backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "associative_scan" and associative_scan is None:
        raise ValueError(f"scan backend 'associative_scan' cannot run: torch {torch.__version__} does not have it")
    if backend == "triton" and (reason := _why_not_triton(update)):
        raise ValueError(f"scan backend 'triton' cannot run: {reason}; 'auto' takes the fastest that can")
    if backend != "auto":
        return backend
    if is_exporting():
        return "fixed_depth"
    if update.device.type == "cuda" and not _why_not_triton(update):
        return "triton"
    if torch.compiler.is_compiling():
        return "blelloch"
    slices_are_vectors = update.stride(dim) > 1 and update.numel() >= VECTOR_SLICE * update.shape[dim]
    return "in_place" if update.device.type == "cpu" and slices_are_vectors else "blelloch"


def linear_scan(
    decay: Tensor,
    update: Tensor,
    initial: Tensor | None = None,
    *,
    dim: int = -1,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Every state of h[t] = decay[t] * h[t-1] + update[t] along axis `dim`.

    decay and update have one shape, and so has the result; initial, h before the first step (0 if None), has the shape
    of one slice. With `reverse` the recurrence runs from the last index to the first: h[t] = decay[t] * h[t+1] + update[t].
    Sixteen-bit inputs are accumulated in float32 and returned in their own type. ValueError on shapes that do not fit, on a
    backend that cannot run here, and on values outside what log_space is defined for.
    """
    _check_shapes(decay, update, dim)
    dim = dim % update.dim()
    backend = preferred_backend(backend, update, dim)
    slice_shape = update.select(dim, 0).shape
    if initial is not None and initial.shape != slice_shape:
        raise ValueError(f"initial is {list(initial.shape)}: expected the shape of one slice, {list(slice_shape)}")
    accumulated = torch.promote_types(update.dtype, torch.float32)
    result_dtype, result_shape = update.dtype, update.shape
    if backend != "triton" or initial is not None:  # the kernel reads sixteen bits itself
        decay, update = decay.to(accumulated), update.to(accumulated)
    if initial is not None:
        # The state before the first step enters through the first update, which keeps every backend free of it.
        first = update.shape[dim] - 1 if reverse else 0
        entering = update.select(dim, first) + decay.select(dim, first) * initial.to(accumulated)
        update = update.select_scatter(entering, dim, first)
    if backend in DIFFERENTIABLE:
        turned = (decay.flip(dim), update.flip(dim)) if reverse else (decay, update)
        states = DIFFERENTIABLE[backend](*turned, dim)
        states = states.flip(dim) if reverse else states
    else:
        if (
            backend == "triton" and update.dim() > 4
        ):  # the kernel knows four axes: those beside the scanned one are joined
            shape = (math.prod(update.shape[:dim]), update.shape[dim], math.prod(update.shape[dim + 1 :]))
            decay, update, dim = decay.reshape(shape), update.reshape(shape), 1
        states = AnalyticScan.apply(decay, update, ((dim, reverse, backend),))
    return states.to(result_dtype).view(result_shape)


def scan_directions(
    decay: Tensor, update: Tensor, directions: Sequence[tuple[int, bool]], *, backend: str = "auto"
) -> Tensor:
    """linear_scan of equal groups of channels, each along its own axis and in its own direction.

    decay and update are [B, C, H, W], and so is the result; directions has one (dim, reverse) for each group of
    neighbouring channels, dim 2 or 3. The same as linear_scan of each group, concatenated, without the concatenation; the
    triton backend does all groups in one launch. ValueError as linear_scan, and where C is not divided by the groups.
    """
    if update.dim() != 4 or not directions or update.shape[1] % len(directions):
        raise ValueError(
            f"update is {list(update.shape)}: expected [B, C, H, W], C a multiple of the {len(directions)} directions"
        )
    if wrong := [dim for dim, _ in directions if dim not in (2, 3)]:
        raise ValueError(f"cannot scan groups of channels along axis {wrong[0]}: choose 2 (columns) or 3 (rows)")
    for dim, _ in directions:
        _check_shapes(decay, update, dim)
    groups = list(zip(decay.chunk(len(directions), 1), update.chunk(len(directions), 1), directions, strict=True))
    backends = [preferred_backend(backend, group_update, dim) for _, group_update, (dim, _) in groups]
    if backends[0] in DIFFERENTIABLE:
        return torch.cat([linear_scan(a, u, dim=d, reverse=r, backend=backend) for a, u, (d, r) in groups], 1)
    result_dtype = update.dtype
    if backends[0] != "triton":
        accumulated = torch.promote_types(update.dtype, torch.float32)
        decay, update = decay.to(accumulated), update.to(accumulated)
    ways = tuple((dim, reverse, name) for (dim, reverse), name in zip(directions, backends, strict=True))
    return AnalyticScan.apply(decay, update, ways).to(result_dtype)


def _check_shapes(decay: Tensor, update: Tensor, dim: int) -> None:
    if decay.shape != update.shape:
        raise ValueError(f"decay is {list(decay.shape)} and update {list(update.shape)}: both must have one shape")
    if update.dim() == 0 or update.shape[dim] == 0:
        raise ValueError(f"cannot scan along axis {dim} of {list(update.shape)}: it must have at least one step")


def _why_not_triton(values: Tensor) -> str | None:
    kernels = gpu_kernels()
    if kernels is None:
        return "triton is not installed"
    if values.device.type == "cuda":
        return why_not_triton(values.device)
    return None if kernels.INTERPRETED else f"the tensors are on {values.device.type}, it needs a CUDA device"

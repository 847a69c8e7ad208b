"""The linear recurrence h[t] = decay[t] * h[t-1] + update[t], solved along any axis.

`linear_scan` is the contract; sequential.py is the truth, parallel.py the fast form. The gradient is analytic and is
itself a scan in the other direction: with g the incoming gradient, G[t] = g[t] + decay[t+1] * G[t+1], then
d update = G, d decay[t] = G[t] * h[t-1] and d initial = decay[0] * G[0].
"""

import torch
from torch import Tensor

from flowgru.scan.parallel import parallel_scan
from flowgru.scan.sequential import sequential_scan

BACKENDS = ("auto", "sequential", "blelloch")


def preferred_backend(backend: str = "auto") -> str:
    """The implementation that really runs when `backend` is asked for. ValueError for an unknown name."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown scan backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    return "blelloch" if backend == "auto" else backend


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
    Sixteen-bit inputs are accumulated in float32 and returned in their own type. ValueError on shapes that do not fit.
    """
    backend = preferred_backend(backend)
    if decay.shape != update.shape:
        raise ValueError(f"decay is {list(decay.shape)} and update {list(update.shape)}: both must have one shape")
    if update.dim() == 0 or update.shape[dim] == 0:
        raise ValueError(f"cannot scan along axis {dim} of {list(update.shape)}: it must have at least one step")
    slice_shape = update.select(dim, 0).shape
    if initial is not None and initial.shape != slice_shape:
        raise ValueError(f"initial is {list(initial.shape)}: expected the shape of one slice, {list(slice_shape)}")
    dim = dim % update.dim()
    kept = torch.promote_types(update.dtype, torch.float32)
    result_dtype = update.dtype
    decay, update = decay.to(kept), update.to(kept)
    if initial is not None:
        # The state before the first step enters through the first update, which keeps every backend free of it.
        first = update.shape[dim] - 1 if reverse else 0
        entering = (decay.select(dim, first) * initial.to(kept)).unsqueeze(dim)
        rest = update.narrow(dim, 0 if reverse else 1, update.shape[dim] - 1)
        start = update.narrow(dim, first, 1) + entering
        update = torch.cat([rest, start] if reverse else [start, rest], dim)
    if backend == "sequential":
        states = _turned(
            sequential_scan(_turned(decay, dim, reverse), _turned(update, dim, reverse), dim), dim, reverse
        )
    else:
        states = _ParallelScan.apply(decay, update, dim, reverse)
    return states.to(result_dtype)


def _turned(values: Tensor, dim: int, reverse: bool) -> Tensor:
    return values.flip(dim) if reverse else values


class _ParallelScan(torch.autograd.Function):
    """parallel_scan with its gradient. backward is made of differentiable operations, so it can be differentiated too."""

    @staticmethod
    def forward(ctx, decay: Tensor, update: Tensor, dim: int, reverse: bool) -> Tensor:
        states = parallel_scan(decay, update, dim, reverse)
        ctx.save_for_backward(decay, states)
        ctx.dim, ctx.reverse = dim, reverse
        return states

    @staticmethod
    def backward(ctx, *grads: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        decay, states = ctx.saved_tensors
        (grad,) = grads
        dim, reverse, steps = ctx.dim, ctx.reverse, grads[0].shape[ctx.dim] - 1
        # Slot t of the backward scan needs the decay of the step after t; the last one has none.
        edge = torch.zeros_like(decay.narrow(dim, 0, 1))
        if reverse:
            following = torch.cat([edge, decay.narrow(dim, 0, steps)], dim)
            previous = torch.cat([states.narrow(dim, 1, steps), edge], dim)
        else:
            following = torch.cat([decay.narrow(dim, 1, steps), edge], dim)
            previous = torch.cat([edge, states.narrow(dim, 0, steps)], dim)
        update_grad = _ParallelScan.apply(following, grad.contiguous(), dim, not reverse)
        return update_grad * previous, update_grad, None, None

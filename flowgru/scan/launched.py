"""The Triton scan and its gradient as two operations of PyTorch, which a compiled graph keeps whole: each is one launch.

Neither has a gradient of its own: AnalyticScan differentiates them.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor


def gpu_kernels() -> ModuleType | None:
    """triton_kernels.py, or None where triton is not installed."""
    try:
        from flowgru.scan import triton_kernels
    except ImportError:
        return None
    return triton_kernels


@torch.library.custom_op("flowgru::scan", mutates_args=())
def launched_scan(decay: Tensor, update: Tensor, dims: Sequence[int], reverse: Sequence[bool]) -> Tensor:
    """The states of h[t] = decay[t] * h[t-1] + update[t], h[-1] = 0, of each group of channels along its axis of `dims`.

    Where `reverse` says so, from the last index to the first.
    """
    states = torch.empty_like(update)
    _kernels().scan(decay, update, states, tuple(zip(dims, reverse, strict=True)))
    return states


@launched_scan.register_fake
def _(decay: Tensor, update: Tensor, dims: Sequence[int], reverse: Sequence[bool]) -> Tensor:
    return torch.empty_like(update)


@torch.library.custom_op("flowgru::scan_gradient", mutates_args=())
def launched_gradient(
    decay: Tensor, states: Tensor, grad: Tensor, dims: Sequence[int], reverse: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """The gradients of launched_scan by decay and by update, from its states and their gradient."""
    decay_grad, update_grad = torch.empty_like(decay), torch.empty_like(states)
    _kernels().gradient(decay, states, grad, decay_grad, update_grad, tuple(zip(dims, reverse, strict=True)))
    return decay_grad, update_grad


@launched_gradient.register_fake
def _(
    decay: Tensor, states: Tensor, grad: Tensor, dims: Sequence[int], reverse: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(decay), torch.empty_like(states)


def _kernels() -> ModuleType:
    kernels = gpu_kernels()
    assert kernels is not None
    return kernels

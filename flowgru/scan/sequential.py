"""The truth: the recurrence as a plain loop. Slow, obvious, and what every faster form is measured against."""

import torch
from torch import Tensor


def sequential_scan(decay: Tensor, update: Tensor, dim: int) -> Tensor:
    """h[t] = decay[t] * h[t-1] + update[t] with h[-1] = 0, along `dim`. Its gradient is PyTorch's own."""
    state = torch.zeros_like(update.select(dim, 0))
    states = []
    for decay_now, update_now in zip(decay.unbind(dim), update.unbind(dim), strict=True):
        state = decay_now * state + update_now
        states.append(state)
    return torch.stack(states, dim)

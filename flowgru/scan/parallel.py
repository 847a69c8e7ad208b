"""The recurrence in logarithmic depth: odd-even reduction (Blelloch, 1990, "Prefix sums and their applications").

Two neighbouring steps compose to one step of twice the length, (a2, b2) after (a1, b1) = (a2 a1, a2 b1 + b2): half the
sequence is solved by recursion, the other half follows from it in one step. Work is linear, depth 2 log2(length). All
reads and writes are strided views of the one axis that is scanned, so no axis is ever moved. Nothing is divided and no
logarithm is taken: gates of exactly 0 and 1 are ordinary values.
"""

from itertools import pairwise

import torch
from torch import Tensor

SHORT = 4
"""Steps below which a loop is faster than a further level of the recursion."""


def parallel_scan(decay: Tensor, update: Tensor, dim: int, reverse: bool) -> Tensor:
    """h[t] = decay[t] * h[t-1] + update[t] with h[-1] = 0, along `dim`, from the last index down with `reverse`.

    Not differentiable by itself: linear_scan is.
    """
    states = torch.empty_like(update)
    _solve(decay, update, states, dim, reverse)
    return states


def _solve(decay: Tensor, update: Tensor, states: Tensor, dim: int, reverse: bool) -> None:
    length = update.shape[dim]
    if length <= SHORT:
        order = range(length - 1, -1, -1) if reverse else range(length)
        states.select(dim, order[0]).copy_(update.select(dim, order[0]))
        for before, t in pairwise(order):
            torch.addcmul(
                update.select(dim, t), decay.select(dim, t), states.select(dim, before), out=states.select(dim, t)
            )
        return
    # Even and odd count from the end where the scan starts; the arrays themselves keep their order.
    even = _every_second(dim, (length - 1) % 2 if reverse else 0)
    odd = _every_second(dim, length % 2 if reverse else 1)
    half, rest = length // 2, (length - 1) // 2
    even_of_pair = (rest + 1 - half if reverse else 0, half)
    decay_even, update_even, decay_odd = decay[even], update[even], decay[odd]
    odd_states = torch.empty_like(decay_odd)
    _solve(
        decay_odd * decay_even.narrow(dim, *even_of_pair),
        torch.addcmul(update[odd], decay_odd, update_even.narrow(dim, *even_of_pair)),
        odd_states,
        dim,
        reverse,
    )
    states[odd].copy_(odd_states)
    even_states = states[even]
    first, after_first = (rest, 0) if reverse else (0, 1)
    even_states.select(dim, first).copy_(update_even.select(dim, first))
    torch.addcmul(
        update_even.narrow(dim, after_first, rest),
        decay_even.narrow(dim, after_first, rest),
        odd_states.narrow(dim, half - rest if reverse else 0, rest),
        out=even_states.narrow(dim, after_first, rest),
    )


def _every_second(dim: int, start: int) -> tuple[slice, ...]:
    return (slice(None),) * dim + (slice(start, None, 2),)

"""The recurrence in pure PyTorch: one loop in place, and three scans of logarithmic depth.

All forms share one signature. `links` has one step less than `update`: links[i] joins the steps i and i + 1, whichever of
them comes first. All reads and writes are strided views of the one axis that is scanned, so no axis is moved and the same
links serve the scan and its gradient, which runs the other way. Nothing is divided and no logarithm is taken: gates of
exactly 0 and 1 are ordinary values. None is differentiable by itself; analytic.py makes them so.
"""

from itertools import pairwise

import torch
from torch import Tensor

try:
    from torch._higher_order_ops.associative_scan import associative_scan
except ImportError:  # a prototype of PyTorch, which may move
    associative_scan = None

MAX_UNROLLED_LENGTH = 8
"""Steps below which a loop is faster than a further level of the recursion."""


def write_product(factor: Tensor, other: Tensor, plus: Tensor | None, target: Tensor) -> None:
    """factor * other + plus into `target`, a view of any strides, which PyTorch's compiler takes only as a copy."""
    if torch.compiler.is_compiling():
        target.copy_(factor * other if plus is None else torch.addcmul(plus, factor, other))
    elif plus is None:
        torch.mul(factor, other, out=target)
    else:
        torch.addcmul(plus, factor, other, out=target)


def in_place_scan(links: Tensor, update: Tensor, states: Tensor, dim: int, reverse: bool) -> None:
    """One fused multiply-add a step: linear work, linear depth, each value read once and written once."""
    links_of, updates, states_of = links.unbind(dim), update.unbind(dim), states.unbind(dim)
    order = range(len(updates) - 1, -1, -1) if reverse else range(len(updates))
    states_of[order[0]].copy_(updates[order[0]])
    for before, t in pairwise(order):
        write_product(links_of[min(before, t)], states_of[before], updates[t], states_of[t])


def hillis_steele_scan(links: Tensor, update: Tensor, states: Tensor, dim: int, reverse: bool) -> None:
    """Doubling (Hillis and Steele, 1986, "Data parallel algorithms"): work length log2(length), depth log2(length)."""
    length, reach, current = update.shape[dim], 1, update
    while reach < length:
        # current covers `reach` steps, links joins every step with the one `reach` before it.
        rest = length - reach
        later, earlier = (0, reach) if reverse else (reach, 0)
        following = current.clone()
        following.narrow(dim, later, rest).addcmul_(links, current.narrow(dim, earlier, rest))
        if rest > reach:
            links = links.narrow(dim, 0, rest - reach) * links.narrow(dim, reach, rest - reach)
        current, reach = following, 2 * reach
    states.copy_(current)


def blelloch_scan(links: Tensor, update: Tensor, states: Tensor, dim: int, reverse: bool) -> None:
    """Odd-even reduction (Blelloch, 1990, "Prefix sums and their applications"): linear work, depth 2 log2(length).

    Up-sweep: two neighbouring steps become one, (a2, b2) after (a1, b1) = (a2 a1, a2 b1 + b2), and the half as long
    sequence is solved. Down-sweep: its states are those of the odd steps, the even ones follow from them in one step.
    """
    length = update.shape[dim]
    if length <= MAX_UNROLLED_LENGTH:
        return in_place_scan(links, update, states, dim, reverse)

    def every_second(values: Tensor, start: int, count: int) -> Tensor:
        """start counts from where the scan starts; the arrays themselves keep their order."""
        first = values.shape[dim] + 1 - start - 2 * count if reverse else start
        return values[(slice(None),) * dim + (slice(first, first + 2 * count - 1, 2),)]

    half, rest = length // 2, (length - 1) // 2
    odd_states = torch.addcmul(
        every_second(update, 1, half), every_second(links, 0, half), every_second(update, 0, half)
    )
    pair_links = every_second(links, 1, half - 1) * every_second(links, 2, half - 1)
    blelloch_scan(pair_links, odd_states, odd_states, dim, reverse)  # each value is read before it is overwritten
    every_second(states, 1, half).copy_(odd_states)
    every_second(states, 0, 1).copy_(every_second(update, 0, 1))
    before = odd_states.narrow(dim, half - rest if reverse else 0, rest)
    write_product(every_second(links, 1, rest), before, every_second(update, 2, rest), every_second(states, 2, rest))


def torch_associative_scan(links: Tensor, update: Tensor, states: Tensor, dim: int, reverse: bool) -> None:
    """PyTorch's own associative scan, with the composition of two steps as its operation."""
    assert associative_scan is not None
    if not update.numel():  # which it cannot scan
        return
    edge = torch.zeros_like(update.narrow(dim, 0, 1))
    decay = torch.cat([links, edge] if reverse else [edge, links], dim)

    def compose(early: tuple[Tensor, Tensor], late: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return early[0] * late[0], torch.addcmul(late[1], late[0], early[1])

    states.copy_(associative_scan(compose, (decay, update), dim, reverse=reverse, combine_mode="generic")[1])

"""The recurrence as a fixed number of doublings: the form for exported graphs, in which the length is not known yet.

Hillis and Steele's scan (1986) without a loop over steps and without views: after round k each step covers 2^k steps, and
a step that would reach before the first one finds zeros there. Rounds beyond the length find zeros only, so the states are
those of any number of rounds that suffices.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor

_longest = 0


@contextmanager
def scans_of_up_to(longest: int) -> Iterator[None]:
    """Inside it, fixed_depth makes as many rounds as a sequence of `longest` steps needs, for that or any shorter one."""
    global _longest
    before, _longest = _longest, longest
    try:
        yield
    finally:
        _longest = before


def fixed_depth_scan(decay: Tensor, update: Tensor, dim: int) -> Tensor:
    """h[t] = decay[t] * h[t-1] + update[t] with h[-1] = 0, along `dim`. Its gradient is PyTorch's own.

    As many rounds as the length needs, or inside scans_of_up_to, as the longest would.
    """
    length, reach = update.shape[dim], 1

    def earlier(values: Tensor) -> Tensor:
        """The values `reach` steps before each step, zero before the first."""
        padding = (0, 0) * (values.dim() - 1 - dim) + (reach, 0)
        return F.pad(values, padding).narrow(dim, 0, length)

    while reach < (_longest or length):
        update = update + decay * earlier(update)
        if 2 * reach < (_longest or length):
            decay = decay * earlier(decay)
        reach *= 2
    return update

"""The memory of the last pyramid of correlations, kept for the next one: a video takes it once.

The operating system clears what it gives, which lasts about half as long as to compute what goes into it.
"""

import math
import threading
import weakref
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MOST_TOO_LARGE = 20
"""How many times as much memory may be kept as the next pyramid needs. Where flow is refined at half the size first, its
pyramid, which needs a sixteenth, takes turns with that of the whole picture, and each would make the other one's go."""


class _Level(NamedTuple):
    array: np.ndarray
    view: weakref.ref[np.ndarray]
    """Lives as long as a tensor on the array does."""

    @property
    def idle(self) -> bool:
        return self.view() is None


class _Kept(threading.local):
    """One thread's, by level."""

    def __init__(self) -> None:
        self.levels: dict[int, _Level] = {}


_kept = _Kept()


def take(level: int, *shape: int) -> Tensor:
    """Memory for a level, in float32 on the CPU: what is kept, if it fits and no tensor uses it any more, else new memory.

    New memory is NumPy's, in huge pages: in pages of 4 KiB, which is how PyTorch takes it, that lasts twice as long.
    """
    found = _kept.levels.get(level)
    if found is not None and not found.idle:
        return torch.from_numpy(np.empty(shape, np.float32))
    size = math.prod(shape)
    if found is None or not size <= found.array.size <= MOST_TOO_LARGE * size:
        found = None
        release()  # before anything new is taken
        array = np.empty(size, np.float32)
    else:
        array = found.array
    view = array[:size].reshape(shape)
    _kept.levels[level] = _Level(array, weakref.ref(view))
    return torch.from_numpy(view)


def idle_bytes() -> int:
    """What this thread keeps and no tensor uses."""
    return sum(level.array.nbytes for level in _kept.levels.values() if level.idle)


def release() -> None:
    """Gives back what this thread keeps and no tensor uses."""
    _kept.levels = {index: level for index, level in _kept.levels.items() if not level.idle}

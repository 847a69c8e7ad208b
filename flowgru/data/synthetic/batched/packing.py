"""Many small tensors as few large ones: each tensor that a process hands over costs a descriptor, and a GPU a copy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

DTYPES = (torch.float32, torch.int64, torch.bool)


class Slot(NamedTuple):
    """Where a tensor lies among those of its type."""

    dtype: int
    begin: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Tuples as they were, with a Slot in place of each tensor. It is no tuple itself: torch looks for tensors in those."""

    values: Any


class Packed(NamedTuple):
    """The tensors of nested named tuples and tuples, end to end by their types, and how they lie."""

    numbers: Float32[Tensor, "_"]
    indices: Int64[Tensor, "_"]
    flags: Bool[Tensor, "_"]
    layout: Layout

    @classmethod
    def of(cls, values: Any) -> "Packed":
        """Of values with tensors of DTYPES on the CPU."""
        tensors: list[list[Tensor]] = [[] for _ in DTYPES]
        lengths = [0 for _ in DTYPES]

        def laid(value: Tensor) -> Slot:
            dtype = DTYPES.index(value.dtype)
            slot = Slot(dtype, lengths[dtype], tuple(value.shape))
            tensors[dtype].append(value.flatten())
            lengths[dtype] += value.numel()
            return slot

        layout = Layout(_replaced(values, Tensor, laid))
        numbers, indices, flags = (
            torch.cat([torch.empty(0, dtype=dtype), *some]) for dtype, some in zip(DTYPES, tensors, strict=True)
        )
        return cls(numbers, indices, flags, layout)

    def on_device(self, device: torch.device) -> Any:
        """The values with their tensors on a device, in three copies; from pinned memory nothing is waited for."""
        flat = [each.to(device, non_blocking=True) for each in (self.numbers, self.indices, self.flags)]

        def taken(slot: Slot) -> Tensor:
            return flat[slot.dtype].narrow(0, slot.begin, math.prod(slot.shape)).view(slot.shape)

        return _replaced(self.layout.values, Slot, taken)


def _replaced(values: Any, kind: type, replacement: Callable[[Any], Any]) -> Any:
    """The same nested tuples with everything of a kind replaced."""
    if isinstance(values, kind):
        return replacement(values)
    if not isinstance(values, tuple):
        return values
    replaced = [_replaced(each, kind, replacement) for each in values]
    return type(values)(*replaced) if hasattr(values, "_fields") else tuple(replaced)

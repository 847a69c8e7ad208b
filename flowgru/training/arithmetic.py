"""How a run computes: the same on every run where that can be had, else fast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowgru.model.cuda_convolutions import convolutions


@contextmanager
def arithmetic(device: torch.device) -> Iterator[None]:
    """On a CPU the same operations in the same order on every run, elsewhere the fastest ones.

    On CUDA the look-up's gradients are added in any order, so nothing else need pay for a fixed one.
    """
    if device.type != "cpu":
        with convolutions(tuned=True):  # all crops of a run have one size
            yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = memory  # pyright: ignore[reportAttributeAccessIssue]

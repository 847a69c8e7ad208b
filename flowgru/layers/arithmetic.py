"""How PyTorch computes: the same on every run, or fast; a GPU's convolutions in which precision and by which algorithm."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


@contextmanager
def convolutions(*, tf32: bool | None = None, tuned: bool | None = None) -> Iterator[None]:
    """Lets cuDNN convolve otherwise for a while; None leaves a setting as it is. Elsewhere nothing changes.

    tf32: round the factors of float32 products to 10 bits, which is PyTorch's default and much faster; False: compute in
    float32.
    tuned: try all algorithms for each new shape and keep the fastest. It pays where few shapes come often.
    """
    before = cudnn.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = before[0] if tf32 is None else tf32
    cudnn.benchmark = before[1] if tuned is None else tuned
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark = before


@contextmanager
def arithmetic(device: torch.device) -> Iterator[None]:
    """Lets a CPU do the same operations in the same order on every run, and other devices the fastest ones.

    On CUDA the fastest convolutions add their gradients in any order, so nothing else need pay for a fixed one.
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

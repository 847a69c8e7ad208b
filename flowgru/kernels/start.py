"""How Triton's kernels are started, each of them."""

from typing import Any

import torch
from torch import Tensor


def start_kernel(
    kernel: Any, grid: tuple[int, ...], tensors: tuple[Tensor, ...], *sizes: Any, **constants: Any
) -> None:
    """Starts a Triton kernel on its tensors' device, which need not be the current one.

    A product and a sum are rounded once, as Triton did by default up to 3.9; from 3.10 on it does so where it is asked to.
    """
    with torch.cuda.device_of(tensors[0]):
        kernel[grid](*tensors, *sizes, **constants, enable_fp_fusion=True)

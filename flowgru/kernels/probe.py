"""The smallest Triton kernel."""

from typing import no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import triton
import triton.language as tl

from flowgru.kernels.start import start_kernel


@triton.jit
@no_type_check
def _add_one(values):
    tl.store(values, tl.load(values) + 1)


def run_probe(device: torch.device) -> None:
    """Runs it on the device. Raises what Triton, the compiler or the driver raises, RuntimeError for a wrong result."""
    values = torch.zeros(1, device=device)
    start_kernel(_add_one, (1,), (values,))
    if values.item() != 1:
        raise RuntimeError("a kernel gave a wrong result")

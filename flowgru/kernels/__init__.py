"""Whether Triton's kernels can run on a GPU; where they cannot, PyTorch's own operations compute the same."""

import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch

from flowgru.errors import first_line


def takes_triton(device: torch.device) -> bool:
    """Whether what is on the device is computed by Triton's kernels, where there is one."""
    return device.type == "cuda" and why_not_triton(device) is None


def why_not_triton(device: torch.device) -> str | None:
    """Why Triton's kernels cannot run on the GPU, or None where they can: a small one has run there.

    PyTorch brings Triton along, but not the C compiler and Python's headers by which Triton starts a kernel, and Triton
    does not know old GPUs. A warning says so, once.
    """
    return _tried(device)


# A graph that is traced cannot run it: torch.compiler.assume_constant_result, which would import the whole compiler now.
cast(Any, why_not_triton)._dynamo_marked_constant = True


@cache
def _tried(device: torch.device) -> str | None:
    if find_spec("triton") is None:
        return "triton is not installed"
    try:
        from flowgru.kernels.probe import run_probe

        run_probe(device)
    except Exception as error:  # whatever the compiler, the driver or the folder of compiled kernels refuses
        reason = first_line(error)
        warnings.warn(
            f"Triton's kernels cannot run on {device} ({reason}): PyTorch's own operations compute the same, in more time. "
            "Triton needs a C compiler, Python's headers and a folder to write into (TRITON_CACHE_DIR)",
            stacklevel=3,
        )
        return reason
    return None

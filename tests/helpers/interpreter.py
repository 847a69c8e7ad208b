"""Triton's interpreter, which runs kernels on a CPU, and where it does not work."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest
import torch
from paths import ROOT


def _release(package: str) -> tuple[int, int]:
    major, minor = version(package).split(".")[:2]
    return int(major), int(minor)


def why_not_interpreted() -> str | None:
    """Why Triton's interpreter cannot run a kernel here, or None where it can."""
    try:
        if _release("triton") < (3, 7) and _release("numpy") >= (2, 5):
            return f"the interpreter of Triton {version('triton')} does not work with NumPy {version('numpy')}"
    except PackageNotFoundError:
        return "triton is not installed"
    return None


needs_interpreter = pytest.mark.skipif(why_not_interpreted() is not None, reason=str(why_not_interpreted()))

runs_kernels = pytest.mark.skipif(
    find_spec("triton") is None or (not torch.cuda.is_available() and why_not_interpreted() is not None),
    reason=str(why_not_interpreted()),
)
"""A GPU runs them too, without the interpreter."""


def require_equal(script: str) -> None:
    """Runs a script that compares a kernel with plain PyTorch, and prints `equal`, on a GPU or in the interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"} | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0 and run.stdout.split() == ["equal"], run.stderr[-2000:]

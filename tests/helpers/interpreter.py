"""Triton's interpreter, which runs kernels on a CPU, and where it does not work."""

from importlib.metadata import PackageNotFoundError, version

import pytest


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

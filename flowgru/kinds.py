"""What people give the functions of `import flowgru`: flows as arrays or tensors, the channels first or last, and paths.

Each becomes one kind, or a RequestError of one line. Pictures, whose kinds are more, are in flowgru.data.formats.
"""

import math
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from flowgru.errors import RequestError, one_line

UNKNOWN_ABOVE = 1e9
"""A component of a flow beyond this, or not a number, marks an unknown pixel (Middlebury's rule)."""

FIRST, LAST = "first", "last"
"""Where the channels of a flow or a picture are: before its rows and columns, or after them."""


class Form(NamedTuple):
    """How a flow or a picture was given, so that what is made of it can be given back alike."""

    is_array: bool
    """A NumPy array; else a tensor."""
    channels: str
    """FIRST or LAST."""
    batched: bool


def flow_tensor(
    flow: object, name: str = "flow", size: tuple[int, ...] | None = None
) -> tuple[Float32[Tensor, "B 2 H W"], Form]:
    """A flow, or a batch of them, as a tensor on the device it is on, and how it was given. It keeps its gradient.

    flow: an array or tensor [2, H, W], [H, W, 2], [B, 2, H, W] or [B, H, W, 2] of floating-point or signed numbers, in
    pixels. Where two of these fit, an array is taken as [H, W, 2] and a tensor as [2, H, W], with a warning.
    name: what an error and the warning call it. size: (height, width) that it must have.
    """
    sides = "H, W" if size is None else f"{size[0]}, {size[1]}"
    expected = f"[2, {sides}] or [{sides}, 2], floating-point or signed numbers"
    values, is_array = numbers_of(flow, name, f"an array or tensor {expected}")
    sound = values.is_floating_point() or values.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    fits = []
    if sound and values.dim() in (3, 4) and values.numel():
        fits = [
            where
            for where, axis, found in ((FIRST, -3, values.shape[-2:]), (LAST, -1, values.shape[-3:-1]))
            if values.shape[axis] == 2 and (size is None or tuple(found) == tuple(size))
        ]
    if not fits:
        raise RequestError(f"{name} is {described(flow)}: expected {expected}, not empty")
    channels = fits[0] if len(fits) == 1 else usual_channels(flow, name, is_array=is_array)
    batched = values.dim() == 4
    values = values if batched else values[None]
    values = values if channels == FIRST else values.permute(0, 3, 1, 2)
    # Contiguous, so that what is computed of it is the same to the bit in whichever form it came.
    return values.float().contiguous(), Form(is_array, channels, batched)


def usual_channels(value: object, name: str, *, is_array: bool) -> str:
    """Where the channels usually are in an array or a tensor; a warning says what was taken for what it may be."""
    channels, form = (LAST, "[H, W, channels]") if is_array else (FIRST, "[channels, H, W]")
    text = f"{name} is {described(value)}, whose channels may be first or last: it is taken as {form}"
    warnings.warn(text, stacklevel=4)
    return channels


def given_back(values: Tensor, form: Form) -> Any:
    """A result [B, C, H, W] or [B, H, W] in the form in which its input was given."""
    if values.dim() == 4 and form.channels == LAST:
        values = values.permute(0, 2, 3, 1)
    values = values if form.batched else values[0]
    return np.ascontiguousarray(values.numpy(force=True)) if form.is_array else values


def numbers_of(value: object, name: str, expected: str) -> tuple[Tensor, bool]:
    """An array or tensor as a tensor, and whether it was an array; masked values of an array become NaN.

    RequestError where it is neither, or not of numbers that can be read.
    """
    if isinstance(value, np.ndarray):
        return _tensor_of(value, name, expected), True
    if not isinstance(value, Tensor):
        hint = ", such as its .flow" if hasattr(value, "flow") else ""
        raise RequestError(f"{name} is a {type(value).__name__}: expected {expected}{hint}")
    if value.is_nested or value.layout != torch.strided or value.is_complex() or value.is_quantized or value.is_meta:
        raise RequestError(f"{name} is a tensor that is not dense, real and on a device: expected {expected}")
    return value, False


def _tensor_of(array: np.ndarray, name: str, expected: str) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise RequestError(f"{name} is {described(array)}: expected {expected} of numbers")
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(np.float64), np.nan)
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # torch takes neither another byte order nor negative strides, and what is read-only with a warning only.
    plain = np.require(np.asarray(array, array.dtype.newbyteorder("=")), requirements=["C", "W"])
    return torch.from_numpy(plain)


def described(value: object) -> str:
    """An array or tensor in an error text: its kind, its type of numbers and its shape."""
    kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
    return f"{kind} {str(getattr(value, 'dtype', '')).removeprefix('torch.')} {list(getattr(value, 'shape', ()))}"


def positive_number(name: str, value: object, unit: str = ", in pixels") -> float:
    """A finite number above 0. RequestError for anything else."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if isinstance(value, str | bytes) or not 0 < number < math.inf:
        raise RequestError(f"{name} is {_shown(value)}: expected a finite number above 0{unit}")
    return number


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number of at least `least`, and of at most `most` if there is one. RequestError for anything else."""
    try:
        number = value.__index__()  # pyright: ignore[reportAttributeAccessIssue]
    except (AttributeError, TypeError, RuntimeError, ValueError):
        number = None
    if number is None or number < least or (most is not None and number > most):
        expected = f"{least} or more" if most is None else f"from {least} to {most}"
        raise RequestError(f"{name} is {_shown(value)}: expected a whole number, {expected}")
    return number


def given_path(path: object, name: str = "the path") -> Path:
    """A path of the file system. RequestError for what is neither a text nor a path."""
    if not isinstance(path, str | os.PathLike):
        raise RequestError(f"{name} is a {type(path).__name__}: expected a text or a pathlib.Path")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise RequestError(f"{name} is {text!r}: expected the name of a file")
    return Path(text)


def _shown(value: object) -> str:
    try:
        return " ".join(repr(value).split())[:80]
    except Exception as error:  # a foreign object may fail to say what it is
        return f"a {type(value).__name__} ({one_line(error)})"

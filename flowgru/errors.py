"""The three ways a user's run can fail, each with its exit code.

An error text is one line: what was got, what was expected, how to fix it. The command line prints `error: <text>` and
exits with the class's code; a traceback is shown only with --debug.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class FlowgruError(Exception):
    """Base of every error a user can cause or meet; anything else that escapes is a bug (exit code 1)."""

    exit_code = 1


class RequestError(FlowgruError, ValueError):
    """The request, a setting or a checkpoint does not make sense."""

    exit_code = 2


class InputFileError(FlowgruError, ValueError):
    """An input file is missing, damaged or of a kind that cannot be read."""

    exit_code = 3


class MachineError(FlowgruError, RuntimeError):
    """The machine refuses: disk, permission, memory or device."""

    exit_code = 4


NO_MEMORY = (
    "allocate memory",  # PyTorch on a CPU, ONNX Runtime, the operating system
    "failed to allocate",  # OpenCV, OpenVINO
    "unable to mmap",  # PyTorch, where processes share memory
    "unable to instantiate pytypeobject",  # PyTorch, while it is imported
    "failed to map segment",  # the system's loader, of a package that is imported
    "could not allocate",
    "is smaller than requested bytes",  # ONNX Runtime's arena
    "bad_alloc",  # C++
    "out of memory",  # CUDA
    "alloc_failed",  # cuBLAS, cuDNN
    "allocation_failed",  # cuDNN
)
"""Words by which libraries say that memory could not be had, where no class of an error says it; in small letters."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had; often its words alone tell it from any other.

    Those of this project never do: whoever raises them has answered the lack already.
    """
    if isinstance(error, FlowgruError):
        return False
    if {"MemoryError", "OutOfMemoryError"} & {kind.__name__ for kind in type(error).__mro__}:  # torch's, without torch
        return True
    text = str(error).lower()
    return any(words in text for words in NO_MEMORY)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like `name`, in whatever case; None where none is like it."""
    spelled = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), spelled, n=1)
    return spelled[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the nearest known name and a space after it, to stand before `known are ...`; empty without one.

    Where no name is spelled alike, it is one that holds the given one: horizontal_flip for flip.
    """
    known, part = [*known], name.rpartition(".")[2].lower()
    near = nearest(name, known)
    if near is None and len(part) > 2:
        near = next((other for other in known if part in other.lower()), None)
    return "" if near is None else f"did you mean {near!r}? "


def counted(number: int, noun: str) -> str:
    """A number of things in words: 1 flow, 2 flows."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def value_text(value: Any) -> str:
    """A value of a setting as a user writes it, not as Python does: true, `a, b`, `name: value`."""
    if value is None:
        return "not given"
    if not value and isinstance(value, Mapping | list | tuple):
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {value_text(inner)}" for name, inner in value.items())
    return ", ".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)


def stored_text(value: Any) -> str:
    """A value out of a file of ours as it stands there, in JSON: "6" is not taken for 6, nor ["dis"] for "dis"."""
    return json.dumps(value, ensure_ascii=False, default=str)


def sides(size: Sequence[int]) -> str:
    """(height, width, ...) as HEIGHTxWIDTH, which is the order of options: 480x640."""
    return f"{size[0]}x{size[1]}"


def size_text(size: Sequence[int]) -> str:
    """The same with its unit and what stands for what, as every line says it once: 480x640 px (height x width)."""
    return f"{sides(size)} px (height x width)"


def one_line(error: BaseException, limit: int = 200) -> str:
    """The text of another library's error without line breaks, cut to `limit` characters; its kind where it has none."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error, where it says all that a user can act on, as with CUDA and compilers; see one_line."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split())[:limit] if lines else type(error).__name__

"""How a setting refuses a value."""

import math
import re
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from flowgru.errors import RequestError, value_text

MAX_SEED = 2**31 - 1
"""Seeds are multiplied and added to others; up to here every generator of random numbers takes what becomes of them."""
MAX_REFINEMENTS = 10_000
"""Hundreds of times as many as networks are trained with."""
MAX_MINUTES = 10 * 366 * 24 * 60
"""Ten years."""
MAX_PROCESSES = 1024
"""Of one run, and threads of one process."""


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """RequestError that names the setting, its value and what was expected, unless it holds."""
    if not holds:
        raise RequestError(f"{name} is {value_text(value)}: it must be {expected}")


def require_choices(settings: object, prefix: str = "") -> None:
    """RequestError unless every setting that is a choice among words or numbers, or several such, has values it may have.

    `settings` is an instance of a class whose annotations name the choices as Literal; `prefix` stands before the names of
    its settings, such as "optimizer."; "--" says that they are options of a command.
    """
    for name, choices in choices_of(type(settings)).items():
        value = getattr(settings, name)
        for each in value if isinstance(value, tuple | list) else (value,):
            expected = "one of " + ", ".join(value_text(choice) for choice in choices)
            require(each in choices, prefix + (name.replace("_", "-") if prefix == "--" else name), each, expected)


@cache
def choices_of(kind: type) -> dict[str, tuple[Any, ...]]:
    """What each setting of a class may be, of those that are choices."""
    found = {name: _literals(hint) for name, hint in get_type_hints(kind).items()}
    return {name: values for name, values in found.items() if values}


def _literals(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one that may be None or stands in a tuple; empty for another type."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = [part for part in get_args(hint) if part not in (type(None), ...)]
    if len(parts) != 1 or not (values := _literals(parts[0])):
        return ()
    return (*values, None) if type(None) in get_args(hint) else values


def require_once(name: str, values: Sequence[object], expected: str) -> None:
    """RequestError unless there is one value or more, and none is there twice."""
    require(0 < len({*values}) == len(values), name, values, f"{expected}, each once")


def is_ascending(numbers: Sequence[int]) -> bool:
    """Whether there is one number or more, the first is above 0, and each above the one before."""
    return bool(numbers) and all(a < b for a, b in pairwise((0, *numbers)))


def height_and_width(text: str) -> tuple[int, int] | None:
    """The two numbers of HEIGHTxWIDTH, in pixels; None where it is not written so."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    return None if found is None else (int(found[1]), int(found[2]))


def require_effect(holds: bool, name: str, where: str) -> None:
    """RequestError that says where a setting changes nothing, unless it holds that it changes something there."""
    if not holds:
        raise RequestError(f"{name} has no effect {where}; leave it out")


def require_effect_of(settings: Any, name: str, holds: bool, where: str) -> None:
    """require_effect for the option of a dataclass' setting; one that has its default, as if it were not given, may stay."""
    usual = next(each.default for each in fields(settings) if each.name == name)
    require_effect(holds or getattr(settings, name) == usual, f"--{name.replace('_', '-')}", where)


def require_seed(name: str, value: int) -> None:
    """RequestError unless a seed is one that every generator takes."""
    require(0 <= value <= MAX_SEED, name, value, f"a seed, from 0 to {MAX_SEED}")


def require_refinements(name: str, value: int, least: int = 1) -> None:
    """RequestError unless a number of refinements is in range."""
    require(value >= least, name, value, f"{least} or more")
    require(value <= MAX_REFINEMENTS, name, value, f"{MAX_REFINEMENTS} or less")


def require_device(name: str) -> None:
    """RequestError for a --device that can be none; whether this machine has it shows when it is used."""
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu|hpu|npu|mtia)(:\d{1,2})?", name):
        raise RequestError(f"--device is {name!r}: expected auto, cpu, cuda, cuda:0 or the like")


def require_precision(precision: str, device: str) -> None:
    """RequestError for a precision in which a device of that type cannot train."""
    if precision == "16" and device == "cpu":
        raise RequestError("precision is 16 and the device cpu: 16 needs a GPU, use bf16 or 32")


def require_minutes(name: str, value: float) -> None:
    """RequestError unless a time is one that a run can be given."""
    require(0 < value < math.inf, name, f"{value:g}", "above 0, and finite")
    require(value <= MAX_MINUTES, name, f"{value:g}", f"{MAX_MINUTES} or less")

"""What a command's help and its refusals say of its options, in words: their texts, values and usual values."""

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Collection, Iterator
from typing import Any

LIST = "LIST"
"""What stands for a list of mappings, which is written in a file and hardly on a command line."""


@functools.cache
def field_texts(settings: type) -> tuple[tuple[str, str], ...]:
    """The docstring under each field of a dataclass, and of those that it is made of; a class is read once."""
    return tuple(_field_texts(settings))


def _field_texts(settings: type) -> Iterator[tuple[str, str]]:
    for base in reversed(settings.__mro__[:-1]):  # the last one is object
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                yield field.target.id, inspect.cleandoc(ast.literal_eval(text.value))


def parameter_text(description: str, name: str) -> str:
    """What a docstring says of a parameter, in a paragraph or line `name: text`."""
    found = re.search(rf"^ *{name}: (.*(?:\n(?! *\w+: ).+)*)", description, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def task_text(description: str, parameters: Collection[str]) -> str:
    """What a docstring says of the task as a whole: all of its paragraphs but those of its parameters."""
    paragraphs = description.split("\n\n")
    return "\n\n".join(text for text in paragraphs if text.lstrip().partition(":")[0] not in parameters)


def default_text(value: Any) -> str:
    """The usual value of an option as one would write it; empty where there is none: then its text says what happens."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | dict):
        return ",".join(map(str, value)) or "none"
    return str(value)


def metavar(name: str, hint: Any) -> str:
    """What stands for the value of an option in a help: its choices, N for a whole number, else the option's name."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return metavar(name, next(part for part in parts if part is not type(None)))
    if origin is typing.Literal:
        return f"{{{','.join(map(str, parts))}}}"
    if origin is tuple and dataclasses.is_dataclass(parts[0]):
        return LIST
    if origin is tuple:
        entry = metavar(name.removesuffix("s"), parts[0])
        return f"{entry},..." if parts[-1] is Ellipsis else ",".join([entry] * len(parts))
    if origin is dict:
        return "{NAME: VALUE}"
    return {int: "N", float: "NUMBER"}.get(hint, name.rpartition(".")[2].upper().replace("_", "-"))


def type_text(hint: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_text(part) for part in parts if part is not type(None))
    if origin is dict:
        return "a mapping of names to values, such as {name: value}"
    if origin is tuple and parts[0] not in (int, float, str):
        return f"a list, each entry {type_text(parts[0])}"
    if origin is tuple:
        number = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"a list of {number}{type_text(parts[0]).removeprefix('a ')}s with commas between"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with {', '.join(field.name for field in dataclasses.fields(hint))}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a setting's type; one that is a choice may have any value."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis and isinstance(value, tuple) else parts
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(fits, value, kinds))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, origin or hint)

"""Reads a command's words into its task's parameters, with jsonargparse."""

import ast
import dataclasses
import difflib
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentError, ArgumentParser, Namespace

from flowgru.errors import RequestError


class TaskParser:
    """The arguments of one task, taken from its signature; texts come from its docstring and those of its settings."""

    def __init__(self, name: str, task: Callable[..., Any]) -> None:
        description = inspect.getdoc(task) or ""
        summary = description.split("\n\n")[0]
        self._parser = ArgumentParser(prog=name, description=summary, exit_on_error=False, allow_abbrev=False)
        self._types: dict[str, Any] = {}
        self._settings: dict[str, type] = {}
        hints = typing.get_type_hints(task)
        for parameter in inspect.signature(task).parameters.values():
            hint = hints[parameter.name]
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                self._settings[parameter.name] = hint
                self._parser.add_argument("--config", action=ActionConfigFile, help="A YAML file with these options.")
                self._add_fields(hint)
            else:
                text = _parameter_text(description, parameter.name)
                self._add(parameter.name, hint, parameter.default, text, word=hint == list[str])
        self._parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")

    def parse(self, words: list[str]) -> dict[str, Any]:
        """The task's parameters. RequestError, one line with a hint, where the words do not make sense."""
        try:
            found = self._parser.parse_args(words)
        except ArgumentError as error:
            raise RequestError(self._explain(str(error))) from None
        return {
            name: _build(self._settings[name], found) if name in self._settings else found[name]
            for name in [*self._settings, *self._words_and_options()]
        }

    def _words_and_options(self) -> list[str]:
        fields = {field.name for settings in self._settings.values() for field in dataclasses.fields(settings)}
        return [name for name in self._types if name.split(".")[0] not in fields]

    def _add_fields(self, settings: type, prefix: str = "") -> None:
        texts = dict(_field_texts(settings))
        hints = typing.get_type_hints(settings)
        for field in dataclasses.fields(settings):
            hint = hints[field.name]
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                self._add_fields(hint, f"{prefix}{field.name}.")
            else:
                default = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
                self._add(prefix + field.name, hint, default, texts.get(field.name, ""))

    def _add(self, name: str, hint: Any, default: Any, text: str, *, word: bool = False) -> None:
        self._types[name] = hint
        if word:
            self._parser.add_argument(name, nargs="+", type=str, metavar=name.upper().removesuffix("S"), help=text)
            return
        option = f"--{name.replace('_', '-')}"
        if hint is bool:
            self._parser.add_argument(option, action=ActionYesNo(no_prefix="no-"), default=default, help=text)
        elif default is inspect.Parameter.empty:
            self._parser.add_argument(option, type=hint, required=True, help=text)
        else:
            self._parser.add_argument(option, type=hint, default=default, help=text)

    def _explain(self, message: str) -> str:
        """jsonargparse's message as one line that names the option, what it got and what it takes."""
        value = re.search(r".*(?:Got|Given) value: (.*)\Z", message, re.DOTALL)
        if (key := re.match(r'Parser key "([^"]+)":', message)) and value and key[1] in self._types:
            option, expected = key[1].replace("_", "-"), _type_text(self._types[key[1]])
            return f"--{option} is {value[1].strip()!r}: expected {expected}"
        if missing := re.match(r"the following arguments are required: (.*)", message):
            names = [
                name.upper().removesuffix("S") if self._types.get(name) == list[str] else f"--{name.replace('_', '-')}"
                for name in missing[1].split(", ")
            ]
            return f"{' and '.join(names)} must be given; {self._parser.prog} --help lists the options"
        unknown = re.search(r"unrecognized arguments: (.*)|[Oo]ption '([^']+)' is not accepted", message)
        if not unknown:
            return " ".join(message.split())
        got = unknown[2] or next((word for word in unknown[1].split() if word.startswith("-")), unknown[1])
        spelled = got.split("=")[0].lstrip("-").replace("-", "_")
        near = difflib.get_close_matches(spelled, self._types, n=1)
        if not near:  # within one group only the last part differs
            near = [name for name in self._types if name.split(".")[-1] == spelled.split(".")[-1]][:1]
        hint = f"did you mean --{near[0].replace('_', '-')}?" if near else f"{self._parser.prog} --help lists them"
        return f"unknown argument {got}: {hint}"


def _build(settings: type, found: Namespace) -> Any:
    """A dataclass of settings, and those inside it, from what was parsed."""
    hints = typing.get_type_hints(settings)
    values = {}
    for field in dataclasses.fields(settings):
        value = found[field.name]
        values[field.name] = _build(hints[field.name], value) if dataclasses.is_dataclass(hints[field.name]) else value
    return settings(**values)


def _field_texts(settings: type) -> Iterator[tuple[str, str]]:
    """The docstring under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            yield field.target.id, inspect.cleandoc(ast.literal_eval(text.value)).replace("%", "%%")


def _parameter_text(description: str, name: str) -> str:
    """What a docstring says of a parameter, in a paragraph or line `name: text`."""
    found = re.search(rf"^ *{name}: (.*(?:\n(?! *\w+: ).+)*)", description, re.MULTILINE)
    return " ".join(found[1].split()).replace("%", "%%") if found else ""


def _type_text(hint: Any) -> str:
    """A type in words."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_text(part) for part in typing.get_args(hint) if part is not type(None))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))

"""Reads a command's words into its task's parameters, with jsonargparse."""

import dataclasses
import inspect
import itertools
import json
import os
import re
import typing
from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentError, Namespace

from flowgru.config import ComparisonConfig, TrainConfig
from flowgru.config.flatten import whole_numbers
from flowgru.config.renamed import NamesOfToday
from flowgru.config_file import ConfigFile
from flowgru.errors import RequestError, nearest, value_text
from flowgru.files.yaml_text import BASE_60
from flowgru.option_parser import EntryError, OptionParser
from flowgru.option_texts import LIST, metavar, parameter_text, task_text, type_text
from flowgru.option_words import SWITCH_WITH_NAME, with_files_first, with_switches_named

_NUMBERS = (int, int | None, float, float | None)
"""The types of settings that are one number."""

_LARGEST = 2**31 - 1
"""A whole number beyond has no meaning in any setting, and is more than some libraries hold."""


class TaskParser:
    """The arguments of one task, taken from its signature; texts come from its docstring and those of its settings."""

    def __init__(self, name: str, task: Callable[..., Any]) -> None:
        description = inspect.getdoc(task) or ""
        parameters = inspect.signature(task).parameters
        self._options = OptionParser(name, task_text(description, parameters))
        self._parser, self._types = self._options.parser, self._options.types
        self._settings: dict[str, type] = {}
        hints = typing.get_type_hints(task)
        for parameter in parameters.values():
            hint = hints[parameter.name]
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                self._settings[parameter.name] = hint
                text = "A YAML file with these options."
                self._config: Any = self._parser.add_argument("--config", action=ConfigFile, help=text)
                self._options.add_fields(hint)
            else:
                text = parameter_text(description, parameter.name)
                self._options.add(parameter.name, hint, parameter.default, text, word=hint == list[str])
        if self._settings:
            self._config.texts, self._config.lists = self._options.texts, self._options.lists
        self._parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")

    def parse(self, words: list[str], either: tuple[str, ...] = ()) -> dict[str, Any]:
        """The task's parameters; of the options `either`, the words may have one, and none where a file gives the last one.

        RequestError, one line with a hint, where the words do not make sense.
        """
        with NamesOfToday(self._parser.prog) as names:
            words = names.words(words, self._types)
        try:
            known = self._with_brackets(self._without_names(with_switches_named(words, self._types)))
            self._refuse_base_60(known)
            found = self._parser.parse_args(with_files_first(known))
        except ArgumentError as error:
            raise RequestError(self._explain(str(error), words)) from None
        except EntryError as error:
            raise RequestError(str(error)) from None
        except OverflowError:
            raise RequestError("a number has hundreds of digits: expected one that a computer can hold") from None
        self._refuse_empty_texts(found)
        self._refuse_missing_values(found)
        if found.debug and "--debug" not in words:
            raise RequestError(f"{self._config.file_of('debug')} gives debug, which only the command line has: --debug")
        found = _from_home(found)
        given = [name for name in either if any(word.partition("=")[0] == f"--{name}" for word in words)]
        if given and either[-1] not in given and found[either[-1]] is not None:
            given.append(either[-1])
        if len(given) > 1:
            raise RequestError(" and ".join(f"--{name} is {found[name]}" for name in given) + ": give one of them")
        return {
            name: _build(self._settings[name], found) if name in self._settings else found[name]
            for name in [*self._settings, *self._words_and_options()]
        }

    def _refuse_base_60(self, words: list[str]) -> None:
        """RequestError for 1:30 as a number, which YAML 1.1 reads as 90; what reads files refuses it there."""
        for before, word in itertools.pairwise(["", *words]):
            option, equals, value = word.partition("=")
            option, value = (option, value) if equals else (before, word)
            hint = self._types.get(option[2:].replace("-", "_")) if option.startswith("--") else None
            if hint in _NUMBERS and re.fullmatch(BASE_60, value.strip()):
                raise RequestError(f"{option} is {value!r}: expected {type_text(hint)}")

    def _refuse_empty_texts(self, found: Namespace) -> None:
        """RequestError for a text without a letter: as a path it would be the working directory."""
        for name, hint in self._types.items():
            value = found.get(name)
            texts = [text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)]
            if not all(text.strip() for text in texts):
                raise RequestError(f"{_shown(name, hint)} is empty: give a name or a path, or leave it out")
            if any("\0" in text for text in texts):
                raise RequestError(f"{_shown(name, hint)} holds a character of the number 0: no name or path has it")

    def _refuse_missing_values(self, found: Namespace) -> None:
        """RequestError where a configuration gives nothing, or one value, for what must be a value, or a group of them.

        The same for a whole number that no setting takes, wherever it stands.
        """
        for name, hint in self._types.items():
            for group in itertools.accumulate(name.split(".")[:-1], "{}.{}".format):
                if not isinstance(value := found.get(group), Namespace):
                    got = "null" if value is None else value
                    raise RequestError(
                        f"{_shown(group, None)} is {value_text(got)}: expected a mapping of its settings"
                    )
            if name in found and found[name] is None and type(None) not in typing.get_args(hint):
                raise RequestError(f"{_shown(name, hint)} is null: expected {type_text(hint)}")
            if beyond := next((number for number in whole_numbers(found.get(name)) if abs(number) > _LARGEST), None):
                raise RequestError(f"{_shown(name, hint)} is {str(beyond)[:20]}: expected at most {_LARGEST}")

    def _without_names(self, words: list[str]) -> list[str]:
        """The words, with `--data sintel` for what is a mere word: `sintel`."""
        names = {f"--{name}" for name, hint in self._types.items() if hint == list[str]}
        named = [(word.partition("=")[0] in names, word) for word in words]
        bare = [word.partition("=")[2] if is_named else word for is_named, word in named]
        return [word for (is_named, _), word in zip(named, bare, strict=True) if word or not is_named]

    def _with_brackets(self, words: list[str]) -> list[str]:
        """The words, with a list that is written 0,1,2 as [0,1,2], or as ["0","1","2"] where its entries are texts."""
        entries = {
            f"--{name.replace('_', '-')}": typing.get_args(hint)[0]
            for name, hint in self._types.items()
            if typing.get_origin(hint) is tuple and not dataclasses.is_dataclass(typing.get_args(hint)[0])
        }
        bracketed = []
        for before, word in zip(["", *words], words, strict=False):
            option, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
            entry_type = entries.get(option.replace("_", "-"))  # options are taken with underscores, too
            if entry_type is not None and value and value[0] not in "[(-":
                choices = typing.get_args(entry_type)
                texts = entry_type is str or (choices and all(isinstance(choice, str) for choice in choices))
                value = json.dumps([entry.strip() for entry in value.split(",")]) if texts else f"[{value}]"
                word = f"{option}={value}" if equals else value
            bracketed.append(word)
        return bracketed

    def _words_and_options(self) -> list[str]:
        fields = {field.name for settings in self._settings.values() for field in dataclasses.fields(settings)}
        return [name for name in self._types if name.split(".")[0] not in fields]

    def _explain_missing(self, missing: list[str]) -> str:
        """One line for what must be given; mappings in a list are written in a file, not on a command line."""
        names = [_shown(name, self._types.get(name)) for name in missing]
        fix = f"{self._parser.prog} --help lists the options"
        if any(metavar(name, self._types.get(name)) == LIST for name in missing):
            verb = self._parser.prog.split()[-1]
            example = f"configs/{verb}.yaml of a checkout is one, docs/{verb}.md explains it"
            fix = f"give them in a file, by --config FILE; {example}"
        return f"{' and '.join(names)} must be given; {fix}"

    def _explain(self, message: str, words: list[str]) -> str:
        """jsonargparse's message as one line that names the option, what it got and what it takes."""
        value = re.search(r".*(?:Got|Given) value: (.*)\Z", message, re.DOTALL)
        if (key := re.match(r'Parser key "([^"]+)":', message)) and value and key[1] in self._types:
            option, expected = key[1].replace("_", "-"), type_text(self._types[key[1]])
            got = _typed(words, f"--{option}", value[1].strip())
            return f"--{option} is {got!r}: expected {expected}"
        if missing := re.match(r"the following arguments are required: (.*)", message):
            return self._explain_missing(missing[1].split(", "))
        if valued := re.match(r"argument (--[^\s/]+)(?:/(--no-\S+))?: ignored explicit argument (.*)", message):
            either = f"{valued[1]} or {valued[2]}" if valued[2] else f"{valued[1]} alone"
            return f"{valued[1]} takes no value, and got {valued[3]}: give {either}"
        unknown = re.search(r"unrecognized arguments: (.*)|[Oo]ption '([^']+)' is not accepted", message)
        if not unknown:
            return " ".join(message.split())
        got = unknown[2] or next((word for word in unknown[1].split() if word.startswith("-")), unknown[1])
        switch = next((f"--{name}" for name, hint in self._types.items() if hint == SWITCH_WITH_NAME), "")
        if (switch, got) in itertools.pairwise(words):
            return f"{switch} is followed by {got}: expected no name, or one that ends in .gif or .webp"
        spelled = got.split("=")[0].lstrip("-").replace("-", "_")
        alike = [name for name in self._types if name.split(".")[-1] == spelled.split(".")[-1]]  # of another group
        near = nearest(spelled, self._types) or next(iter(alike), None)
        command = self._parser.prog
        hint = f"did you mean --{near.replace('_', '-')}?" if near else f"{command} --help lists the options"
        other = next(
            (verb for verb, fields in _files_of().items() if verb != command and got.split(".")[0] in fields), None
        )
        if unknown[2] and other is not None and command in _files_of():
            return f"{self._config.file_of(got)} gives {got}, which {command} does not know: it is a file for {other}"
        if unknown[2]:  # words of the command line are told of before files
            return f"{self._config.file_of(got)} gives {got}, which {command} does not know: {hint}"
        return f"unknown argument {got}: {hint}"


def _files_of() -> dict[str, set[str]]:
    """The settings of the commands whose files are taken for each other's, by command."""
    settings = {"flowgru train": TrainConfig, "flowgru compare": ComparisonConfig}
    return {command: {field.name for field in dataclasses.fields(kind)} for command, kind in settings.items()}


def _typed(words: list[str], option: str, value: str) -> str:
    """The value of an option as the user typed it, where that is on the command line; 1e3 is read as 1000.0."""
    for word, after in reversed([*zip(words, [*words[1:], ""], strict=True)]):
        name, equals, given = word.partition("=")
        if name == option and _is_number(typed := given if equals else after) and _is_number(value):
            return typed
    return value


def _from_home(value: Any) -> Any:
    """What was parsed, with the home folder for each ~ that a path begins with: a shell sees none in a file, or in a=~/b."""
    if isinstance(value, str):
        return re.sub(r"(^|,)~(?=/|$)", lambda found: found[1] + os.path.expanduser("~"), value)
    if isinstance(value, Namespace):
        return Namespace(**{name: _from_home(inner) for name, inner in vars(value).items()})
    if isinstance(value, dict):
        return {name: _from_home(inner) for name, inner in value.items()}
    return type(value)(map(_from_home, value)) if isinstance(value, list | tuple) else value


def _is_number(text: str) -> bool:
    try:
        return bool(text) and float(text) is not None
    except ValueError:
        return False


def _shown(name: str, hint: Any) -> str:
    """A parameter as a user writes it: a word that follows the command, or an option."""
    return name.upper().removesuffix("S") if hint == list[str] else f"--{name.replace('_', '-')}"


def _build(settings: type, found: Namespace | dict[str, Any]) -> Any:
    """A dataclass of settings, and those inside it, from what was parsed."""
    hints = typing.get_type_hints(settings)
    names = [field.name for field in dataclasses.fields(settings) if field.name in found]
    return settings(**{name: _value(hints[name], found[name]) for name in names})


def _value(hint: Any, value: Any) -> Any:
    """A setting from what was parsed: a mapping becomes the dataclass that it stands for, in a list, too."""
    if metavar("", hint) == LIST:
        return tuple(_build(typing.get_args(hint)[0], entry) for entry in value)
    if isinstance(value, Namespace | dict) and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    return value

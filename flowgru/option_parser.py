"""Options of settings for jsonargparse: one for each field of a dataclass, and lists of mappings, which are read here.

jsonargparse would take a word in such a list, such as this.thing, for a class, and import its module: what a user's file or
command line says must never run code, so that jsonargparse is never told of a list of dataclasses.
"""

import dataclasses
import inspect
import re
import typing
from typing import Any

from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser, DefaultHelpFormatter
from yaml import YAMLError

from flowgru.config_file import BOUNDED_YAML, numbers_as_texts, read_value
from flowgru.errors import did_you_mean, one_line, value_text
from flowgru.option_texts import LIST, default_text, field_texts, metavar, type_text

_PRINT_CONFIG = "Print all settings as they would be used, as a file for --config; =skip_default: only unusual ones."


class EntryError(Exception):
    """A list of mappings that makes no sense, in one line; no ValueError, whose text argparse would throw away."""


class _PlainHelp(DefaultHelpFormatter):
    """Help in the words of option_texts alone: jsonargparse would add the types and defaults as Python writes them."""

    def _format_action_invocation(self, action: Any) -> str:
        return super()._format_action_invocation(action).replace(" \b", "")  # a pipe would show the backspace

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(part, width, indent) for part in text.split("\n\n"))

    def _expand_help(self, action: Any) -> str:
        return _PRINT_CONFIG if "--print_config" in action.option_strings else action.help


class _Switch(ActionYesNo):
    """An option that is true or false, whose errors name it as those of other options do."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            return super().__call__(*args, **kwargs)
        return _Switch(_yes_prefix=self._yes_prefix, _no_prefix=self._no_prefix, **kwargs)

    def _check_type(self, value: Any) -> Any:
        try:
            return super()._check_type(value)
        except TypeError:
            raise TypeError(f'Parser key "{self.dest}": Got value: {value}') from None


class OptionParser:
    """A parser of jsonargparse with an option for each setting; `types` are their types by their dotted names."""

    def __init__(self, name: str, description: str = "") -> None:
        self.types: dict[str, Any] = {}
        self.parser = ArgumentParser(
            prog=name,
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            parser_mode=BOUNDED_YAML,
            formatter_class=_PlainHelp,
        )

    @property
    def texts(self) -> set[str]:
        """The settings that are texts and never numbers, by their dotted names, those in the entries of lists among them."""
        texts = set[str]()
        for name, hint in self.types.items():
            if metavar(name, hint) == LIST:
                entry = OptionParser(name)
                entry.add_fields(typing.get_args(hint)[0])
                texts |= {f"{name}.{inner}" for inner in entry.texts}
            elif str in (kinds := _kinds(hint)) and not kinds & {int, float, dict}:
                texts.add(name)
        return texts

    @property
    def lists(self) -> dict[str, bool]:
        """The settings that are lists of texts or numbers, and whether a text of one has commas between its entries."""
        found = {}
        for name, hint in self.types.items():
            origins = {typing.get_origin(part) for part in (hint, *typing.get_args(hint))}
            if (tuple in origins and metavar(name, hint) != LIST) or hint == list[str]:
                found[name] = hint != list[str]
        return found

    def add_fields(self, settings: type, prefix: str = "") -> None:
        """Options for all fields of a dataclass, and of those inside it."""
        texts = dict(field_texts(settings))
        hints = typing.get_type_hints(settings)
        for field in dataclasses.fields(settings):
            hint = hints[field.name]
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                self.add_fields(hint, f"{prefix}{field.name}.")
            else:
                default = inspect.Parameter.empty
                if field.default is not dataclasses.MISSING:
                    default = field.default
                elif field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
                self.add(prefix + field.name, hint, default, texts.get(field.name, ""))

    def add(self, name: str, hint: Any, default: Any, text: str, *, word: bool = False) -> None:
        """One option, or the words that follow the command."""
        self.types[name] = hint
        if word:
            self.parser.add_argument(name, nargs="+", type=str, metavar=name.upper().removesuffix("S"), help=text)
            return
        option, kind = f"--{name.replace('_', '-')}", hint
        if (letters := metavar(name, hint)) == LIST:
            kind = _Entries(option, typing.get_args(hint)[0])
            text = f"{text} Each entry has {', '.join(kind.types)}."
        if default is inspect.Parameter.empty:
            text = f"{text} (required)"
            self.parser.add_argument(option, type=kind, required=True, metavar=letters, help=text)
            return
        if usual := default_text(default):
            text = f"{text} (default: {usual})"
        if hint in (bool, bool | None):
            self.parser.add_argument(option, action=_Switch(no_prefix="no-"), default=default, help=text)
        else:
            self.parser.add_argument(option, type=kind, default=default, metavar=letters, help=text)


def _kinds(hint: Any) -> set[Any]:
    """The types that a setting's value, or each entry of it where it is a list, may have."""
    parts = [] if typing.get_origin(hint) is typing.Literal else typing.get_args(hint)
    kinds = {typing.get_origin(hint) or hint}
    return kinds.union(*(_kinds(part) for part in parts))


class _Entries:
    """What reads a list whose entries are mappings of the settings of a dataclass, each with its defaults."""

    def __init__(self, option: str, settings: type) -> None:
        self._option, self._settings = option, settings
        self._parser = OptionParser(option)
        self._parser.add_fields(settings)
        self.types = self._parser.types

    def __call__(self, value: Any) -> list[dict[str, Any]]:
        """The entries, complete, from YAML or from what it says. EntryError where it is none."""
        given = value
        if isinstance(value, str):
            try:
                with numbers_as_texts(self._parser.texts):
                    given = read_value(value)
            except (YAMLError, ValueError) as error:
                raise EntryError(f"{self._option} is no list in YAML: {one_line(error)}") from None
        if not isinstance(given, list | tuple):
            entry = type_text(self._settings)
            raise EntryError(f"{self._option} is {value_text(value)!r}: expected a list, each entry {entry}")
        return [self._entry(entry) for entry in given]

    def _entry(self, entry: Any) -> dict[str, Any]:
        self._require_mappings(entry, self._settings, "an entry")
        try:
            return self._parser.parser.parse_object(entry).as_dict()
        except ArgumentError as error:
            raise EntryError(f"{self._option}: {self._explain(str(error))}") from None

    def _require_mappings(self, value: Any, settings: type, name: str) -> None:
        """EntryError where it, or what stands for a dataclass inside it, is no mapping with names."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise EntryError(f"{self._option}: {name} is {value_text(value)}: expected {type_text(settings)}")
        for inner, hint in typing.get_type_hints(settings).items():
            if inner in value and dataclasses.is_dataclass(hint) and isinstance(hint, type):
                self._require_mappings(value[inner], hint, inner)

    def _explain(self, message: str) -> str:
        """jsonargparse's message about an entry, in words."""
        if missing := re.search(r"the following arguments are required: (.*)", message):
            return f"an entry lacks {missing[1]}"
        key = re.match(r'Parser key "([^"]+)":', message)
        got = re.search(r".*(?:Got|Given) value: (.*)\Z", message, re.DOTALL)
        if key and got and key[1] in self.types:
            return f"{key[1]} is {got[1].strip()!r}: expected {type_text(self.types[key[1]])}"
        if unknown := re.search(r"[Oo]ption '([^']+)' is not accepted", message):
            hint = did_you_mean(unknown[1], self.types)
            return f"unknown {unknown[1]} in an entry: {hint}known are {', '.join(self.types)}"
        return " ".join(message.split())

"""How jsonargparse reads values here: as YAML within bounds, from the command line and from the files of --config."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonargparse import ActionConfigFile, get_loader, set_loader
from yaml import YAMLError

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import RequestError
from flowgru.files.yaml_text import check_extent, check_yaml_file, with_texts_of_numbers

BOUNDED_YAML = "flowgru"
"""jsonargparse's name for the way in which values are read here."""


_TEXTS: ContextVar[Collection[str]] = ContextVar("texts", default=())
"""Dotted names of the settings that are texts, while something is read."""

_LISTS: ContextVar[Mapping[str, bool]] = ContextVar("lists", default=MappingProxyType({}))
"""See ConfigFile.lists, while a file is read."""


@contextmanager
def _holding(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def numbers_as_texts(names: Collection[str]) -> AbstractContextManager[None]:
    """While this lasts, read_value gives a number as it is written, 0.5 as "0.5", to the settings of these dotted names."""
    return _holding(_TEXTS, names)


def read_value(text: str, path: str = "") -> Any:
    """The value of an option, or of a file that check_yaml_file has seen, under the names of today."""
    check_extent(text)
    value = with_texts_of_numbers(text, get_loader("yaml")(text), _TEXTS.get())
    if not isinstance(value, dict):
        return value
    with NamesOfToday(path or "the configuration") as names:
        return _with_lists(names.settings(value), _LISTS.get(), "")


def _with_lists(settings: dict[str, Any], lists: Mapping[str, bool], begin: str) -> dict[str, Any]:
    """The settings, with lists in place of single values of those in `lists`, as they may be written on a command line."""
    found = dict(settings)
    for key, value in settings.items():
        name = f"{begin}{key}".replace("-", "_")
        if name in lists and isinstance(value, dict):
            raise RequestError(f"{name} is a mapping: expected a list, such as [{', '.join(map(str, value))}]")
        if name in lists and isinstance(value, str) and not value.lstrip().startswith("["):
            found[key] = [entry.strip() for entry in value.split(",")] if lists[name] else [value]
        elif name in lists and isinstance(value, int | float):
            found[key] = [value]
        elif isinstance(value, dict):
            found[key] = _with_lists(value, lists, f"{name}.")
    return found


set_loader(BOUNDED_YAML, read_value, (YAMLError, ValueError))


class ConfigFile(ActionConfigFile):
    """A file with options; RequestError where it is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, str] = {}
        """The last file that gave each setting, or each group of them."""
        self.texts: Collection[str] = ()
        """Dotted names of the settings that are texts."""
        self.lists: Mapping[str, bool] = {}
        """Dotted names of the settings that are lists, and whether a text of one has commas between its entries."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        given = check_yaml_file(Path(values), self.texts)
        if "config" in given:
            raise RequestError(f"{values} names another file under config: give --config twice instead")
        if not any(given.values()):  # jsonargparse would take the text for a mere word
            raise RequestError(f"{values} gives no value to {', '.join(given) or 'any setting'}: expected name: value")
        self.files |= {name.partition(".")[0]: str(values) for name in given}
        with numbers_as_texts(self.texts), _holding(_LISTS, self.lists):
            super().__call__(parser, cfg, values, option_string)

    def file_of(self, setting: str) -> str:
        """The file that gave a setting; the last one where only its old name is there."""
        return self.files.get(setting.partition(".")[0]) or [*self.files.values()][-1]

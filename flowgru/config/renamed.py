"""Old names of what has another name today: each keeps working, wherever it may stand, with one line of note.

A name is changed by an entry of a table here: command lines, configurations, the folders of runs and comparisons, cards,
logs and measurements are all read through NamesOfToday.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from flowgru.errors import RequestError

SETTINGS = {
    "accumulate": "gradient_accumulation_steps",
    "data_root": "root",
    "settling": "no_grad_iterations",
}
"""Settings and options under their dotted names; a comparison has those of its trainings below `training`."""

VALUES: dict[str, dict[Any, str]] = {
    "precision": {"32-true": "32", "bf16-mixed": "bf16", "16-mixed": "16", 32: "32", 16: "16"},
}
"""Values of settings. A number is no old name, but what YAML makes of digits without quotes."""

MEASURES = {
    "epe": "epe_per_image",
    "training_epe": "training_epe_per_image",
    "validation_epe": "validation_epe_per_image",
    "held_back_epe": "held_out_epe_per_image",
    "held_back_epe_per_image": "held_out_epe_per_image",
    "zero_epe": "zero_epe_per_image",
}
"""Means over pairs of each pair's own mean error, in logs, cards and measurements; `epe` is pooled over all pixels."""

Value = TypeVar("Value")


class OldName(FutureWarning):
    """Something was read under the name that it had before."""


class NamesOfToday:
    """Reads what may have old names; used in a `with`, at whose end one line says which ones there were.

    where: what is read, as that line names it.
    quiet: without that line, for files that are not the user's.
    """

    def __init__(self, where: str, *, quiet: bool = False) -> None:
        self.where, self.quiet = where, quiet
        self._old: dict[str, str] = {}

    def __enter__(self) -> "NamesOfToday":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._old and not self.quiet:
            names = "; ".join(f"{old} is now {today}" for old, today in self._old.items())
            warnings.warn(f"{self.where}: {names}", OldName, stacklevel=3)

    def measure(self, name: str) -> str:
        """The name of a measure."""
        return self.noted(name, MEASURES.get(name, name))

    def measures(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values of a log's line, in the same order."""
        return {self.measure(name): value for name, value in values.items()}

    def card(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """The card of a model, and in it the configuration of its training."""
        named = self.measures(card)
        if isinstance(config := named.get("config"), Mapping):
            named["config"] = self.settings(config)
        return named

    def settings(self, settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """The settings of a configuration, nested as they are. RequestError where one has its old name and today's."""
        named = {}
        for name, value in settings.items():
            dotted = _setting_of_today(f"{prefix}{name}")
            today = self.noted(name, dotted.removeprefix(prefix)) if isinstance(name, str) else name
            if today in named:
                raise RequestError(
                    f"{self.where}: {dotted} is there twice, once under its old name: leave one of them out"
                )
            if isinstance(value, Mapping):
                named[today] = self.settings(value, f"{dotted}.")
            elif isinstance(value, list):
                named[today] = [self._value(dotted, entry) for entry in value]
            else:
                named[today] = self._value(dotted, value)
        return named

    def words(self, words: Sequence[str], known: Collection[str]) -> list[str]:
        """The words of a command line; `known` are the dotted names of the settings that are its options."""
        named, option = [], ""
        for word in words:
            value, equals = word, ""
            if is_option := word.startswith("--"):
                option, equals, value = word.partition("=")
                today = _setting_of_today(_name_of(option))
                if today in known and today != _name_of(option):
                    option = self.noted(option, f"--{today.replace('_', '-')}")
            value = self._value(_name_of(option), value)
            named.append(f"{option}{equals}{value}" if is_option else value)
            option = option if is_option and not equals else ""
        return named

    def noted(self, old: str, today: str) -> str:
        """Today's name; the line at the end says so where it is another one."""
        if old != today:
            self._old[old] = today
        return today

    def _value(self, name: str, value: Any) -> Any:
        """The value of the setting of that dotted name."""
        values = VALUES.get(_of_training(name), {})
        if not isinstance(value, str | int) or value not in values:
            return value
        if isinstance(value, str):
            setting = name.rpartition(".")[2]
            self.noted(f"{setting} {value}", f"{setting} {values[value]}")
        return values[value]


def _setting_of_today(name: str) -> str:
    """The dotted name of a setting whose dotted name may be an old one."""
    of_training = _of_training(name)
    return name.removesuffix(of_training) + SETTINGS.get(of_training, of_training)


def _of_training(name: str) -> str:
    """The dotted name of a setting as a training has it, which a comparison has below `training`."""
    return name.removeprefix("training.")


def _name_of(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")

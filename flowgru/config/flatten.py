"""Settings under dotted names, and what stored settings say that lack some of today's."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

BEFORE = "before"
"""Name in a field's metadata, of a setting whose default does something else than was done before there was the setting: a
function from the settings beside it to the value that stands for what was done."""


def whole_numbers(value: Any) -> Iterator[int]:
    """The whole numbers in a setting, or in what its list or mapping holds."""
    if isinstance(value, int):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from whole_numbers(inner)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one mapping, such as training.network.operator; an empty mapping inside has no name."""
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        leaves |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def completed(stored: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The settings that a file holds, with those that it lacks because they came later, as JSON has them.

    kind: the class of the settings, a dataclass as all that are nested in it. A setting that is missing has its default of
    today, or what BEFORE says.
    """
    found, hints = dict(stored), get_type_hints(kind)
    for each in fields(kind):
        if each.name in found:
            found[each.name] = _completed_value(found[each.name], hints[each.name])
        elif BEFORE in each.metadata:
            found[each.name] = each.metadata[BEFORE](stored)
        elif each.default_factory is not MISSING:
            found[each.name] = each.default_factory()
        elif each.default is not MISSING:
            found[each.name] = each.default
    return json.loads(json.dumps(found, default=vars))


def _completed_value(value: Any, hint: Any) -> Any:
    """The value of a setting of that type, whose own settings, or those of its entries, may lack some."""
    kind = next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and is_dataclass(each)), None)
    if kind is None:
        return value
    if isinstance(value, list):
        return [_completed_value(entry, kind) for entry in value]
    return completed(value, kind) if isinstance(value, Mapping) else value

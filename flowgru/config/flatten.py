"""Settings under dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any


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

"""Settings under dotted names."""

from collections.abc import Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one mapping, such as training.network.operator; an empty mapping inside has no name."""
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        leaves |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves

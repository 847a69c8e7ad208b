"""JSON that is read within bounds, and written so that every other program reads it."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 100
"""Lists and objects inside each other; what this project writes has fewer than ten."""

# A string that does not end goes to the end of the text: it is looked through once, not again from each of its quotes.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\(?:.|\Z))*+(?:"|\Z)|([\[{])|([\]}])', re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. ValueError where it is none, is not in UTF-8, or is nested deeper than MAX_DEPTH."""
    text = text if isinstance(text, str) else text.decode("utf-8")
    depth = 0
    for opening, closing in (match.groups() for match in _BRACKETS.finditer(text)):
        depth += bool(opening) - bool(closing)
        if depth > MAX_DEPTH:
            raise ValueError(f"its lists and objects lie more than {MAX_DEPTH} deep in each other")
    return json.loads(text)


def json_text(value: Any, indent: int | None = 1) -> str:
    """A value as JSON, with null for a number that is not finite, which JSON does not have."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value

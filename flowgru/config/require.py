"""How a setting refuses a value."""

from flowgru.errors import RequestError


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """RequestError that names the setting, its value and what was expected, unless it holds."""
    if not holds:
        raise RequestError(f"{name} is {value}: it must be {expected}")

"""The names that earlier versions wrote into files for what has another name today."""

from collections.abc import Mapping
from typing import TypeVar

PER_IMAGE = {
    "epe": "epe_per_image",
    "training_epe": "training_epe_per_image",
    "validation_epe": "validation_epe_per_image",
    "held_back_epe": "held_back_epe_per_image",
    "zero_epe": "zero_epe_per_image",
}
"""Means over pairs of each pair's own mean error, in logs, cards and measurements; `epe` is pooled over all pixels."""

Value = TypeVar("Value")


def with_names_of_today(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a log's line or of a card under the names that they have today, in the same order."""
    return {PER_IMAGE.get(name, name): value for name, value in values.items()}

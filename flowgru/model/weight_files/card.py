"""What the card of a model file says of where its weights come from."""

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from flowgru.config.way import Way
from flowgru.model.weight_files.loading import DEFAULT_MODEL

OWN_LICENCE = "BSD-3-Clause"
"""The licence of weights that were trained on generated pairs alone."""


def origin_of(source: str, card: dict[str, Any]) -> dict[str, Any]:
    """What the card of a run says of the model that its weights began with: name, terms, way, and the file's SHA-256."""
    terms = str(card.get("license") or "") or f"{source}: as its training data allow"
    origin: dict[str, Any] = {"name": source, "license": terms}
    if way := {field.name: card[field.name] for field in fields(Way) if card.get(field.name) is not None}:
        origin["way"] = way
    path = DEFAULT_MODEL if source == "default" else Path(source)
    if path.is_file():
        with path.open("rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return origin

"""Where a trained model comes from, and which terms it inherits from there, for its card."""

import hashlib
from pathlib import Path
from typing import Any

from flowgru.config import STAGES, TrainConfig
from flowgru.data.sets.layouts import licence_of
from flowgru.data.training_sets import SYNTHETIC
from flowgru.model.weight_files.loading import DEFAULT_MODEL

OWN_LICENCE = "BSD-3-Clause"
"""Of weights that were trained on generated pairs alone."""


def origin_of(source: str, card: dict[str, Any]) -> dict[str, Any]:
    """What the card of a run says of the model that its weights began with: name, terms, and the file's SHA-256."""
    origin = {"name": source, "license": card.get("license") or f"{source}: as its training data allow"}
    path = DEFAULT_MODEL if source == "default" else Path(source)
    if path.is_file():
        with path.open("rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return origin


def trained_on(config: TrainConfig) -> list[str]:
    """The names of the data sets that a run is trained on."""
    parts = STAGES[config.stage] if config.stage else config.sets
    return [part.name for part in parts] or [SYNTHETIC]


def licence(config: TrainConfig, origin: dict[str, Any]) -> str:
    """The terms of a run's weights: this project's own, unless its data or the weights it began with restrict them."""
    terms = origin["license"].split("; ") if origin else []
    for name in trained_on(config):
        if name != SYNTHETIC:
            terms.append(licence_of(name))
        elif config.data.photos not in (None, "skimage"):
            terms.append(f"{config.data.photos}: as the owner of its pictures allows")
    inherited = [term for term in dict.fromkeys(terms) if term != OWN_LICENCE]
    return "; ".join(inherited) or OWN_LICENCE

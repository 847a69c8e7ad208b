"""What the card of a model file says of where its weights come from."""

import hashlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowgru.config import NetworkConfig
from flowgru.config.way import resolve_way
from flowgru.errors import RequestError
from flowgru.model.weight_files.loading import DEFAULT_MODEL

OWN_LICENCE = "BSD-3-Clause"
"""The licence of weights that were trained on generated pairs alone."""


def origin_of(source: str, card: dict[str, Any], network: NetworkConfig | None = None) -> dict[str, Any]:
    """What a card says of the model that its weights began with: name, terms, and the file's SHA-256.

    And that model's way, where it makes sense and has the same update operator as the `network` that is given.
    """
    terms = str(card.get("license") or "") or f"{source}: as its training data allow"
    origin: dict[str, Any] = {"name": source, "license": terms}
    before, now = card.get("network", {}), None if network is None else asdict(network)
    if now is not None and all(
        before.get(name) == now[name] for name in ("preset", "operator", "options", "hidden_size")
    ):
        with suppress(RequestError):
            way = asdict(resolve_way(card))
            if card.keys() & way.keys():
                origin["way"] = {name: value for name, value in way.items() if value is not None}
    path = DEFAULT_MODEL if source == "default" else Path(source)
    if path.is_file():
        with path.open("rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return origin

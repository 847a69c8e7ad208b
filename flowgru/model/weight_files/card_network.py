"""Which network a card describes; a card may come from anywhere, and may say anything."""

from dataclasses import fields
from typing import Any

import torch

from flowgru.config.network import NetworkConfig, check_preset
from flowgru.errors import RequestError, one_line, stored_text
from flowgru.operators import make_operator

MAX_HIDDEN_SIZE = 4096
"""Channels of the widest hidden state that a card may ask for."""


def network_of_card(card: dict[str, Any], name: str) -> NetworkConfig:
    """Which network the card of a model file says it holds. RequestError where it says no sense."""
    network = card["network"]
    settings = {field.name for field in fields(NetworkConfig)}
    if not isinstance(network, dict) or not {"preset", "operator"} <= {*network} <= settings:
        raise RequestError(
            f"the card of {name} says {stored_text(network)} of its network: expected {' and '.join(sorted(settings))}"
        )
    for part in ("confidence", "memory", "texture_gate"):
        if not isinstance(network.get(part, False), bool):
            said = stored_text(network[part])
            raise RequestError(f"the card of {name} says {part} {said}: expected true or false")
    options, hidden_size = network.get("options", {}), network.get("hidden_size")
    if not isinstance(options, dict):
        raise RequestError(f"the card of {name} says options {stored_text(options)}: expected a mapping")
    if not (hidden_size is None or (isinstance(hidden_size, int) and 0 < hidden_size <= MAX_HIDDEN_SIZE)):
        raise RequestError(
            f"the card of {name} says hidden_size {stored_text(hidden_size)}: expected 1 to {MAX_HIDDEN_SIZE}, or null"
        )
    try:
        check_preset(network["preset"])
        config = NetworkConfig(**network)
    except (RequestError, TypeError) as error:  # a text where a number is expected
        raise RequestError(f"the card of {name}: {one_line(error)}") from None
    sizes = config.sizes
    try:
        with torch.device("meta"):
            make_operator(
                str(config.operator), sizes.hidden_size, sizes.motion_size, sizes.context_size, **config.options
            )
    except (RequestError, TypeError, ValueError, RuntimeError) as error:
        raise RequestError(f"the card of {name} names an operator that cannot be made: {one_line(error)}") from None
    return config

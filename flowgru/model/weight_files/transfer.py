"""Weights from one network to another that differs in parts, such as its update operator."""

from collections.abc import Collection

import torch

from flowgru.config.network import WITHOUT_WEIGHTS, NetworkConfig
from flowgru.errors import value_text
from flowgru.model.flow_network import FlowNetwork


@torch.no_grad()
def transfer(
    source: FlowNetwork, target: FlowNetwork, parts: Collection[str] | None = None, without: Collection[str] = ()
) -> list[str]:
    """Copies every weight that both have under one name and in one shape; returns the names of the target's others.

    parts: names of the networks' modules, to copy only theirs; without: names of weights that are not copied.

    Between two update operators, or two variants of one, nothing of the operator is copied: equal names mean different
    things.
    """
    given, wanted = source.state_dict(), target.state_dict()
    if (source.config.operator, source.config.options) != (target.config.operator, target.config.options):
        given = {name: value for name, value in given.items() if not name.startswith("operator.")}
    if parts is not None:
        given = {name: value for name, value in given.items() if name.split(".")[0] in parts}
    fitting = {
        name
        for name, value in wanted.items()
        if name in given and given[name].shape == value.shape and name not in without
    }
    for name in fitting:
        wanted[name].copy_(given[name])
    return [name for name in wanted if name not in fitting]


def other_settings(source: NetworkConfig, target: NetworkConfig) -> str | None:
    """A line about settings by which equal weights give another flow in the target than in the source; None without any."""
    names = [name for name in WITHOUT_WEIGHTS if getattr(source, name) != getattr(target, name)]
    shown = (f"network.{name} {value_text(getattr(source, name))}" for name in names)
    return f"its network has {' and '.join(shown)}, and this one another" if names else None

"""The mode of a network: trained or used."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Within, a network that is being trained computes as in evaluation: nothing is dropped, and no statistics change.

    Afterwards each of its parts is in the mode in which it was. What is no nn.Module has no mode.
    """
    if not isinstance(network, nn.Module) or not network.training:
        yield
        return
    trained = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in trained:
            part.training = True

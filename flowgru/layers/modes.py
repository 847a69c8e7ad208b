"""The mode of a network: trained or used."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_lock = threading.Lock()

_used: "WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]]" = WeakKeyDictionary()
"""How many use each network at the moment, and which of its parts were being trained before."""


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Within, a network that is being trained computes as in evaluation: nothing is dropped, and no statistics change.

    Once nobody uses it so any more, in whatever thread, each of its parts is in the mode in which it was. What is no
    nn.Module has no mode.
    """
    if not isinstance(network, nn.Module):
        yield
        return
    with _lock:
        users, trained = _used.get(network) or (0, [part for part in network.modules() if part.training])
        _used[network] = users + 1, trained
        for part in trained:
            part.training = False
    try:
        yield
    finally:
        with _lock:
            users, trained = _used.pop(network)
            if users > 1:
                _used[network] = users - 1, trained
            else:
                for part in trained:
                    part.training = True

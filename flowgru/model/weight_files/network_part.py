"""The network's own weights among all that a file of weights holds, whatever wrapped them while they were trained."""

import re
from collections import Counter

from flowgru.errors import RequestError
from flowgru.model.weight_files.raft_names import MARKS, Weights
from flowgru.operators import WRAPPERS

_TRANSPARENT = re.compile(rf"(?<![^.])(?:{'|'.join(WRAPPERS)})\.")

_MARKS = tuple(mark for marks in MARKS.values() for mark in marks)

_MODULES = {mark.partition(".")[0] for mark in _MARKS} | {
    "motion_encoder",
    "flow_head",
    "mixture_head",
    "temporal_memory",
}
"""The first parts of the names that a network has, in any naming."""


def network_part(weights: Weights, source: str) -> tuple[Weights, list[str]]:
    """The weights that belong to the network, under the names that it gives them, and the names of all others.

    Where a file holds several networks, the one with most weights counts; among equals a moving average, else the first.
    RequestError where two weights come to have one name.
    """
    plain = {name: _TRANSPARENT.sub("", name) for name in weights}
    counts = Counter(found for name in plain.values() if (found := _beginning(name)) is not None)
    beginning = max(counts, key=lambda found: (counts[found], "ema" in found.lower()), default="")
    part, others = {}, []
    for name, value in weights.items():
        own = plain[name].removeprefix(beginning)
        if not plain[name].startswith(beginning) or (counts and own.partition(".")[0] not in _MODULES):
            others.append(name)
        elif own in part:
            raise RequestError(f"{source} holds two weights called {own!r}, with and without what wraps them: keep one")
        else:
            part[own] = value
    return part, others


def _beginning(name: str) -> str | None:
    """What stands before the network's own name of a weight; None where no part of the name is one of its own."""
    places = [0, *(place.end() for place in re.finditer(r"\.", name))]
    return next((name[:place] for place in places if name.startswith(_MARKS, place)), None)

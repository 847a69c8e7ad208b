"""Names of files for people, as short as tells them apart."""

import os
from collections.abc import Sequence
from pathlib import Path


def shortest_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path, with as many of the folders above it as no other path ends in."""
    found, parts = [], [Path(os.path.abspath(path)).parts for path in paths]
    for own in parts:
        others = [other for other in parts if other != own]
        lengths = range(1, len(own) + 1)
        length = next((n for n in lengths if all(other[-n:] != own[-n:] for other in others)), len(own))
        found.append("/".join(own[-length:]))
    return found

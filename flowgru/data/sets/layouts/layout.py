"""All that is to be known of a set in one way of publishing it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flowgru.data.sets.layouts.masks import Masks, picture_masks
from flowgru.data.sets.layouts.pairing import Listing, PairFiles
from flowgru.grid import PaddingMode


class Layout(NamedTuple):
    """Where a set lies below the data root, and how its files are paired."""

    folders: tuple[str, ...]
    """The names that the set's folder may have, in any case; the first that holds pairs is read."""
    list_pairs: Callable[[Path], Listing]
    """What lies in that folder."""
    num_pairs: int | None
    """Pairs in the full set; None where that is not known."""
    source: str
    """What to download, and where."""
    licence: str
    """The terms that weights trained on the set inherit."""
    padding: PaddingMode = "sintel"
    """The padding that published errors on the set were measured with."""
    read_masks: Callable[[PairFiles], Masks] = picture_masks
    """Reads the masks of a pair."""
    holds: str = ""
    """A folder inside that tells this layout from another of the same set."""
    split: int | None = None
    """Which pairs of the split file are read; None reads all pairs, and no such file."""
    scenes: tuple[str, ...] = ()
    """Folders in which the full set's pairs lie, where they are known."""
    parts: tuple[str, ...] = ()
    """Patterns of folders inside, of each of which there is at least one in the full set."""

"""A bound on what the tags of a picture may take of memory, whichever format has them: TIFF, EXIF, or lists of pictures.

Pillow copies the bytes of every tag, and has no bound of its own. Thousands of tags that all point at the same bytes would
fill any memory.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from flowgru.errors import InputFileError

MAX_SHARE = 32
"""How many times the bytes of its file a picture's tags may copy: some share bytes, and Pillow looks at most of them several
times."""

_SPARE = 2**16
_DIRECTORY = 1024
"""Bytes that a directory takes in memory without any tag: a file may have many of them."""

_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the number of its type."""


class _Budget:
    """The bytes that the tags of one file may still copy."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self.left = MAX_SHARE * self.size + _SPARE

    def take(self, claimed: int) -> None:
        self.left -= claimed
        if self.left < 0:
            raise InputFileError(
                f"{self.path} is damaged: its tags claim more than {MAX_SHARE} times the {self.size} bytes that it has"
            )


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)

_load = ImageFileDirectory_v2.load


@contextmanager
def bounded_tags(path: Path) -> Iterator[None]:
    """Inside, InputFileError where Pillow is about to copy far more bytes for tags than the file has."""
    token = _BUDGET.set(_Budget(path) if os.path.isfile(path) else None)
    try:
        yield
    finally:
        _BUDGET.reset(token)


def _bounded_load(self: ImageFileDirectory_v2, fp: Any) -> Any:
    """Pillow's load, after a look at what the directory claims."""
    if (budget := _BUDGET.get()) is not None:
        place = fp.tell()
        budget.take(_DIRECTORY + _claimed(self, fp, budget.size))
        fp.seek(place)
    return _load(self, fp)


def _claimed(directory: ImageFileDirectory_v2, fp: Any, most: int) -> int:
    """Bytes that the tags claim, each at most as many as the whole file has: beyond its end there is nothing to copy."""
    order = ">" if directory.prefix == b"MM" else "<"
    count, entry = ("Q", "HHQQ") if getattr(directory, "_bigtiff", False) else ("H", "HHII")
    start, length = fp.read(struct.calcsize(order + count)), struct.calcsize(order + entry)
    if len(start) < struct.calcsize(order + count):
        return 0
    entries = fp.read(min(struct.unpack(order + count, start)[0], most // length) * length)
    found = struct.iter_unpack(order + entry, entries[: len(entries) // length * length])
    return sum(min(_UNITS.get(kind, 0) * number, most) for _, kind, number, _ in found)


# The only place through which all of them go. Without a budget, that is outside of bounded_tags, it is Pillow's own.
ImageFileDirectory_v2.load = _bounded_load

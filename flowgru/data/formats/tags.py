"""Directories of tags, as TIFF files and EXIF have them: what they claim is checked before Pillow keeps it.

Pillow copies the bytes of every tag. Thousands of tags that all point at the same bytes would fill any memory.
"""

import io
import struct
from pathlib import Path

from flowgru.errors import InputFileError

MAX_SHARE = 16
"""How many times the bytes of its file the values of all tags may have, of tags that share bytes."""

MAX_PAGES = 2**16
"""Directories of a file, each of which is mostly a page."""

_SPARE = 2**16
_EXIF = b"Exif\0\0"

_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the number of its type."""


def check_tags(path: Path, file: io.BufferedIOBase, size: int) -> None:
    """InputFileError where the tags of all directories of a file of `size` bytes claim far more than these."""
    start = file.read(16)
    order = ">" if start.startswith(b"MM") else "<"
    big = 43 in start[2:4]
    count_format, entry_format, place_format = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    count_bytes, entry_bytes = struct.calcsize(order + count_format), struct.calcsize(order + entry_format)
    place, seen, claimed = _number(order + place_format, start[8 if big else 4 :]), set(), 0
    while place and place not in seen:
        seen.add(place)
        if len(seen) > MAX_PAGES:
            raise InputFileError(f"{path} has more than {MAX_PAGES} directories of tags: that many pages are not read")
        file.seek(min(place, size))
        count = min(_number(order + count_format, file.read(count_bytes)), size // entry_bytes)
        entries = file.read(count * entry_bytes)
        entries = entries[: len(entries) // entry_bytes * entry_bytes]
        for _, kind, number, _ in struct.iter_unpack(order + entry_format, entries):
            claimed += min(_UNITS.get(kind, 0) * number, size)  # beyond the end there is nothing to be copied
        if claimed > MAX_SHARE * size + _SPARE:
            raise InputFileError(f"{path} is damaged: its tags claim {claimed} bytes, and it has {size}")
        place = _number(order + place_format, file.read(struct.calcsize(order + place_format)))


def check_exif(path: Path, exif: bytes) -> None:
    """The same for the bytes of EXIF that a picture of another format holds."""
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    check_tags(path, io.BytesIO(exif), len(exif))


def _number(form: str, data: bytes) -> int:
    """The number at the beginning of the data; 0 where they end before it does."""
    length = struct.calcsize(form)
    return struct.unpack(form, data[:length])[0] if len(data) >= length else 0

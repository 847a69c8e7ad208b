"""What a file claims is checked against what it is before any memory is taken for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowgru.errors import FlowgruError, InputFileError, one_line, size_text

MAX_PIXELS = 2**27
"""A picture, frame or flow map whose header claims more is refused."""

MAX_FILE_BYTES = 2**31
"""A longer file is refused where all of it would be read; a flow map of MAX_PIXELS is shorter in every format."""

MAX_RATIO, PAGE = 1032, 2**16
"""Deflate makes at most so many bytes of one; small headers and unused ends of blocks count besides."""
LARGE, LARGE_RATIO = 2**28, 100
"""Data of more than so many bytes are taken only where they were compressed by less than this, as real ones are."""


def is_missing(path: str | Path) -> bool:
    """Whether there is nothing of that name, as far as anybody may know: False of what may not be looked at."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError of what can be no name
        return True
    except OSError:
        return False
    return False


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of a file, or all of it. InputFileError if there is no readable file."""
    try:
        if path.is_dir():
            raise InputFileError(f"{path} is a folder: expected a file")
        if path.exists() and not path.is_file():  # reading a pipe could wait for ever
            raise InputFileError(f"{path} is a pipe or a device: expected a file")
        with path.open("rb") as file:
            if limit < 0 and (size := os.fstat(file.fileno()).st_size) > MAX_FILE_BYTES:
                raise InputFileError(f"{path} has {size} bytes: at most {MAX_FILE_BYTES} are read")
            return file.read(limit)
    except InputFileError:
        raise
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def check_size(path: Path, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """InputFileError unless both sides are positive and width * height is at most max_pixels."""
    if width <= 0 or height <= 0:
        raise InputFileError(f"{path} claims to be {size_text((height, width))}: both sides must be positive")
    if width * height > max_pixels:
        raise InputFileError(f"{path} claims to be {size_text((height, width))}: at most {max_pixels} pixels are read")


def check_length(path: Path, found: int, expected: int, claim: str) -> None:
    """InputFileError unless the `found` bytes are exactly those that the header's `claim` needs."""
    if found != expected:
        difference = "too short" if found < expected else "too long"
        raise InputFileError(f"{path} is {difference}: {claim} needs {expected} bytes, there are {found}")


def check_claim(path: Path, claimed: int, held: int) -> None:
    """InputFileError where `held` compressed bytes claim to unfold to more than such data could, or than is taken."""
    if claimed > MAX_RATIO * held + PAGE or claimed > max(LARGE, LARGE_RATIO * held):
        raise InputFileError(
            f"{path} claims {claimed} bytes of data, of which it holds {held}: a whole file of that size holds more"
        )


@contextmanager
def damage_as_input_error(path: Path, kind: str) -> Iterator[None]:
    """InputFileError, of one line, for whatever a library raises inside on the damaged bytes of a file.

    `kind` is what the file should have been. A lack of memory, and this project's own errors, pass as they are.
    """
    try:
        yield
    except (FlowgruError, MemoryError):
        raise
    except Exception as error:
        raise InputFileError(f"{path} is a damaged {kind}: {one_line(error)}") from error

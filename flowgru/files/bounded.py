"""What a file claims is checked against what it is before any memory is taken for it."""

from pathlib import Path

from flowgru.errors import InputFileError

MAX_PIXELS = 2**27
"""A picture, frame or flow map whose header claims more is refused."""


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of a file, or all of it. InputFileError if there is no readable file."""
    if path.is_dir():
        raise InputFileError(f"{path} is a folder: expected a file")
    if path.exists() and not path.is_file():  # reading a pipe could wait for ever
        raise InputFileError(f"{path} is a pipe or a device: expected a file")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def check_size(path: Path, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """InputFileError unless both sides are positive and width * height is at most max_pixels."""
    if width <= 0 or height <= 0:
        raise InputFileError(f"{path} claims to be {width}x{height} pixels: both sides must be positive")
    if width * height > max_pixels:
        raise InputFileError(f"{path} claims to be {width}x{height} pixels: at most {max_pixels} are read")


def check_length(path: Path, found: int, expected: int, claim: str) -> None:
    """InputFileError unless the `found` bytes are exactly those that the header's `claim` needs."""
    if found != expected:
        difference = "too short" if found < expected else "too long"
        raise InputFileError(f"{path} is {difference}: {claim} needs {expected} bytes, there are {found}")

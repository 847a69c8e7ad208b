"""Flow maps as portable float maps (.pfm): three lines of text, then float32 (u, v, 0) by rows from bottom to top.

Debevec's format, in which FlyingThings3D is published. The sign of the scale in the third line tells the order of the
bytes: below 0 little-endian, above 0 big-endian. Blanks at the ends of the lines and Windows' line ends are understood.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flowgru.errors import InputFileError, size_text
from flowgru.files.bounded import check_length, check_size, read_bytes


class _Header(NamedTuple):
    width: int
    height: int
    sample_type: str
    num_bytes: int


def pfm_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header; the file must be as long as it says."""
    return _read_header(path)[:2]


def read_pfm_array(path: Path) -> np.ndarray:
    """The first two channels as stored, [H, W, 2], rows from top to bottom."""
    header = _read_header(path)
    stored = np.frombuffer(read_bytes(path), header.sample_type, offset=header.num_bytes)
    return stored.reshape(header.height, header.width, 3)[::-1, :, :2]


def encode_pfm_array(flow: np.ndarray) -> bytes:
    """A file of the flow [H, W, 2] with a third channel of 0, little-endian."""
    height, width = flow.shape[:2]
    stored = np.zeros((height, width, 3), "<f4")
    stored[..., :2] = flow
    return f"PF\n{width} {height}\n-1.0\n".encode() + stored[::-1].tobytes()


def _read_header(path: Path) -> _Header:
    """The header, once its size agrees with that of the file."""
    header = re.match(rb"P([Ff])[ \t\r]*\n *(\d+)[ \t]+(\d+)[ \t\r]*\n *([^\s]+)[ \t\r]*\n", read_bytes(path, 256))
    if header is None:
        raise InputFileError(f"{path} has no PFM header: expected the three lines 'PF', 'width height', 'scale'")
    if header[1] == b"f":
        raise InputFileError(f"{path} is a PFM of one channel (a disparity map?): a flow map has 3")
    width, height = int(header[2]), int(header[3])
    try:
        scale = float(header[4])
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        raise InputFileError(f"{path} has the PFM scale {header[4]!r}: expected a number below 0 or above 0")
    if width <= 0 or height <= 0:
        raise InputFileError(f"{path} claims to be {size_text((height, width))}: both sides must be positive")
    size = path.stat().st_size
    check_length(path, size, header.end() + 12 * width * height, f"a .pfm of {size_text((height, width))}")
    check_size(path, width, height)
    return _Header(width, height, "<f4" if scale < 0 else ">f4", header.end())

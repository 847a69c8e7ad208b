"""Pictures of 16 bits a channel, which Pillow would silently cut to 8: decoded by OpenCV, after the PNG is checked.

OpenCV returns half a picture for a damaged file, so the checksums and the end of a PNG are checked here first.
"""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt16

from flowgru.errors import InputFileError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngHeader(NamedTuple):
    """What the first chunk (IHDR) of a PNG says. colour_type: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""

    width: int
    height: int
    bit_depth: int
    colour_type: int


def png_header(start: bytes, path: Path) -> PngHeader:
    """Read the header from the first 26 bytes of a file that begins with PNG_SIGNATURE. InputFileError if damaged."""
    if len(start) < 26 or start[12:16] != b"IHDR":
        raise InputFileError(f"{path} is a damaged PNG: it does not begin with an IHDR chunk")
    return PngHeader(*struct.unpack(">IIBB", start[16:26]))


def decode_16_bit(data: bytes, path: Path) -> UInt16[np.ndarray, "H W *channels"]:
    """The samples of a 16-bit PNG or TIFF, as HxW grey, or HxWxC with C = 3 (RGB) or 4 (RGBA).

    InputFileError if the file is damaged or has another depth.
    """
    if data.startswith(PNG_SIGNATURE):
        _check_png_is_whole(data, path)
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputFileError(f"{path} cannot be decoded: {error.err}") from error
    if samples is None:
        raise InputFileError(f"{path} cannot be decoded: the data are damaged")
    if samples.dtype != np.uint16:
        raise InputFileError(f"{path} decodes to {samples.dtype}: expected 16 bits a channel")
    if samples.ndim == 2:
        return samples
    blue_first = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    if samples.shape[2] not in blue_first:
        raise InputFileError(f"{path} has {samples.shape[2]} channels: expected grey, RGB or RGBA")
    return np.ascontiguousarray(samples[..., blue_first[samples.shape[2]]])


def check_png_end(path: Path) -> None:
    """InputFileError unless a PNG ends with the chunk (IEND) that ends every PNG; the picture is not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 64, 0))  # some programs leave bytes behind the end
        if b"IEND" not in file.read():
            raise InputFileError(f"{path} is a truncated PNG: it ends at byte {size} without an IEND chunk")


def _check_png_is_whole(data: bytes, path: Path) -> None:
    """InputFileError if a chunk that carries the picture is cut off or does not match its checksum."""
    position = len(PNG_SIGNATURE)
    while True:
        if len(data) < position + 12:
            raise InputFileError(f"{path} is a truncated PNG: it ends at byte {len(data)} without an IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if len(data) < end:
            raise InputFileError(f"{path} is a truncated PNG: a chunk ends at byte {end}, the file at {len(data)}")
        # An upper-case first letter marks a chunk without which there is no picture.
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if kind[:1].isupper() and zlib.crc32(data[position + 4 : end - 4]) != checksum:
            raise InputFileError(f"{path} is a damaged PNG: wrong checksum of the chunk at byte {position}")
        if kind == b"IEND":
            return
        position = end

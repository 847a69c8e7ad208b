"""PNG files taken apart: their header and chunks, and the pictures and flows of those of 16 bits a channel.

Pillow would silently cut 16 bits to 8. OpenCV reads them, but returns half a picture for a damaged file, so the chunks
and their checksums are checked here first, and OpenCV is given no chunk but those that carry the picture.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from flowgru.data.formats.samples import eight_bit, over_black, spread_grey
from flowgru.errors import InputFileError
from flowgru.files.bounded import MAX_PIXELS, check_claim, read_bytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 2**20
"""Of one picture; programs write some kilobytes into each."""


class PngHeader(NamedTuple):
    """What the first chunk (IHDR) of a PNG says. colour_type: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""

    width: int
    height: int
    bit_depth: int
    colour_type: int


class PngChunk(NamedTuple):
    """One chunk of a PNG: its four letters, and where in the file it begins and ends."""

    kind: bytes
    start: int
    end: int


def png_header(start: bytes, path: Path) -> PngHeader:
    """Read the header from the first 26 bytes of a file that begins with PNG_SIGNATURE. InputFileError if damaged."""
    if len(start) < 26 or start[12:16] != b"IHDR":
        raise InputFileError(f"{path} is a damaged PNG: it does not begin with an IHDR chunk")
    return PngHeader(*struct.unpack(">IIBB", start[16:26]))


def png_chunks(file: io.BufferedIOBase, path: Path) -> Iterator[PngChunk]:
    """The chunks of an open PNG, up to the one (IEND) that ends it; bytes behind that are no part of the picture.

    The file stands behind the chunk's first eight bytes while one is given, and may be moved. InputFileError where it
    ends before the picture does.
    """
    size = file.seek(0, 2)
    start, kind, count = len(PNG_SIGNATURE), b"", 0
    while kind != b"IEND":
        if size < start + 12:
            raise InputFileError(f"{path} is a truncated PNG: it ends at byte {size} without an IEND chunk")
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        end, count = start + 12 + length, count + 1
        if not kind.isalpha() or count > MAX_CHUNKS:  # zeros, of which a sparse file may hold terabytes, are no chunks
            raise InputFileError(f"{path} is a damaged PNG: at byte {start} is no chunk of a picture")
        if size < end:
            raise InputFileError(f"{path} is a truncated PNG: a chunk ends at byte {end}, the file at {size}")
        yield PngChunk(kind, start, end)
        start = end


def check_png_end(path: Path) -> None:
    """InputFileError unless all chunks of a PNG are there, up to its end, and could hold its picture, which is not read."""
    with path.open("rb") as file:
        held = sum(chunk.end - chunk.start - 12 for chunk in png_chunks(file, path) if chunk.kind in (b"IDAT", b"fdAT"))
        file.seek(0)
        header = png_header(file.read(26), path)
    samples = {2: 3, 4: 2, 6: 4}.get(header.colour_type, 1)
    row = 1 + (header.width * samples * header.bit_depth + 7) // 8
    if header.width * header.height <= MAX_PIXELS:  # more is refused as such
        check_claim(path, header.height * row, held)


def decode_16_bit(data: bytes, path: Path) -> UInt16[np.ndarray, "H W *channels"]:
    """The samples of a 16-bit PNG, as HxW grey, or HxWxC with C = 3 (RGB) or 4 (RGBA); no transparent key is applied.

    InputFileError if the file is damaged or has another depth.
    """
    try:
        samples = cv2.imdecode(np.frombuffer(_picture_alone(data, path), np.uint8), cv2.IMREAD_UNCHANGED)
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


def may_be_turned(path: Path) -> bool:
    """Whether a PNG has a chunk that may note a turn: EXIF, or the texts in which programs keep EXIF and XMP."""
    texts = (b"Raw profile type", b"XML:com.adobe.xmp")
    with path.open("rb") as file:
        for chunk in png_chunks(file, path):
            if chunk.kind == b"eXIf" or (chunk.kind in (b"tEXt", b"zTXt", b"iTXt") and file.read(20).startswith(texts)):
                return True
    return False


def read_16_bit_png(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """A 16-bit PNG as 8-bit RGB, over black where it is transparent. InputFileError as of decode_16_bit."""
    data = read_bytes(path)
    samples = decode_16_bit(data, path)
    levels, key = eight_bit(samples), _transparent_key(data, path)
    if levels.ndim == 2:
        samples, levels = samples[..., None], spread_grey(levels)
    if levels.shape[2] == 4:
        return over_black(levels)
    if key is not None:
        levels[(samples == key).all(axis=2)] = 0
    return levels


def _transparent_key(data: bytes, path: Path) -> tuple[int, ...] | None:
    """The grey level, or red, green and blue, of the pixels that a PNG without alpha says are transparent (tRNS)."""
    colour_type = png_header(data[:26], path).colour_type
    num_samples = {0: 1, 2: 3}.get(colour_type)
    if num_samples is None:
        return None
    for chunk in _chunks_of(data, path):
        if chunk.kind == b"tRNS" and chunk.end - chunk.start == 12 + 2 * num_samples:
            return struct.unpack_from(f">{num_samples}H", data, chunk.start + 8)
    return None


def _chunks_of(data: bytes, path: Path) -> Iterator[PngChunk]:
    return png_chunks(io.BytesIO(data), path)


def _picture_alone(data: bytes, path: Path) -> bytes:
    """The chunks that carry the picture, without all others. InputFileError where one does not match its checksum."""
    pieces = [PNG_SIGNATURE]
    for chunk in _chunks_of(data, path):
        # An upper-case first letter marks a chunk without which there is no picture.
        if not chunk.kind[:1].isupper():
            continue
        piece = data[chunk.start : chunk.end]
        if zlib.crc32(piece[4:-4]) != int.from_bytes(piece[-4:], "big"):
            raise InputFileError(f"{path} is a damaged PNG: wrong checksum of the chunk at byte {chunk.start}")
        pieces.append(piece)
    return b"".join(pieces)

"""Pictures by Pillow: which formats are read, how they are opened, what makes them RGB, and what a JPEG can hold."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.ImageFile import ImageFile

from flowgru.data.formats.orientation import Orientation, noted_orientation
from flowgru.data.formats.samples import eight_bit, over_black, spread_grey
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, PngHeader, check_png_end, png_header
from flowgru.data.formats.tags import bounded_tags
from flowgru.data.formats.tiff import is_tiff
from flowgru.errors import InputFileError, RequestError, one_line, size_text
from flowgru.files.bounded import check_size, read_bytes

_ENDINGS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpx"),
    "AVIF": (".avif", ".avifs"),
    "QOI": (".qoi",),
    "PCX": (".pcx",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
}
"""Formats of Pillow that are read; named, because its others include some that start outside programs."""
_TARGA = (".tga", ".icb", ".vda", ".vst")
"""Endings of the one format that only the ending tells: its files have no mark of their own."""
PICTURE_SUFFIXES = (*(ending for endings in _ENDINGS.values() for ending in endings), *_TARGA)
# Tag number of EXIF.
_ORIENTATION = 274
_MAX_JPEG_SIDE = 65_500
"""Pixels, of libjpeg."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """InputFileError, of one line, for whatever goes wrong inside, and for tags that would fill the memory."""
    try:
        with bounded_tags(path):
            yield
    except (InputFileError, MemoryError):
        raise
    except RequestError as error:
        raise InputFileError(str(error)) from error
    # On damaged bytes Pillow's decoders raise nearly anything, from SyntaxError to struct.error.
    except Exception as error:
        tiff = is_tiff(read_bytes(path, 4))
        kinds = "a TIFF of 8 or 16 bits, not floating-point" if tiff else ", ".join(_formats(path))
        raise InputFileError(f"{path} cannot be read as a picture ({one_line(error)}): expected {kinds}") from error


@contextmanager
def opened_by_pillow(path: Path, max_pixels: int) -> Iterator[ImageFile]:
    """The picture as Pillow opens it, once its size is an allowed one."""
    start = read_bytes(path, 26)
    if start.startswith(PNG_SIGNATURE):
        header = png_header(start, path)
        check_size(path, header.width, header.height, max_pixels)
        check_png_end(path)
    with Image.open(path, formats=_formats(path)) as opened:
        check_size(path, opened.width, opened.height, max_pixels)
        yield opened


def require_jpeg_size(path: Path, picture: np.ndarray) -> None:
    """RequestError for a picture [H, W, ...] that is larger than a JPEG can be."""
    if max(picture.shape[:2]) > _MAX_JPEG_SIDE:
        raise RequestError(
            f"cannot write {path}: it would be {size_text(picture.shape[:2])}, and a JPEG holds at most {_MAX_JPEG_SIDE} "
            "pixels to each side: choose another format, or a smaller size"
        )


def _formats(path: Path) -> list[str]:
    return [*_ENDINGS, *(["TGA"] if path.suffix.lower() in _TARGA else [])]


def orientation_of(opened: Image.Image) -> Orientation:
    """How a picture lies, as its EXIF says."""
    return noted_orientation(opened.getexif().get(_ORIENTATION, 1))


def scale_key(opened: Image.Image, header: PngHeader) -> None:
    """Bring the transparent key of a grey PNG of 2 or 4 bits to the levels to which Pillow scales its pixels."""
    opened.load()
    key, white = opened.info.get("transparency"), 2**header.bit_depth - 1
    if header.colour_type == 0 and 1 < header.bit_depth < 8 and isinstance(key, int) and key <= white:
        opened.info["transparency"] = key * 255 // white


def refuse_deep_colours(opened: Image.Image, path: Path) -> None:
    """RequestError for JPEG 2000 in colours, or with alpha, of more than 8 bits: Pillow makes black of its white."""
    if opened.format == "JPEG2000" and not opened.mode.startswith("I") and (bits := _jpeg2000_bits(path)) > 8:
        raise RequestError(
            f"{path} is JPEG 2000 in colours of {bits} bits, which is not read: convert it to a PNG of 16 bits"
        )


def _jpeg2000_bits(path: Path) -> int:
    """Bits of the deepest component, by the marker SIZ of the codestream (ISO/IEC 15444-1, A.5.1)."""
    data = read_bytes(path)
    start = data.index(b"\xff\x4f\xff\x51") + 4  # where SIZ says its own length
    (num_components,) = struct.unpack_from(">H", data, start + 36)
    return max((depth & 0x7F) + 1 for depth in data[start + 38 : start + 38 + 3 * num_components : 3])


def rgb_of(picture: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of any mode as RGB. RequestError if nothing says which of its values is white."""
    if picture.mode.startswith("I"):
        samples = np.asarray(picture)
        if samples.min() < 0 or samples.max() > 65535:
            raise RequestError(f"{name} has 32-bit samples, and nothing says which is white: convert it to 8 bits")
        return spread_grey(eight_bit(samples))
    if picture.mode == "F":
        raise RequestError(f"{name} has floating-point samples, and nothing says which is white: convert it to 8 bits")
    if picture.mode == "1" and (key := picture.info.get("transparency")) is not None:
        samples = np.asarray(picture)  # Pillow before 12 calls white 1 in the key and 255 in what it compares with it
        return spread_grey(np.where(samples == bool(key), 0, samples * np.uint8(255)).astype(np.uint8))
    if picture.has_transparency_data:
        return over_black(np.array(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))

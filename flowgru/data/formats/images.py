"""Pictures from files, always as 8-bit RGB or as RGB in [0, 1].

Every kind of picture becomes plain RGB by one rule, whatever its depth: grey and palette are spread over three channels,
transparent pixels are laid over black, 16-bit samples are divided by 257 and rounded, and the turn that a camera noted
(EXIF, TIFF) is applied; of an SGI picture of 16 bits Pillow gives the upper 8. Floating-point pictures are refused, because
nothing says which value is white.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from torch import Tensor

from flowgru.data.formats.pillow import (
    opened_by_pillow,
    orientation_of,
    readable,
    refuse_deep_colours,
    require_jpeg_size,
    rgb_of,
    scale_key,
)
from flowgru.data.formats.samples import eight_bit, spread_grey
from flowgru.data.formats.sixteen_bit import may_be_turned, png_header, read_16_bit_png
from flowgru.data.formats.tiff import TiffPage, is_tiff, read_tiff_page, tiff_pages
from flowgru.errors import InputFileError, RequestError, size_text
from flowgru.files.atomic import atomic_write
from flowgru.files.bounded import MAX_PIXELS, check_length, check_size, read_bytes
from flowgru.types import Images, Levels

_WRITTEN_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".ppm": "PPM", ".bmp": "BMP", ".tif": "TIFF"}


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture file as 8-bit RGB.

    InputFileError if the file is missing, damaged, truncated, of an unknown kind, holds more than one picture, or claims
    more than max_pixels (Pillow's own limit of 178 956 970 holds as well).
    """
    path = Path(path)
    with readable(path):
        _refuse_several(path)
        if is_tiff(read_bytes(path, 4)):
            return _tiff_picture(path, tiff_pages(path)[0], max_pixels)
        with opened_by_pillow(path, max_pixels) as opened:
            if opened.format == "PNG":
                header = png_header(read_bytes(path, 26), path)
                if header.bit_depth == 16:
                    return np.ascontiguousarray(orientation_of(opened).upright(read_16_bit_png(path)))
                scale_key(opened, header)
            refuse_deep_colours(opened, path)
            if opened.format == "TGA" and not read_bytes(path, 18)[17] & 0b1111:
                # It has no bits of alpha; Pillow says RGBA all the same.
                return rgb_of(opened.convert("RGB"), str(path))
            return rgb_of(ImageOps.exif_transpose(opened), str(path))


def num_pictures(path: str | Path) -> int:
    """How many pictures follow each other in a file: frames of an animation, or pages of a TIFF; 0 if it is unreadable."""
    path = Path(path)
    try:
        with readable(path):
            if is_tiff(read_bytes(path, 4)):
                return len(tiff_pages(path))
            with opened_by_pillow(path, MAX_PIXELS) as opened:
                if opened.format == "MPO":  # the further pictures of a camera's JPEG are views or sizes of the first
                    return 1
                # The default image of a PNG is for viewers that cannot show its animation.
                return getattr(opened, "n_frames", 1) - bool(opened.info.get("default_image"))
    except (InputFileError, MemoryError):
        return 0


def read_pages(
    path: str | Path, start: int = 1, end: int | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The pages of a TIFF, one after the other, each as read_image gives a picture.

    start and end number the first and the last page wanted, from 1. InputFileError as of read_image, after the pages
    that came before.
    """
    path = Path(path)
    with readable(path):
        pages = tiff_pages(path)[start - 1 : end]
    for page in pages:
        with readable(path):
            picture = _tiff_picture(path, page, max_pixels)
        yield picture


def image_size(path: str | Path) -> tuple[int, int]:
    """The width and height that read_image gives, as the file's header claims; the picture is not decoded.

    InputFileError if there is no readable file, it holds more than one picture, or a PNG or an 8-bit PPM is shorter than
    its header says.
    """
    path = Path(path)
    with readable(path):
        _refuse_several(path)
        if is_tiff(read_bytes(path, 4)):
            page = tiff_pages(path)[0]
            (width, height), transposed = page.size, page.orientation.transposed
            check_size(path, width, height)
            return (height, width) if transposed else (width, height)
        with opened_by_pillow(path, MAX_PIXELS) as opened:
            width, height = opened.size
            if _says_its_length(opened):
                needed = opened.tile[0][2] + width * height * len(opened.mode)
                if path.stat().st_size < needed:
                    check_length(path, path.stat().st_size, needed, f"a PPM of {size_text((height, width))}")
            if opened.format == "PNG" and not may_be_turned(path):
                return width, height  # Pillow would decode the picture to say so
            return (height, width) if orientation_of(opened).transposed else (width, height)


def whole_size(path: str | Path) -> tuple[int, int]:
    """As image_size, of a picture that is there to its end: where no header says how long the file is, it is decoded.

    InputFileError where it is not.
    """
    path = Path(path)
    size = image_size(path)
    with readable(path):
        is_long = not is_tiff(read_bytes(path, 4))
        if is_long:
            with opened_by_pillow(path, MAX_PIXELS) as opened:
                is_long = opened.format == "PNG" or _says_its_length(opened)
    if not is_long:
        read_image(path)
    return size


def _says_its_length(opened: ImageFile) -> bool:
    """Whether a picture is a PPM of 8 bits, of which every pixel has as many bytes as it has samples."""
    raw = bool(opened.tile) and opened.tile[0][0] == "raw"
    return opened.format == "PPM" and opened.mode in ("L", "RGB") and raw


def _refuse_several(path: Path) -> None:
    if (num := num_pictures(path)) > 1:
        kind = f"holds {num} pages" if is_tiff(read_bytes(path, 4)) else f"is an animation of {num} pictures"
        raise InputFileError(
            f"{path} {kind}: give it to `flowgru estimate` by itself, or split it into single pictures"
        )


def _tiff_picture(path: Path, page: TiffPage, max_pixels: int) -> UInt8[np.ndarray, "H W 3"]:
    """A page of a TIFF, upright."""
    stored = read_tiff_page(page, path, max_pixels)
    if stored is None:
        with opened_by_pillow(path, max_pixels) as opened:
            opened.seek(page.number)
            if page.bits != {12}:
                return rgb_of(ImageOps.exif_transpose(opened), str(path))
            return spread_grey(eight_bit(np.asarray(opened), white=4095))
    return np.ascontiguousarray(page.orientation.upright(stored))


def write_image(path: str | Path, rgb: UInt8[np.ndarray, "H W 3"], overwrite: bool = False) -> None:
    """Write 8-bit RGB in the format that the suffix names: .png, .ppm, .bmp and .tif are exact, .jpg has quality 95.

    RequestError for another suffix, for more than a JPEG holds, or if `path` exists without `overwrite`; MachineError if
    the disk refuses.
    """
    path = Path(path)
    picture_format = written_format(path)
    if picture_format == "JPEG":
        require_jpeg_size(path, rgb)
    with atomic_write(path, overwrite) as temporary:
        Image.fromarray(rgb).save(temporary, format=picture_format, quality=95)


def written_format(path: Path) -> str:
    """Pillow's name of the format that a picture's suffix names. RequestError for one that is not written."""
    picture_format = _WRITTEN_FORMATS.get(path.suffix.lower())
    if picture_format is None:
        raise RequestError(f"cannot write a picture to {path}: the suffix must be one of {', '.join(_WRITTEN_FORMATS)}")
    return picture_format


def jpeg_bytes(rgb: UInt8[np.ndarray, "H W 3"], quality: int = 85) -> bytes:
    """8-bit RGB as the content of a JPEG file."""
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, format="JPEG", quality=quality)
    return content.getvalue()


def level_tensor(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H W"]:
    """8-bit RGB, the channels first; it shares the memory of an array that may be written to."""
    # What is read-only, as np.asarray of a picture is, torch takes with a warning only.
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)


def in_unit_range(levels: UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """8-bit levels as numbers in [0, 1], in plain order, to the same bit on every device."""
    # A GPU would multiply by the rounded 1 / 255 if it were given a plain number.
    return levels.contiguous().float() / torch.full((), 255.0, device=levels.device)


def as_images(pictures: Images | Levels) -> Images:
    """Pictures in [0, 1] or in 8 bits as pictures in [0, 1], on the device that they are on."""
    return in_unit_range(pictures) if pictures.dtype == torch.uint8 else pictures


def encoded_png(rgb: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """8-bit RGB as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, format="PNG", optimize=True)
    return file.getvalue()


def to_tensor(image: UInt8[np.ndarray, "H W 3"]) -> Float32[Tensor, "3 H W"]:
    """8-bit RGB as RGB in [0, 1]; what else a caller may have is read by flowgru.data.formats.picture_kinds."""
    return in_unit_range(level_tensor(image))


def to_levels(picture: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture in [0, 1], or in 8 bits, as 8-bit RGB: the way back from to_tensor and from level_tensor."""
    if picture.dtype == torch.uint8:
        return picture.permute(1, 2, 0).contiguous().cpu().numpy()
    return (picture.detach() * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()

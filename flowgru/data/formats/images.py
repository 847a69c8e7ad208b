"""Pictures from files, arrays and tensors, always as 8-bit RGB or as RGB in [0, 1].

Every kind of picture becomes plain RGB by one rule: grey and palette are spread over three channels, transparent pixels
are laid over black, 16-bit samples are divided by 257 and rounded, and the turn that a camera noted (EXIF) is applied.
Floating-point pictures are refused, because nothing says which value is white.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, check_png_end, decode_16_bit, png_header
from flowgru.errors import InputFileError, RequestError, one_line
from flowgru.files.atomic import written_whole
from flowgru.files.bounded import MAX_PIXELS, check_length, check_size, read_bytes

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".tif", ".tiff", ".webp")
_WRITTEN_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".ppm": "PPM", ".bmp": "BMP", ".tif": "TIFF"}
# Named, because Pillow's other formats include some that start outside programs.
_READ_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
# Tag numbers of TIFF and EXIF.
_ORIENTATION, _BITS_PER_SAMPLE = 274, 258
# Values of the orientation by which width and height change places.
_QUARTER_TURNS = (5, 6, 7, 8)


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture file as 8-bit RGB.

    InputFileError if the file is missing, damaged, truncated, of an unknown kind, or claims more than max_pixels
    (Pillow's own limit of 178 956 970 holds as well).
    """
    path = Path(path)
    start = read_bytes(path, 26)
    sixteen_bit = False
    if start.startswith(PNG_SIGNATURE):
        header = png_header(start, path)
        check_size(path, header.width, header.height, max_pixels)
        sixteen_bit = header.bit_depth == 16
    try:
        with Image.open(path, formats=_READ_FORMATS) as opened:
            check_size(path, opened.width, opened.height, max_pixels)
            if opened.format in ("PNG", "WEBP", "GIF") and getattr(opened, "is_animated", False):
                raise InputFileError(f"{path} is an animation: convert it to a video or to single pictures")
            picture = opened
            if sixteen_bit or (opened.format == "TIFF" and np.max(opened.getexif().get(_BITS_PER_SAMPLE, 1)) == 16):
                picture = Image.fromarray(_eight_bit(decode_16_bit(read_bytes(path), path)))
                picture.getexif()[_ORIENTATION] = opened.getexif().get(_ORIENTATION, 1)
            return _rgb(ImageOps.exif_transpose(picture), str(path))
    except (InputFileError, MemoryError):
        raise
    except RequestError as error:
        raise InputFileError(str(error)) from error
    # On damaged bytes Pillow's decoders raise nearly anything, from SyntaxError to struct.error.
    except Exception as error:
        tiff = start[:4] in _TIFF_SIGNATURES
        kinds = "a TIFF of 8 or 16 bits, not floating-point" if tiff else ", ".join(_READ_FORMATS)
        raise InputFileError(f"{path} cannot be read as a picture ({one_line(error)}): expected {kinds}") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """The width and height that read_image gives, as the file's header claims; the picture is not decoded.

    InputFileError if there is no readable file, or a PNG or an 8-bit PPM is shorter than its header says.
    """
    path = Path(path)
    read_bytes(path, 1)
    try:
        with Image.open(path, formats=_READ_FORMATS) as opened:
            width, height = opened.size
            check_size(path, width, height)
            if opened.format == "PNG":
                check_png_end(path)
            if opened.format == "PPM" and opened.mode in ("L", "RGB") and opened.tile and opened.tile[0][0] == "raw":
                needed = opened.tile[0][2] + width * height * len(opened.mode)
                if path.stat().st_size < needed:
                    check_length(path, path.stat().st_size, needed, f"a PPM of {width}x{height}")
            # Pillow would decode a PNG to find its turn, and cameras write none.
            turned = opened.format != "PNG" and opened.getexif().get(_ORIENTATION, 1) in _QUARTER_TURNS
            return (height, width) if turned else (width, height)
    except InputFileError:
        raise
    except Exception as error:  # as in read_image
        raise InputFileError(f"{path} cannot be read as a picture ({one_line(error)})") from error


def write_image(path: str | Path, rgb: UInt8[np.ndarray, "H W 3"], overwrite: bool = False) -> None:
    """Write 8-bit RGB in the format that the suffix names: .png, .ppm, .bmp and .tif are exact, .jpg has quality 95.

    RequestError for another suffix, or if `path` exists without `overwrite`; MachineError if the disk refuses.
    """
    path = Path(path)
    picture_format = _WRITTEN_FORMATS.get(path.suffix.lower())
    if picture_format is None:
        raise RequestError(f"cannot write a picture to {path}: the suffix must be one of {', '.join(_WRITTEN_FORMATS)}")
    with written_whole(path, overwrite) as temporary:
        Image.fromarray(rgb).save(temporary, format=picture_format, quality=95)


def to_tensor(image: object) -> Float32[Tensor, "3 H W"]:
    """Turn a picture of the Python interface into RGB in [0, 1], on the device it is on.

    image: uint8 array [H, W, 3]; PIL picture (as it stands: a noted turn is not applied); or float tensor [3, H, W] in
    [0, 1]. RequestError for anything else, naming the first value that is not finite or out of range.
    """
    if isinstance(image, Image.Image):
        image = _rgb(image, "the picture")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise RequestError(f"the picture is an array {image.dtype} {list(image.shape)}: expected uint8 [H, W, 3]")
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous().float() / 255
    if not isinstance(image, Tensor):
        kinds = "a uint8 array [H, W, 3], a PIL picture or a tensor [3, H, W]"
        raise RequestError(f"the picture is a {type(image).__name__}: expected {kinds}")
    if not image.is_floating_point() or image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
        found = f"{str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
        raise RequestError(f"the picture is a tensor {found}: expected float [3, H, W] with values in [0, 1]")
    pixels = image.float()
    lowest, highest = (bound.item() for bound in torch.aminmax(pixels))
    # Resizing in float32 may pass the ends by a rounding error, which is not a wrong range.
    rounding = 1e-6
    if -rounding <= lowest and highest <= 1 + rounding:
        return pixels.clamp(0, 1)
    finite = torch.isfinite(pixels)
    good = finite & (pixels >= -rounding) & (pixels <= 1 + rounding)
    index = (~good).nonzero()[0].tolist()
    found = f"{pixels[tuple(index)].item():g} at index {index}"
    if not finite.all():
        num_bad = int((~finite).sum())
        raise RequestError(f"the picture holds {found} ({num_bad} values are not finite): expected values in [0, 1]")
    hint = ": divide by 255" if lowest >= 0 and highest <= 255 else ""
    raise RequestError(f"the picture has values in [{lowest:g}, {highest:g}], {found}: expected [0, 1]{hint}")


def to_levels(picture: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture in [0, 1] as 8-bit RGB: the way back from to_tensor."""
    return (picture.detach() * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def over_black(rgba: UInt8[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 3"]:
    """Lay a transparent picture over black, as a viewer without a background shows it."""
    return _divide(rgba[..., :3].astype(np.uint32) * rgba[..., 3:], 255)


def _divide(samples: np.ndarray, divisor: int) -> np.ndarray:
    """Integer division, rounded to the nearest, to 8 bits."""
    return ((samples.astype(np.uint32) + divisor // 2) // divisor).astype(np.uint8)


def _eight_bit(samples: Shaped[np.ndarray, "H W *channels"]) -> UInt8[np.ndarray, "H W 3"]:
    """16-bit grey, RGB or RGBA as 8-bit RGB."""
    eight_bit = _divide(samples, 257)
    if eight_bit.ndim == 2:
        return np.repeat(eight_bit[..., None], 3, axis=2)
    return over_black(eight_bit) if eight_bit.shape[2] == 4 else eight_bit


def _rgb(picture: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of any mode as RGB. RequestError if nothing says which of its values is white."""
    if picture.mode.startswith("I"):
        samples = np.asarray(picture)
        if samples.min() < 0 or samples.max() > 65535:
            raise RequestError(f"{name} has 32-bit samples, and nothing says which is white: convert it to 8 bits")
        return _eight_bit(samples)
    if picture.mode == "F":
        raise RequestError(f"{name} has floating-point samples, and nothing says which is white: convert it to 8 bits")
    if picture.has_transparency_data:
        return over_black(np.array(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))

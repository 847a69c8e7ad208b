"""TIFF pictures of 16 bits, or with further samples beside the colour, read as their tags say.

Pillow cuts 16 bits to 8, and OpenCV goes by few of the tags. So the compressed strips or tiles are taken out as they are
and given back to Pillow as a grey picture, one sample beside the other; what the samples mean is settled here.
"""

import io
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from flowgru.data.formats.orientation import Orientation, noted_orientation
from flowgru.data.formats.samples import eight_bit, over_black, spread_grey
from flowgru.errors import InputFileError
from flowgru.files.bounded import check_size

# Numbers of tags.
_ORIENTATION, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = (
    274,
    254,
    256,
    257,
    258,
    259,
    262,
    266,
)
_NUM_SAMPLES, _ROWS_PER_STRIP, _PLANAR, _PREDICTOR = 277, 278, 284, 317
_STRIPS, _TILES = (273, 279), (324, 325)  # (offsets, byte counts)
_TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 322, 323, 338, 339

_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Samples of the colour by the tag Photometric: grey with white as zero, grey, RGB, CMYK."""
_SIGNED = 2
"""The value of the tag SampleFormat for signed integers."""
_WITHOUT_PREDICTOR = (1, 32773)
"""Compressions in which the tag Predictor says nothing: none, PackBits."""
_COPIED = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that keep bytes as they are: none, LZW, Deflate, PackBits, Deflate again, LZMA, Zstandard."""
_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Values of the tag ExtraSamples: colours that are multiplied with alpha already, and those that are not."""
_MOST_SAMPLES = 4
"""A picture may hold as many samples as one of max_pixels with so many a pixel."""


class TiffPage(NamedTuple):
    """One page of a TIFF that is a picture of its own."""

    number: int
    """Its place in the file, from 0, small copies and masks of other pages counted."""
    tags: Any
    """Pillow's ImageFileDirectory_v2, a mapping from the numbers of the tags to their values."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they are stored, before any turn."""
        return int(self.tags[_WIDTH]), int(self.tags[_HEIGHT])

    @property
    def bits(self) -> set[int]:
        """Bits of the samples, which may differ from sample to sample."""
        return {int(depth) for depth in _listed(self.tags.get(_BITS, 1))}

    @property
    def orientation(self) -> Orientation:
        """How the picture lies."""
        return noted_orientation(self.tags.get(_ORIENTATION, 1))


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF, or a BigTIFF."""
    return start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def tiff_pages(path: Path) -> list[TiffPage]:
    """The pages of a TIFF, without those that say that they are a small copy or a mask of another page.

    Damaged bytes raise nearly anything.
    """
    pages, seen = [], set()
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(8) if 43 in start[2:4] else b""  # a BigTIFF
        tags = ImageFileDirectory_v2(start)
        while (place := tags.next) and place not in seen:
            seen.add(place)
            file.seek(place)
            tags = ImageFileDirectory_v2(start)
            tags.load(file)
            pages.append(TiffPage(len(pages), tags))
    return [page for page in pages if not int(page.tags.get(_SUBFILE, 0)) & 0b101] or pages[:1]


def read_tiff_page(page: TiffPage, path: Path, max_pixels: int) -> UInt8[np.ndarray, "H W 3"] | None:
    """A page as 8-bit RGB as it is stored, before any turn; None where Pillow itself reads it rightly.

    InputFileError for samples of 16 bits that nothing says the meaning of, and for damaged data.
    """
    tags = page.tags
    check_size(path, *page.size, max_pixels)
    bits = page.bits
    photometric, compression = tags.get(_PHOTOMETRIC, 1), tags.get(_COMPRESSION, 1)
    num_samples, num_colours = int(tags.get(_NUM_SAMPLES, 1)), _COLOURS.get(photometric, 0)
    readable = 0 < num_colours <= num_samples and compression in _COPIED
    meaning = {*_listed(tags.get(_SAMPLE_FORMAT, 1))}
    if bits == {32} and meaning <= {1, _SIGNED}:
        raise InputFileError(f"{path} has 32-bit samples, and nothing says which is white: convert it to 8 bits")
    if bits != {16} and not (bits == {8} and (_SIGNED in meaning or (readable and num_samples > num_colours))):
        return None
    if meaning != {1}:
        raise InputFileError(
            f"{path} has signed or floating-point samples, and nothing says which is white: convert it"
        )
    if not readable:
        kind = f"photometric {photometric}, {num_samples} samples, compression {compression}"
        raise InputFileError(f"{path} is a 16-bit TIFF of a kind that is not read ({kind}): convert it to 8 bits")
    alpha = _alpha(tags, num_samples, num_colours)
    wanted = [*range(num_colours), *([] if alpha is None else [alpha.sample])]
    levels = eight_bit(_Stored(page, bits.pop(), num_samples).read(path, wanted, max_pixels))
    colour = _rgb(levels[..., :num_colours], photometric)
    if alpha is not None and not alpha.associated:
        return over_black(np.dstack([colour, levels[..., -1]]))
    return colour


class _Alpha(NamedTuple):
    sample: int
    associated: bool


def _alpha(tags: Any, num_samples: int, num_colours: int) -> _Alpha | None:
    """Which sample is alpha, if one is. A fourth sample of RGB that no tag explains is taken for one, as Pillow does."""
    kinds = _listed(tags.get(_EXTRA_SAMPLES, ()))
    if not kinds and (num_samples, num_colours) == (4, 3):
        return _Alpha(3, associated=False)
    for place, kind in enumerate(kinds[: num_samples - num_colours]):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            return _Alpha(num_colours + place, kind == _ASSOCIATED)
    return None


def _rgb(levels: UInt8[np.ndarray, "H W C"], photometric: int) -> UInt8[np.ndarray, "H W 3"]:
    if photometric == 5:
        height, width = levels.shape[:2]
        return np.array(Image.frombytes("CMYK", (width, height), levels.tobytes()).convert("RGB"))
    if photometric == 2:
        return levels
    return spread_grey(255 - levels[..., 0] if photometric == 0 else levels[..., 0])


class _Stored:
    """How the samples of a page lie in the file."""

    def __init__(self, page: TiffPage, bits: int, num_samples: int) -> None:
        self.tags = tags = page.tags
        self.bits = bits
        self.width, self.height = page.size
        self.num_samples = num_samples
        self.planar = tags.get(_PLANAR, 1) == 2
        self.tiled = _TILES[0] in tags
        self.offsets, self.counts = (_listed(tags.get(tag, ())) for tag in (_TILES if self.tiled else _STRIPS))

    def read(self, path: Path, wanted: list[int], max_pixels: int) -> Shaped[np.ndarray, "H W C"]:
        """The wanted samples of every pixel. InputFileError where the file does not hold what its tags say."""
        held = len(wanted) if self.planar else self.num_samples
        if self.width * self.height * held > _MOST_SAMPLES * max_pixels:
            raise InputFileError(f"{path} claims {self.num_samples} samples a pixel: too many for {max_pixels} pixels")
        pieces = self._pieces(path)
        if not self.planar:
            return self._undifferenced(self._decoded(pieces, self.num_samples))[..., wanted]
        num_pieces = len(pieces) // self.num_samples
        planes = [pieces[sample * num_pieces : (sample + 1) * num_pieces] for sample in wanted]
        return np.concatenate([self._decoded(plane, 1) for plane in planes], axis=2)

    def _pieces(self, path: Path) -> list[bytes]:
        """The compressed strips or tiles in their order."""
        size = path.stat().st_size
        counts = self.counts or [size - offset for offset in self.offsets[:1]]  # a single strip needs no count
        if not self.offsets or len(counts) != len(self.offsets) or sum(counts) > size:
            raise InputFileError(f"{path} is a damaged TIFF: its list of strips does not fit the file")
        with path.open("rb") as file:
            pieces = []
            for offset, count in zip(self.offsets, counts, strict=True):
                file.seek(offset)
                pieces.append(file.read(count))
        if any(len(piece) != count for piece, count in zip(pieces, counts, strict=True)):
            raise InputFileError(f"{path} is truncated: its strips need bytes beyond its end, at {size}")
        return pieces

    def _decoded(self, pieces: list[bytes], samples_a_pixel: int) -> np.ndarray:
        """[H, W, samples_a_pixel], read as a grey picture that is so many times as wide."""
        grey = self._grey_tiff(pieces, samples_a_pixel)
        # Image.open would refuse the width of what is no picture of its own.
        with TiffImageFile(io.BytesIO(grey)) as opened:
            samples = np.asarray(opened)
        return samples.astype(np.uint8 if self.bits == 8 else np.uint16).reshape(self.height, self.width, -1)

    def _grey_tiff(self, pieces: list[bytes], samples_a_pixel: int) -> bytes:
        """A TIFF file of the pieces, which says that they are one grey picture."""
        tags = self.tags
        entries = {
            _WIDTH: [self.width * samples_a_pixel],
            _HEIGHT: [self.height],
            _BITS: [self.bits],
            _COMPRESSION: [tags.get(_COMPRESSION, 1)],
            _PHOTOMETRIC: [1],
            _FILL_ORDER: [tags.get(_FILL_ORDER, 1)],
            _NUM_SAMPLES: [1],
            # The differences of interleaved samples are undone afterwards, see _undifferenced.
            _PREDICTOR: [tags.get(_PREDICTOR, 1) if samples_a_pixel == 1 else 1],
        }
        if self.tiled:
            entries |= {_TILE_WIDTH: [tags[_TILE_WIDTH] * samples_a_pixel], _TILE_HEIGHT: [tags[_TILE_HEIGHT]]}
        else:
            entries[_ROWS_PER_STRIP] = [min(tags.get(_ROWS_PER_STRIP, self.height), self.height)]
        offsets = np.cumsum([8, *map(len, pieces)]).tolist()
        place, count = _TILES if self.tiled else _STRIPS
        entries |= {place: offsets[:-1], count: [len(piece) for piece in pieces]}
        return _tiff_file(b"".join(pieces), entries, "<" if tags.prefix == b"II" else ">")

    def _undifferenced(self, samples: np.ndarray) -> np.ndarray:
        """Samples that are stored as differences from the pixel to the left, by rows of strips or tiles, added up."""
        means_nothing = self.tags.get(_COMPRESSION, 1) in _WITHOUT_PREDICTOR
        if self.tags.get(_PREDICTOR, 1) != 2 or self.num_samples == 1 or means_nothing:
            return samples
        columns = int(self.tags[_TILE_WIDTH]) if self.tiled else self.width
        parts = [samples[:, left : left + columns] for left in range(0, self.width, columns)]
        return np.concatenate([part.cumsum(axis=1, dtype=samples.dtype) for part in parts], axis=1)


def _tiff_file(data: bytes, entries: dict[int, list[int]], order: str) -> bytes:
    """A TIFF of one page: header, data from byte 8 on, then the directory with all values as 32-bit numbers."""
    data += bytes(len(data) % 2)
    outside = 8 + len(data) + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = outside + len(values)
            values, packed = values + packed, struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return header + data + directory + bytes(4) + values


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]

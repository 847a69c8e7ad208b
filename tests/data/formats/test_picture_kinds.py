"""Pictures of 16 bits are what their twins of 8 bits are, whatever way their format lays the samples out."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from media import upright
from PIL import Image

from flowgru.data.formats.images import image_size, num_pictures, read_image, read_pages, to_tensor, write_image
from flowgru.errors import InputFileError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (37, 53, 3), np.uint8)
GREY = COLOUR[..., 0]
ALPHA = RANDOM.integers(0, 256, (37, 53), np.uint8)
MORE = RANDOM.integers(0, 256, (37, 53), np.uint8)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def over_black(rgb: np.ndarray) -> np.ndarray:
    return np.floor(rgb.astype(np.float64) * ALPHA[..., None] / 255 + 0.5).astype(np.uint8)


TURNED = upright(COLOUR)

TIFFS: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    # name: (8-bit samples, how tifffile writes them, the picture)
    "grey": (GREY, {"photometric": "minisblack"}, grey_rgb(GREY)),
    "white is zero": (GREY, {"photometric": "miniswhite"}, grey_rgb(255 - GREY)),
    "colour": (COLOUR, {"photometric": "rgb"}, COLOUR),
    "planar": (COLOUR.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, COLOUR),
    "alpha": (
        np.dstack([COLOUR, ALPHA]),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        over_black(COLOUR),
    ),
    "associated alpha": (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["assocalpha"]}, COLOUR),
    "unspecified": (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unspecified"]}, COLOUR),
    "alpha after another": (
        np.dstack([COLOUR, MORE, ALPHA]),
        {"photometric": "rgb", "extrasamples": ["unspecified", "unassalpha"]},
        over_black(COLOUR),
    ),
    "planar with alpha": (
        np.stack([*COLOUR.transpose(2, 0, 1), ALPHA]),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
        over_black(COLOUR),
    ),
    "grey with alpha": (
        np.dstack([GREY, ALPHA]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
        over_black(grey_rgb(GREY)),
    ),
    "grey with associated alpha": (
        np.dstack([GREY, ALPHA]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["assocalpha"]},
        grey_rgb(GREY),
    ),
    "grey with another": (
        np.dstack([GREY, MORE]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unspecified"]},
        grey_rgb(GREY),
    ),
    "white is zero with alpha": (
        np.dstack([GREY, ALPHA]),
        {"photometric": "miniswhite", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
        over_black(grey_rgb(255 - GREY)),
    ),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 32)},
    "deflated": {"compression": "zlib", "rowsperstrip": 8},
    "differences": {"compression": "zlib", "predictor": 2, "rowsperstrip": 8},
    "tiles of differences": {"compression": "zlib", "predictor": 2, "tile": (16, 32)},
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_is_read_as_its_tags_say(tmp_path: Path, kind: str, bits: int) -> None:
    samples, options, expected = TIFFS[kind]
    samples = samples if bits == 8 else samples.astype(np.uint16) * 257
    for layout, more in LAYOUTS.items():
        for order, big in (("<", False), (">", False), ("<", True)):
            path = tmp_path / "a.tif"
            with tifffile.TiffWriter(path, byteorder=order, bigtiff=big) as file:  # pyright: ignore[reportArgumentType]
                file.write(samples, metadata=None, **options, **more)
            np.testing.assert_array_equal(read_image(path), expected, err_msg=f"{layout} {order} {big}")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_turned_tiff_has_the_size_of_its_upright_picture(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.tif"
    samples = COLOUR if bits == 8 else COLOUR.astype(np.uint16) * 257
    for orientation, expected in TURNED.items():
        tifffile.imwrite(path, samples, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], metadata=None)
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[1::-1]


@pytest.mark.parametrize("name", ["png", "jpg", "webp", "tif"])
def test_a_turned_picture_has_the_size_of_its_upright_one(tmp_path: Path, name: str) -> None:
    for orientation, expected in TURNED.items():
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(COLOUR).save(tmp_path / f"a.{name}", exif=exif)
        assert image_size(tmp_path / f"a.{name}") == read_image(tmp_path / f"a.{name}").shape[1::-1]
        assert image_size(tmp_path / f"a.{name}") == expected.shape[1::-1]


def test_sixteen_bits_of_inks_and_twelve_of_grey(tmp_path: Path) -> None:
    inks = np.dstack([COLOUR, ALPHA])
    tifffile.imwrite(tmp_path / "a.tif", inks.astype(np.uint16) * 257, photometric="separated")
    tifffile.imwrite(tmp_path / "b.tif", inks, photometric="separated")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), read_image(tmp_path / "b.tif"))
    # Four samples of 12 bits, two in each row of three bytes: 0xFFF, 0, 0x800 and 0x111.
    tags = {256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: 6}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = b"II*\0" + struct.pack("<I", 14) + bytes.fromhex("fff000800111")
    (tmp_path / "c.tif").write_bytes(start + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert read_image(tmp_path / "c.tif")[..., 0].tolist() == [[255, 0], [128, 17]]


@pytest.mark.parametrize(
    ("samples", "options", "said"),
    [
        (GREY.astype(np.int16), {}, "signed or floating-point samples"),
        (GREY.astype(np.float16), {}, "signed or floating-point samples"),
        (COLOUR.astype(np.uint16), {"photometric": "cielab"}, "16-bit TIFF of a kind that is not read"),
    ],
)
def test_sixteen_bits_without_a_meaning_are_refused(
    tmp_path: Path, samples: np.ndarray, options: dict[str, Any], said: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", samples, **options)
    with pytest.raises(InputFileError, match=said):
        read_image(tmp_path / "a.tif")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_sixteen_bit_tiff_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLOUR.astype(np.uint16), photometric="rgb", rowsperstrip=4, compression="zlib")
    original = path.read_bytes()
    for seed in range(100):
        random = np.random.default_rng(seed)
        data = bytearray(original[: random.integers(8, len(original) + 1)] if seed % 2 else original)
        for position in random.integers(0, min(len(data), 600), 4):
            data[position] = random.integers(0, 256)
        path.write_bytes(data)
        for read in (read_image, image_size):
            try:
                read(path)
            except InputFileError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("ending", ["jfif", "jpe", "jp2", "tga", "avif", "gif", "pcx", "qoi", "sgi", "dib"])
def test_what_an_ordinary_library_reads_is_read(tmp_path: Path, ending: str) -> None:
    name = f"a.{ending}"
    smooth = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    Image.fromarray(smooth).save(tmp_path / name, {"jfif": "JPEG", "jpe": "JPEG", "dib": "DIB"}.get(ending))
    assert np.abs(read_image(tmp_path / name).astype(int) - smooth).max() < 12
    assert image_size(tmp_path / name) == (64, 48)


def test_pages_of_a_tiff_are_counted_without_small_copies(tmp_path: Path) -> None:
    deep = COLOUR.astype(np.uint16) * 257
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (COLOUR, deep, COLOUR[::2, ::2], COLOUR[::-1]):
            kind = int(page.shape != COLOUR.shape)
            file.write(np.ascontiguousarray(page), photometric="rgb", metadata=None, subfiletype=kind)
    assert num_pictures(tmp_path / "a.tif") == 3
    for page, expected in zip(read_pages(tmp_path / "a.tif"), (COLOUR, COLOUR, COLOUR[::-1]), strict=True):
        np.testing.assert_array_equal(page, expected)
    [page] = read_pages(tmp_path / "a.tif", start=3, end=3)
    np.testing.assert_array_equal(page, COLOUR[::-1])
    for read in (read_image, image_size):
        with pytest.raises(InputFileError, match="holds 3 pages: give it to `flowgru estimate` by itself"):
            read(tmp_path / "a.tif")


def test_opencv_and_this_reader_agree_on_deep_colour(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    deep = random.integers(0, 65536, (37, 53, 3), np.uint16)
    for name in ("a.png", "a.tif"):
        assert cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
        np.testing.assert_array_equal(read_image(tmp_path / name), np.floor(deep / 257 + 0.5))


@pytest.mark.filterwarnings("error")
def test_a_read_only_array_is_taken_without_a_warning() -> None:
    picture = Image.fromarray(COLOUR)
    stored = np.asarray(picture)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(to_tensor(stored).mul(255).round().permute(1, 2, 0).numpy(), COLOUR)


def test_a_picture_that_is_written_has_one_picture(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "jpg", "bmp", "ppm"):
        write_image(tmp_path / f"a.{suffix}", COLOUR)
        assert num_pictures(tmp_path / f"a.{suffix}") == 1
    assert num_pictures(tmp_path / "none.png") == 0

"""Every kind of picture becomes right 8-bit RGB or is refused in one line; a sequence keeps its order and names."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from media import upright
from PIL import Image

from flowgru.data.formats.grey import write_grey
from flowgru.data.formats.images import read_image, to_levels, to_tensor, write_image
from flowgru.errors import InputFileError, RequestError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
GREY = COLOUR[..., 0]
ALPHA = RANDOM.integers(0, 256, (5, 7), np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7, 3), np.uint16)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def rounded(values: np.ndarray) -> np.ndarray:
    return np.floor(values + 0.5).astype(np.uint8)


def over_black(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return rounded(rgb.astype(np.float64) * alpha[..., None] / 255)


def save_with_pillow(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> None:
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)  # type: ignore[arg-type]


def save_with_opencv(path: Path, array: np.ndarray) -> None:
    channels = {2: ..., 3: (..., [2, 1, 0]), 4: (..., [2, 1, 0, 3])}
    selected = array if array.ndim == 2 else array[channels[array.shape[2]]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(selected))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bit_depth: int, colour_type: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    pieces = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize("suffix", ["png", "ppm", "bmp", "tif"])
def test_exact_formats_give_back_every_pixel(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a.{suffix}", COLOUR)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), COLOUR)


def test_eight_bit_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_with_pillow(path, GREY)
    np.testing.assert_array_equal(read_image(path), grey_rgb(GREY))
    save_with_pillow(path, np.dstack([COLOUR, ALPHA]))
    np.testing.assert_array_equal(read_image(path), over_black(COLOUR, ALPHA))
    save_with_pillow(path, np.dstack([GREY, ALPHA]))
    np.testing.assert_array_equal(read_image(path), over_black(grey_rgb(GREY), ALPHA))
    save_with_pillow(path, GREY > 127)
    np.testing.assert_array_equal(read_image(path), grey_rgb((GREY > 127) * np.uint8(255)))
    palette = Image.fromarray(GREY % 4, "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    colours = np.arange(10, 130, 10, dtype=np.uint8).reshape(4, 3)
    palette.save(path)
    np.testing.assert_array_equal(read_image(path), colours[GREY % 4])
    palette.save(path, transparency=2)
    colours[2] = 0
    np.testing.assert_array_equal(read_image(path), colours[GREY % 4])
    save_with_pillow(tmp_path / "a.tif", COLOUR, "CMYK")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLOUR)
    save_with_pillow(tmp_path / "a.jpg", np.full((16, 16, 3), (200, 100, 50), np.uint8), "CMYK", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save_with_opencv(path, DEEP)
    np.testing.assert_array_equal(read_image(path), rounded(DEEP / 257))
    save_with_opencv(path, DEEP[..., 0])
    np.testing.assert_array_equal(read_image(path), grey_rgb(rounded(DEEP[..., 0] / 257)))
    deep_alpha = DEEP[..., :1][::-1]
    save_with_opencv(path, np.dstack([DEEP, deep_alpha]))
    np.testing.assert_array_equal(read_image(path), over_black(rounded(DEEP / 257), rounded(deep_alpha[..., 0] / 257)))


def test_sixteen_bit_grey_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 257 * 200, 65535, 257 * 100, 0)))
    assert read_image(tmp_path / "a.png").tolist() == [[[200] * 3, [0] * 3]]
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 1\n65535\n" + struct.pack(">2H", 65535, 257 * 7))
    assert read_image(tmp_path / "a.pgm").tolist() == [[[255] * 3, [7] * 3]]


@pytest.mark.parametrize("channels", [3, 4])
def test_deep_colours_of_jpeg_2000_are_refused(tmp_path: Path, channels: int) -> None:
    """Pillow's decoder makes black of their white."""
    white = np.full((64, 64, channels), 65535, np.uint16)
    save_with_opencv(tmp_path / "deep.jp2", white)
    with pytest.raises(InputFileError, match=r"deep\.jp2 is JPEG 2000 in colours of 16 bits, which is not read"):
        read_image(tmp_path / "deep.jp2")
    save_with_opencv(tmp_path / "colour.jp2", (white[..., :3] >> 8).astype(np.uint8))
    save_with_opencv(tmp_path / "grey.jp2", white[..., 0])
    assert (read_image(tmp_path / "colour.jp2") == 255).all() and (read_image(tmp_path / "grey.jp2") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_the_turn_that_a_camera_noted_is_applied(tmp_path: Path, orientation: int, depth: int) -> None:
    turned = upright(COLOUR)[orientation]
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = orientation
    save_with_pillow(path, COLOUR, exif=exif)
    if depth == 16:
        data = path.read_bytes()
        start = data.index(b"eXIf") - 4
        noted = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
        save_with_opencv(path, COLOUR.astype(np.uint16) * 257)
        deep = path.read_bytes()
        path.write_bytes(deep[:33] + noted + deep[33:])
    np.testing.assert_array_equal(read_image(path), turned)


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    save_with_pillow(tmp_path / "grey.tif", GREY.astype(np.float32))
    with pytest.raises(InputFileError, match="floating-point samples"):
        read_image(tmp_path / "grey.tif")
    save_with_opencv(tmp_path / "colour.tif", COLOUR.astype(np.float32))
    with pytest.raises(InputFileError, match="floating-point"):
        read_image(tmp_path / "colour.tif")
    save_with_pillow(tmp_path / "wide.tif", GREY.astype(np.int32) * 100000)
    with pytest.raises(InputFileError, match="32-bit samples"):
        read_image(tmp_path / "wide.tif")


@pytest.mark.parametrize(("bit_depth", "colour_type"), [(8, 2), (16, 2), (1, 0)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_bomb_is_refused_by_its_header(tmp_path: Path, bit_depth: int, colour_type: int) -> None:
    (tmp_path / "a.png").write_bytes(png(40000, 40000, bit_depth, colour_type))
    with pytest.raises(InputFileError, match=r"claims to be 40000x40000 px .*: at most 134217728 pixels are read"):
        read_image(tmp_path / "a.png")
    (tmp_path / "a.ppm").write_bytes(b"P6\n12000 12000\n255\n" + bytes(100))
    with pytest.raises(InputFileError, match=r"claims to be 12000x12000 px .*: at most 134217728 pixels are read"):
        read_image(tmp_path / "a.ppm")
    (tmp_path / "b.ppm").write_bytes(b"P6\n40000 40000\n255\n" + bytes(100))
    with pytest.raises(InputFileError, match="1600000000 pixels"):
        read_image(tmp_path / "b.ppm")
    write_image(tmp_path / "small.png", COLOUR)
    with pytest.raises(InputFileError, match=r"claims to be 5x7 px .*: at most 34 pixels are read"):
        read_image(tmp_path / "small.png", max_pixels=34)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "deep.png", "a.ppm", "a.bmp", "a.tif"])
def test_a_truncated_picture_is_refused(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (40, 40, 3), np.uint8)
    if name == "deep.png":
        save_with_opencv(tmp_path / name, picture.astype(np.uint16) * 257)
    else:
        write_image(tmp_path / name, picture)
    data = (tmp_path / name).read_bytes()
    for length in (10, len(data) // 2, len(data) * 9 // 10):
        (tmp_path / name).write_bytes(data[:length])
        with pytest.raises(InputFileError) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "deep.png", "deep.tif", "a.ppm", "a.bmp", "a.tif", "a.webp", "a.gif"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_bytes_give_a_picture_or_an_input_error(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(1)
    path = tmp_path / name
    if name.startswith("deep"):
        save_with_opencv(path, DEEP)
    else:
        save_with_pillow(path, COLOUR)
    original = path.read_bytes()
    for _ in range(150):
        data = bytearray(original)
        for position in random.integers(0, len(data), random.integers(1, 6)):
            data[position] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            assert read_image(path, max_pixels=10_000).dtype == np.uint8
        except InputFileError as error:
            assert "\n" not in str(error)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    for name, content, message in [
        ("a.png", b"", "cannot be read as a picture"),
        ("b.png", b"<!DOCTYPE html><html>", "cannot be read as a picture"),
        ("c.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read as a picture"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputFileError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(InputFileError, match="No such file"):
        read_image(tmp_path / "none.png")
    frames = [Image.fromarray(np.roll(COLOUR, shift, 1)) for shift in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(InputFileError, match="is an animation"):
        read_image(tmp_path / "moving.webp")


def test_a_picture_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", COLOUR)
    with pytest.raises(RequestError, match="exists already"):
        write_image(tmp_path / "a.png", COLOUR)
    with pytest.raises(RequestError, match="suffix must be one of"):
        write_image(tmp_path / "a.xyz", COLOUR)
    write_image(tmp_path / "a.png", COLOUR[::-1], overwrite=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOUR[::-1])


@pytest.mark.parametrize("shape", [(1, 65501, 3), (65501, 1, 3)])
def test_a_picture_larger_than_a_jpeg_can_be_is_refused_as_that(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    picture = np.zeros(shape, np.uint8)
    for write in (
        lambda: write_image(tmp_path / "a.jpg", picture),
        lambda: write_grey(tmp_path / "a.jpg", picture[..., 0], comment=""),
    ):
        with pytest.raises(RequestError, match="a JPEG holds at most 65500 pixels to each side"):
            write()
    assert not (tmp_path / "a.jpg").exists()
    largest = np.moveaxis(picture[:65500, :65500], np.argmax(shape), 1)
    write_image(tmp_path / "a.jpg", largest)
    assert read_image(tmp_path / "a.jpg").shape == largest.shape


def test_levels_become_a_tensor_and_back() -> None:
    expected = torch.from_numpy(COLOUR.astype(np.float32) / 255).permute(2, 0, 1)
    torch.testing.assert_close(to_tensor(COLOUR), expected, rtol=0, atol=0)
    torch.testing.assert_close(to_tensor(COLOUR[::-1, ::-1]), expected.flip(1, 2), rtol=0, atol=0)
    np.testing.assert_array_equal(to_levels(to_tensor(COLOUR)), COLOUR)


REAL = {
    "Sintel/training/clean/alley_1/frame_0002.png": (436, 1024, 3),
    "KITTI-2012/training/image_0/000027_10.png": (376, 1241, 3),
    "FlyingChairs_release/data/00001_img1.ppm": (384, 512, 3),
}


@pytest.mark.parametrize("name", REAL)
def test_real_pictures_equal_those_of_opencv(data_root: Path, name: str) -> None:
    if not (data_root / name).is_file():
        pytest.skip(f"{data_root / name} is absent")
    expected = cv2.imread(str(data_root / name), cv2.IMREAD_COLOR)
    assert expected is not None
    assert expected.shape == REAL[name]
    np.testing.assert_array_equal(read_image(data_root / name), expected[..., ::-1])


def test_pillow_would_not_hide_a_deep_picture() -> None:
    """Why 16-bit colour goes through OpenCV: Pillow gives 8 bits and says nothing."""
    encoded = io.BytesIO(cv2.imencode(".png", DEEP)[1].tobytes())
    assert np.asarray(Image.open(encoded)).dtype == np.uint8

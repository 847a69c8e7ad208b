"""Tags that would fill the memory are refused, in every format that has them; those that are merely damaged are not."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowgru.data.formats.images import image_size, num_pictures, read_image
from flowgru.data.formats.tags import bounded_tags
from flowgru.errors import InputFileError

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
NUM_TAGS, CLAIM = 3000, 20_000


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Tags as (number, type, count, value or place)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def bomb() -> bytes:
    """Tags that all point at the same bytes, which stand behind them."""
    return directory(*[(1000 + number, 7, CLAIM, 8) for number in range(NUM_TAGS)]) + bytes(CLAIM)


EXIF = b"Exif\0\0II*\0" + struct.pack("<I", 8) + bomb()


def with_exif(path: Path) -> None:
    Image.fromarray(PICTURE).save(path, exif=EXIF)


def jpeg_with_a_list_of_pictures(path: Path) -> None:
    """As cameras write of a JPEG that holds several pictures (MPO)."""
    Image.fromarray(PICTURE).save(path)
    content, segment = path.read_bytes(), b"MPF\0II*\0" + struct.pack("<I", 8) + bomb()
    path.write_bytes(content[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(segment)) + segment + content[2:])


def tiff(start: bytes, order: str = "<") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tags = b"".join(struct.pack(f"{order}HHII", 1000 + number, 7, CLAIM, 8) for number in range(NUM_TAGS))
        path.write_bytes(start + struct.pack(f"{order}IH", 8, NUM_TAGS) + tags + bytes(CLAIM))

    return write


def big_tiff(path: Path) -> None:
    tags = b"".join(struct.pack("<HHQQ", 1000 + number, 7, CLAIM, 0) for number in range(NUM_TAGS))
    path.write_bytes(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, NUM_TAGS) + tags + bytes(CLAIM))


def tiff_with_exif(path: Path) -> None:
    """A picture that can be read, with the bomb in a directory of its own."""
    Image.fromarray(PICTURE).save(path, tiffinfo={34665: 0})
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<H", 34665))
    content[entry : entry + 12] = struct.pack("<HHII", 34665, 4, 1, len(content))
    path.write_bytes(bytes(content) + bomb())


BOMBS = {
    "exif.png": with_exif,
    "exif.webp": with_exif,
    "exif.jpg": with_exif,
    "exif.avif": with_exif,
    "mpf.jpg": jpeg_with_a_list_of_pictures,
    "little.tif": tiff(b"II*\0"),
    "big.tif": tiff(b"MM\0*", ">"),
    "wrong.tif": tiff(b"MM*\0", ">"),
    "wrong_too.tif": tiff(b"II\0*"),
    "bigtiff.tif": big_tiff,
    "exif.tif": tiff_with_exif,
}


AS_IF_THERE_WERE_NONE = ("exif.jpg", "mpf.jpg")
"""Pillow looks at these by itself, and takes an error for tags that are damaged."""


@pytest.mark.parametrize("name", BOMBS)
def test_tags_that_share_their_bytes_do_not_fill_the_memory(tmp_path, name):
    path = tmp_path / name
    if name == "exif.avif":  # Pillow's writer looks at them, too
        pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
    BOMBS[name](path)
    for ask in (read_image, image_size, num_pictures):
        tracemalloc.start()
        said = ""
        try:
            ask(path)
        except InputFileError as error:
            said = str(error)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12e6 < NUM_TAGS * CLAIM
        if ask is read_image and name not in AS_IF_THERE_WERE_NONE:
            assert f"its tags claim more than 32 times the {path.stat().st_size} bytes that it has" in said


def test_the_same_file_fills_it_without_the_bound(tmp_path):
    """The test above can fail: Pillow has no bound of its own."""
    path = tmp_path / "a.png"
    with_exif(path)
    tracemalloc.start()
    with Image.open(path) as opened:
        opened.getexif()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > NUM_TAGS * CLAIM


def test_directories_without_end_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    pages = [directory(following=8 + 6 * (number + 1)) for number in range(20_000)]
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages))
    with pytest.raises(InputFileError, match="its tags claim more than"):
        read_image(path)


def test_a_stack_of_many_small_pages_is_read(tmp_path):
    pages = [Image.fromarray(PICTURE[:2, :3]) for _ in range(300)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert num_pictures(tmp_path / "a.tif") == 300


@pytest.mark.filterwarnings("ignore:Possibly corrupt EXIF")
@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg"])
def test_a_tag_that_was_cut_off_does_not_hide_how_a_picture_lies(tmp_path, ending):
    turned, cut_off = struct.pack("<HHIHH", 274, 3, 1, 6, 0), struct.pack("<HHII", 37500, 7, 2**31, 40)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + cut_off + bytes(4)
    path = tmp_path / f"a{ending}"
    Image.fromarray(PICTURE).save(path, exif=exif)
    assert image_size(path) == PICTURE.shape[:2]
    found = read_image(path)
    assert found.shape == (32, 24, 3)
    assert ending != ".png" or np.array_equal(found, np.rot90(PICTURE, -1))


def test_outside_of_a_reading_pillow_is_as_it_was(tmp_path):
    path = tmp_path / "a.png"
    with_exif(path)
    with bounded_tags(path), Image.open(path) as opened, pytest.raises(InputFileError):
        opened.getexif()
    with Image.open(path) as opened:
        assert len(opened.getexif()) == NUM_TAGS

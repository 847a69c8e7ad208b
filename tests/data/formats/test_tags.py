"""Tags of TIFF and EXIF that would fill the memory are refused; those that are merely damaged, or shared, are not."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowgru.data.formats import tags
from flowgru.data.formats.images import image_size, num_pictures, read_image
from flowgru.errors import InputFileError

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def directory(num_tags: int, claim: int, following: int = 0) -> bytes:
    """Tags of unknown numbers that all claim the same bytes, from the file's beginning on."""
    entries = b"".join(struct.pack("<HHII", 1000 + number, 7, claim, 0) for number in range(num_tags))
    return struct.pack("<H", num_tags) + entries + struct.pack("<I", following)


def bomb(num_tags: int = 3000, claim: int = 60_000) -> bytes:
    return b"II*\0" + struct.pack("<I", 8) + directory(num_tags, claim) + bytes(claim)


def written(path: Path, exif: bytes) -> Path:
    Image.fromarray(PICTURE).save(path, exif=exif)
    return path


def refused(path: Path) -> None:
    """The picture is refused, and takes no more memory than a few times its bytes."""
    for ask in (read_image, image_size):
        tracemalloc.start()
        with pytest.raises(InputFileError, match=r"tags claim 180\d+ bytes, and it has \d+"):
            ask(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * path.stat().st_size


def test_a_tiff_whose_tags_share_their_bytes_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(bomb())
    refused(path)
    assert num_pictures(path) == 0


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_so_is_a_picture_with_such_exif(tmp_path, ending):
    refused(written(tmp_path / f"a{ending}", b"Exif\0\0" + bomb()))


def test_a_tiff_of_too_many_directories_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tags, "MAX_PAGES", 50)
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(directory(0, 0, 8 + 6 * (n + 1)) for n in range(60)))
    with pytest.raises(InputFileError, match="more than 50 directories of tags"):
        read_image(path)


def test_a_big_tiff_is_looked_through_too(tmp_path):
    entries = b"".join(struct.pack("<HHQQ", 1000 + number, 7, 60_000, 0) for number in range(3000))
    path = tmp_path / "a.tif"
    path.write_bytes(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 3000) + entries + bytes(60_000))
    with pytest.raises(InputFileError, match="tags claim"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Possibly corrupt EXIF")
@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg"])
def test_a_tag_that_was_cut_off_does_not_hide_how_a_picture_lies(tmp_path, ending):
    turned, cut_off = struct.pack("<HHIHH", 274, 3, 1, 6, 0), struct.pack("<HHII", 37500, 7, 2**31, 40)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + cut_off + bytes(4)
    path = written(tmp_path / f"a{ending}", exif)
    assert image_size(path) == PICTURE.shape[:2]
    found = read_image(path)
    assert found.shape == (32, 24, 3)
    assert ending == ".jpg" or np.abs(found.astype(int) - np.rot90(PICTURE, -1)).max() < (
        1 if ending == ".png" else 256
    )

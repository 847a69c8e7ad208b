"""What a PNG says of transparency and of its own end is kept to, at every depth."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from flowgru.data.formats.flow_files import flow_size, read_flow, write_flow
from flowgru.data.formats.images import image_size, read_image
from flowgru.errors import InputFileError

COLOUR = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, bits: int, colour_type: int, *more: bytes) -> bytes:
    """A PNG of these samples [H, W] or [H, W, C], with more chunks before the picture."""
    height, width = samples.shape[:2]
    if bits < 8:
        spread = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = [np.packbits(row).tobytes() for row in spread.reshape(height, -1)]
    else:
        rows = [row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in samples]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_key_of_a_grey_png_is_laid_over_black(tmp_path: Path, bits: int) -> None:
    white = 2**bits - 1
    random = np.random.default_rng(0)
    samples = random.integers(0, white + 1, (9, 13))
    for key in {white, white // 2, 1}:
        samples[2:5, 3:8] = key
        (tmp_path / "a.png").write_bytes(png(samples, bits, 0, chunk(b"tRNS", struct.pack(">H", key))))
        expected = np.floor(np.where(samples == key, 0, samples) * 255 / white + 0.5).astype(np.uint8)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_key_of_a_colour_png_is_laid_over_black(tmp_path: Path, bits: int) -> None:
    samples = COLOUR.astype(np.uint16) * (1 if bits == 8 else 257)
    key = samples[3, 4]
    samples[5:9, 6:9] = key
    (tmp_path / "a.png").write_bytes(png(samples, bits, 2, chunk(b"tRNS", struct.pack(">3H", *key))))
    expected = np.where((samples == key).all(2, keepdims=True), 0, samples // (1 if bits == 8 else 257))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_entries_of_a_palette_are_laid_over_black(tmp_path: Path, bits: int) -> None:
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (2**bits, 3), np.uint8)
    alpha = random.integers(0, 256, 2**bits, np.uint8)
    samples = random.integers(0, 2**bits, (9, 13))
    chunks = chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", alpha.tobytes())
    (tmp_path / "a.png").write_bytes(png(samples, bits, 3, *chunks))
    expected = np.floor(colours * (alpha[:, None] / 255) + 0.5).astype(np.uint8)[samples]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("tail", [b"\0", b"\r\n", b"x" * 5000, chunk(b"tEXt", b"Title\0more")])
def test_bytes_behind_the_end_of_a_png_are_no_part_of_it(tmp_path: Path, tail: bytes) -> None:
    deep = COLOUR.astype(np.uint16) * 257
    for name, data in (("a", png(COLOUR, 8, 2)), ("b", png(deep, 16, 2))):
        (tmp_path / f"{name}.png").write_bytes(data + tail)
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), COLOUR)
        assert image_size(tmp_path / f"{name}.png") == (53, 37)
    random = np.random.default_rng(0)
    flow = random.normal(0, 20, (37, 53, 2)).astype(np.float32)
    write_flow(tmp_path / "flow.png", flow)
    (tmp_path / "flow.png").write_bytes((tmp_path / "flow.png").read_bytes() + tail)
    assert flow_size(tmp_path / "flow.png") == (53, 37)
    np.testing.assert_allclose(read_flow(tmp_path / "flow.png").flow, flow, atol=1 / 128)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_without_its_end_is_refused_by_every_reader(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.png").write_bytes(png(COLOUR.astype(np.uint16), bits, 2)[:-12])
    readers = [read_image, image_size, *([read_flow, flow_size] if bits == 16 else [])]
    for read in readers:
        with pytest.raises(InputFileError, match=r"truncated PNG: it ends at byte \d+ without an IEND chunk"):
            read(tmp_path / "a.png")
    # A text that reads like the last chunk is not the last chunk.
    (tmp_path / "a.png").write_bytes(png(COLOUR.astype(np.uint16), bits, 2)[:-12] + chunk(b"tEXt", b"no\0IEND"))
    for read in readers:
        with pytest.raises(InputFileError, match="truncated PNG"):
            read(tmp_path / "a.png")

"""Samples that a file stores and does not use, or that mean something else than their number of bits suggests."""

import struct

import av
import numpy as np
import pytest
from PIL import Image

from flowgru.data.formats.images import read_image
from flowgru.data.video.animation import read_animation
from flowgru.data.video.reader import VideoReader
from flowgru.errors import InputFileError

PIXELS = np.random.default_rng(0).integers(30, 226, (32, 48, 3), np.uint8)


@pytest.mark.parametrize("fourth", [0, 90, 255])
def test_the_fourth_byte_of_an_uncompressed_avi_is_no_alpha(tmp_path, fourth):
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = PIXELS.shape[1], PIXELS.shape[0], "bgra"
        stored = np.dstack([PIXELS[..., ::-1], np.full(PIXELS.shape[:2], fourth, np.uint8)])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="bgra")))
        container.mux(stream.encode())
    with VideoReader(tmp_path / "a.avi") as video:
        (frame,) = video
    np.testing.assert_array_equal(frame.image, PIXELS)


@pytest.mark.parametrize(("bits_of_alpha", "shown"), [(0, 200), (8, 0)])
def test_a_tga_says_whether_its_fourth_byte_is_alpha(tmp_path, bits_of_alpha, shown):
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 4, 4, 32, 0x20 | bits_of_alpha)
    (tmp_path / "a.tga").write_bytes(header + bytes((200, 200, 200, 0)) * 16)
    assert np.unique(read_image(tmp_path / "a.tga")).tolist() == [shown]


@pytest.mark.parametrize("type", [np.int32, np.uint32])
@pytest.mark.parametrize("level", [200, 70_000])
def test_32_bit_samples_are_refused_whatever_they_are(tmp_path, type, level):
    Image.fromarray(np.full((4, 4), level, np.int32), "I").save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    place = content.find(struct.pack("<HHI", 339, 3, 1)) + 8  # the tag SampleFormat: 1 unsigned, 2 signed
    assert place > 8
    content[place : place + 2] = struct.pack("<H", 2 if type is np.int32 else 1)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputFileError, match="has 32-bit samples, and nothing says which is white"):
        read_image(tmp_path / "a.tif")


def test_signed_samples_of_8_bits_are_refused_as_those_of_16_are(tmp_path):
    Image.fromarray(np.full((4, 4), 156, np.uint8)).save(tmp_path / "a.tif", tiffinfo={339: 2})
    with pytest.raises(InputFileError, match="has signed or floating-point samples"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("predictor", [1, 2])
def test_a_predictor_without_a_compression_that_has_it_means_nothing(tmp_path, predictor):
    samples = np.arange(0, 36 * 1000, 1000, dtype=np.uint16).reshape(3, 4, 3)
    entries = [
        (256, 4, 4), (257, 4, 3), (259, 3, 1), (262, 3, 2), (273, 4, 8), (277, 3, 3), (278, 4, 3), (279, 4, samples.nbytes),
        (317, 3, predictor),
    ]  # fmt: skip
    data = samples.tobytes()
    bits_place = 8 + len(data)
    bits = struct.pack("<3H", 16, 16, 16)
    directory = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries[:2]
    )
    directory += struct.pack("<HHII", 258, 3, 3, bits_place)
    directory += b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries[2:]
    )
    place = bits_place + len(bits)
    file = b"II*\0" + struct.pack("<I", place) + data + bits
    (tmp_path / "a.tif").write_bytes(file + struct.pack("<H", len(entries) + 1) + directory + bytes(4))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.round(samples / 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
@pytest.mark.parametrize("orientation", [1, 2, 5, 6])
def test_the_pictures_of_an_animation_lie_as_it_says_in_every_mode(tmp_path, mode, orientation):
    pictures = [Image.fromarray(np.roll(PIXELS, shift, axis=1)).convert(mode) for shift in (0, 5)]
    exif = Image.Exif()
    exif[274] = orientation
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=100, exif=exif)
    pictures[0].save(tmp_path / "still.png", exif=exif)
    first = next(read_animation(tmp_path / "a.png"))
    np.testing.assert_array_equal(first.image, read_image(tmp_path / "still.png"))

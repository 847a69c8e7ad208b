"""A camera goes on after pictures that cannot be decoded; a file of JPEGs, one after the other, stands for one."""

import numpy as np
import pytest

from flowgru.data.formats.images import jpeg_bytes
from flowgru.data.video import camera
from flowgru.errors import MachineError

NUM_PICTURES = 8


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """Has a camera give these JPEGs."""

    def give(jpegs: list[bytes]) -> camera.Camera:
        path = tmp_path / "camera.mjpeg"
        path.write_bytes(b"".join(jpegs))
        monkeypatch.setattr(camera, "_device", lambda source: ("mjpeg", str(path)))
        return camera.Camera(camera.CAMERA)

    return give


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, 48, 64, 3), np.uint8)
    return [jpeg_bytes(picture) for picture in noise]


def without_tables(jpeg: bytes) -> bytes:
    """A JPEG that lacks what its pixels are decoded by."""
    start, scan = jpeg.index(b"\xff\xdb"), jpeg.index(b"\xff\xda")
    return jpeg[:start] + jpeg[scan:]


def test_a_picture_that_cannot_be_decoded_is_left_out(stream, jpegs):
    given = [*jpegs[:3], without_tables(jpegs[3]), *jpegs[4:]]
    found = [frame.name for frame in stream(given)]
    assert found == [f"frame_{number:06d}" for number in range(1, NUM_PICTURES)]


def test_a_camera_that_gives_nothing_else_is_given_up(stream, jpegs, monkeypatch):
    monkeypatch.setattr(camera, "MOST_LOST", 3)
    frames = iter(stream([*jpegs[:2], *map(without_tables, jpegs[2:])]))
    assert [next(frames).name for _ in range(2)] == ["frame_000001", "frame_000002"]
    with pytest.raises(MachineError, match=r"camera\.mjpeg cannot be used \(Invalid data found"):
        next(frames)

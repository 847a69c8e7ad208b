"""Videos as cameras and programs write them now and then: tags of every kind, colours of odd matrices, and clips that were
cut without being encoded anew."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import difference, moving_frames, write_clip
from PIL import Image

from flowgru.data.formats.images import read_image
from flowgru.data.video.reader import VideoReader
from flowgru.errors import InputFileError

NUM = 5


def jpegs(side: int, **options: Any) -> list[bytes]:
    """Pictures that move by a pixel."""
    y, x = np.mgrid[:side, :side]
    found = []
    for number in range(NUM):
        content = io.BytesIO()
        picture = np.stack([(x * 3 + number * 3) % 256, (y * 2) % 256, (x + y) % 256], axis=2).astype(np.uint8)
        Image.fromarray(picture).save(content, "JPEG", **options)
        found.append(content.getvalue())
    return found


@pytest.mark.parametrize("ending", ["avi", "mov", "mkv"])
def test_pictures_with_tags_of_a_camera_lie_in_a_video_as_they_do_alone(tmp_path: Path, ending: str) -> None:
    """PyAV has no name for what FFmpeg makes of the tags, among which the picture notes how it lies."""
    contents = []
    for orientation in (1, 2, 3, 4, 5, 6, 7, 8, 1):
        tags = Image.Exif()
        tags[271], tags[306], tags[274] = "A camera", "2020:01:01 00:00:00", orientation
        contents.append(jpegs(64, exif=tags, quality=95)[0])
    with av.open(tmp_path / f"a.{ending}", "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for number, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    with VideoReader(tmp_path / f"a.{ending}") as frames:
        found = list(frames)
        assert frames.problems == []
    for number, (frame, content) in enumerate(zip(found, contents, strict=True)):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        assert difference(frame.image, read_image(tmp_path / f"{number}.jpg")) < 4, number


@pytest.mark.parametrize(("ending", "codec"), [("avi", "mpeg4"), ("mp4", "libx264"), ("mkv", "libx264")])
def test_a_title_in_another_encoding_does_not_matter(tmp_path: Path, ending: str, codec: str) -> None:
    with av.open(tmp_path / f"a.{ending}", "w") as container:
        container.metadata["title"] = "Ete a la plage"
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in (*map(av.VideoFrame.from_ndarray, moving_frames(NUM)), None):
            for packet in stream.encode(frame):
                container.mux(packet)
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert b"Ete a la plage" in content
    (tmp_path / f"a.{ending}").write_bytes(content.replace(b"Ete a la plage", "Été à la plage".encode("latin-1")))
    with VideoReader(tmp_path / f"a.{ending}") as frames:
        assert len(list(frames)) == NUM and frames.problems == []


@pytest.mark.parametrize("name", ["a.mjpeg", "a.mjpg", "a.bin"])
@pytest.mark.parametrize("side", [64, 480])
def test_pictures_one_after_the_other_are_a_video_however_large_they_are(tmp_path: Path, name: str, side: int) -> None:
    (tmp_path / name).write_bytes(b"".join(jpegs(side)))
    with VideoReader(tmp_path / name) as frames:
        assert [frame.image.shape for frame in frames] == NUM * [(side, side, 3)]


@pytest.mark.parametrize(("number", "is_read"), [(1, True), (3, True), (8, False), (14, False)])
def test_colours_that_cannot_be_read_are_named(tmp_path: Path, number: int, is_read: bool) -> None:
    """1: BT.709; 3: reserved; 8: YCgCo; 14: ICtCp."""
    write_clip(tmp_path / "a.mp4", moving_frames(3), codec_options={"colorspace": str(number)})
    with av.open(tmp_path / "a.mp4") as container:
        assert next(container.decode(video=0)).colorspace in (number, 2 if number == 3 else number)
    with VideoReader(tmp_path / "a.mp4") as frames:
        if is_read:
            assert len(list(frames)) == 3
        else:
            with pytest.raises(InputFileError, match=rf"a\.mp4 has colours .* matrix has the number {number} of ITU-T"):
                list(frames)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "2", "b-adapt": "2"}),
        ("libx264", {"bf": "2", "b-adapt": "0"}),
        ("libx265", {"x265-params": "bframes=2:keyint=12:log-level=none"}),
        ("mpeg4", {"bf": "2"}),
    ],
)
def test_what_was_cut_off_without_encoding_anew_is_not_counted(tmp_path: Path, codec: str, options: dict) -> None:
    """The pictures before the cut stay in the file, because those after it are drawn from them."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    write_clip(tmp_path / "whole.mp4", list(noise), codec=codec, codec_options={**options, "g": "12"})
    with (
        av.open(tmp_path / "whole.mp4") as whole,
        av.open(tmp_path / "cut.mp4", "w", options={"avoid_negative_ts": "disabled"}) as cut,
    ):
        stream: Any = whole.streams.video[0]
        copied, before = cut.add_stream_from_template(stream), round(5 / 10 / stream.time_base)
        for packet in whole.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - before, packet.dts - before, copied
                cut.mux(packet)
    with VideoReader(tmp_path / "whole.mp4") as frames:
        shown = list(frames)[5:]
    with VideoReader(tmp_path / "cut.mp4") as frames:
        assert frames.expected_frames == 19
        found = list(frames)
        assert frames.problems == []
    assert [frame.time for frame in found] == pytest.approx([number / 10 for number in range(19)])
    assert all((one.image == other.image).all() for one, other in zip(found, shown, strict=True))

"""Videos as cameras and programs write them now and then: tags of every kind, colours of odd matrices, and clips that were
cut without being encoded anew."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from made_inputs import with_display_matrix
from media import moving_frames, write_clip
from PIL import Image

from flowgru.data.formats.orientation import Orientation
from flowgru.data.video import reader
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
def test_pictures_with_tags_of_a_camera_in_a_video_are_read(tmp_path: Path, ending: str) -> None:
    """PyAV has no name for what FFmpeg makes of the tags."""
    tags = Image.Exif()
    tags[271], tags[306] = "A camera", "2020:01:01 00:00:00"
    with av.open(tmp_path / f"a.{ending}", "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for number, content in enumerate(jpegs(64, exif=tags)):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    with VideoReader(tmp_path / f"a.{ending}") as frames:
        assert len(list(frames)) == NUM and frames.problems == []


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)])
def test_the_turn_is_known_without_the_matrix(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    class Unnamed:
        """A frame whose matrix stands beside something that PyAV has no name for."""

        def __init__(self, frame: Any) -> None:
            self.rotation = frame.rotation

        @property
        def side_data(self) -> Any:
            raise ValueError("31 is not a valid Type")

    with_display_matrix(matrix)(tmp_path / "turned.mp4", moving_frames(2))
    with av.open(tmp_path / "turned.mp4") as container:
        frame = next(container.decode(video=0))
    known, without = reader._noted_orientation(frame), reader._noted_orientation(Unnamed(frame))
    assert (without or Orientation()) == (known or Orientation())
    assert (matrix == (1, 0, 0, 1)) == ((known or Orientation()) == Orientation())


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


@pytest.mark.parametrize("options", [{"bf": "2", "b-adapt": "2"}, {"bf": "2", "b-adapt": "0"}])
def test_what_was_cut_off_without_encoding_anew_has_neither_times_nor_a_place(tmp_path: Path, options: dict) -> None:
    """The pictures before the cut stay in the file, because those after it are drawn from them."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), np.uint8)
    write_clip(tmp_path / "whole.mp4", list(noise), codec_options={**options, "g": "12"})
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

"""A video gives every frame that can be decoded, upright and in its own size, and says what is missing."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import difference, moving_frames, noisy_frames, write_clip
from PIL import Image

from flowgru.data.video.frames import open_frames
from flowgru.data.video.reader import Frame, VideoReader
from flowgru.errors import InputFileError, RequestError


def read(path: Path, **wanted: int) -> tuple[list[Frame], list[str]]:
    with VideoReader(path, **wanted) as reader:
        return list(reader), reader.problems


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("webm", "libvpx-vp9"), ("avi", "ffv1")],
)
def test_every_frame_comes_in_order(tmp_path: Path, suffix: str, codec: str) -> None:
    pixel_format = "bgr0" if codec == "ffv1" else "yuv420p"
    made = moving_frames(12)
    path = write_clip(tmp_path / f"clip.{suffix}", made, codec=codec, pixel_format=pixel_format)
    with VideoReader(path) as reader:
        assert (reader.name, reader.frame_rate, reader.size) == ("clip", 10, (48, 64))
        assert reader.expected_frames == 12
        frames = list(reader)
    assert reader.problems == []
    assert [frame.name for frame in frames] == [f"frame_{number:06d}" for number in range(1, 13)]
    times = [frame.time for frame in frames if frame.time is not None]
    assert [round(time - times[0], 3) for time in times] == [number / 10 for number in range(12)]
    assert {(frame.segment, frame.damaged) for frame in frames} == {(0, False)}
    for frame, expected in zip(frames, made, strict=True):
        assert difference(frame.image, expected) < (0.01 if codec == "ffv1" else 6)


def test_a_range_keeps_the_numbers_of_the_whole_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", moving_frames(12))
    whole, _ = read(path)
    with VideoReader(path, start=4, end=6) as reader:
        assert reader.expected_frames == 3
        part = list(reader)
    assert [frame.name for frame in part] == ["frame_000004", "frame_000005", "frame_000006"]
    assert all(np.array_equal(part[index].image, whole[index + 3].image) for index in range(3))
    with pytest.raises(InputFileError, match="has 12 frames, but frames from 13 on"):
        read(path, start=13)
    with pytest.raises(RequestError, match="expected 1 <= start <= end"):
        VideoReader(path, start=5, end=4)


@pytest.mark.parametrize(("rotation", "quarter_turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_turned_phone_video_comes_upright(tmp_path: Path, rotation: int, quarter_turns: int) -> None:
    made = moving_frames(4)
    frames, _ = read(write_clip(tmp_path / "phone.mp4", made, rotation=rotation))
    expected = np.rot90(made[2], quarter_turns)
    assert frames[2].image.shape == expected.shape
    assert difference(frames[2].image, expected) < 6


def test_uneven_time_stamps_are_kept(tmp_path: Path) -> None:
    times = [0, 1, 5, 6, 12]
    path = write_clip(tmp_path / "uneven.mkv", moving_frames(5), times=times)
    frames, problems = read(path)
    assert [round(frame.time * 10) for frame in frames if frame.time is not None] == times
    assert problems == []


def test_ten_bits_and_odd_pixels_are_noted(tmp_path: Path) -> None:
    made = moving_frames(4)
    ten_bits = write_clip(tmp_path / "ten.mp4", made, pixel_format="yuv420p10le")
    with pytest.warns(UserWarning, match="10 bits a channel: read as 8"):
        frames, _ = read(ten_bits)
    assert difference(frames[1].image, made[1]) < 6
    oblong = write_clip(tmp_path / "oblong.mp4", made, sample_aspect_ratio=Fraction(4, 3))
    with pytest.warns(UserWarning, match="pixels of shape 4/3"):
        frames, _ = read(oblong)
    assert frames[0].image.shape == (48, 64, 3)


def test_a_transparent_animation_lies_over_black(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (33, 21), (255, 255, 255, 0)) for _ in range(4)]
    for index, picture in enumerate(pictures):
        picture.paste((255, 0, 0, 255), (5 * index, 3, 5 * index + 5, 9))
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 50, 70], disposal=2
    )
    frames, problems = read(tmp_path / "a.gif")
    assert [frame.time for frame in frames] == [0, 0.1, 0.3, 0.35]
    assert problems == []
    for index, frame in enumerate(frames):
        expected = np.zeros((21, 33, 3), np.uint8)
        expected[3:9, 5 * index : 5 * index + 5] = (255, 0, 0)
        np.testing.assert_array_equal(frame.image, expected)


def test_a_new_frame_size_starts_a_segment(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.ts", moving_frames(6), codec_options={"bf": "0"})
    large = write_clip(tmp_path / "b.ts", moving_frames(6, 80, 96), codec_options={"bf": "0"})
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.warns(
        UserWarning, match="frames are 80x96 px .height x width. from number 7 on, no flow leads across the change"
    ):
        frames, _ = read(both)
    assert [frame.segment for frame in frames] == [0] * 6 + [1] * 6
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 6 + [(80, 96, 3)] * 6
    with pytest.raises(InputFileError, match=r"claims to be 80x96 px .height x width.: at most 4000 pixels"):
        read(both, max_pixels=4000)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_truncated_video_gives_what_it_has_and_says_so(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "+faststart"} if suffix == "mp4" else {}
    path = write_clip(tmp_path / f"cut.{suffix}", noisy_frames(40), container_options=options, codec_options={"g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, problems = read(path)
    assert 20 < len(frames) < 26
    expected = (
        "damaged frames: 1" if suffix == "ts" else f"decoded {len(frames)} of about 40 frames, the file ends early"
    )
    assert expected in problems[0]


def test_a_damaged_middle_is_marked(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "holed.mp4", noisy_frames(40), codec_options={"g": "10"})
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 3000] = np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes()
    path.write_bytes(data)
    frames, problems = read(path)
    damaged = [index for index, frame in enumerate(frames) if frame.damaged]
    assert damaged == [12, 13, 14, 15]
    assert "could not be decoded: 2" in problems[0]
    assert "damaged frames: 4, the first is number 13" in problems[1]


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="needs two cores of Linux"
)
def test_damaged_frames_do_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "holed.mp4", noisy_frames(20, 128, 128), codec_options={"g": "20", "slices": "4"})
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 9000 : 300] = bytes(30)
    path.write_bytes(data)
    cores = os.sched_getaffinity(0)
    of_all = read(path)[0]
    try:
        os.sched_setaffinity(0, [min(cores)])
        of_one = read(path)[0]
    finally:
        os.sched_setaffinity(0, cores)
    assert any(frame.damaged for frame in of_one)
    for one, every in zip(of_one, of_all, strict=True):
        assert one.damaged == every.damaged and np.array_equal(one.image, every.image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"this is a text, not a video\n" * 20, "cannot be read as a video"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://localhost:9/x.ts\n#EXT-X-ENDLIST\n", "is a playlist"),
        (b"ffconcat version 1.0\nfile 'clip.mp4'\n", "is a playlist"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "input.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=message) as caught:
        VideoReader(path)
    assert "\n" not in str(caught.value)


def test_a_video_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noisy_frames(20))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputFileError, match="cannot be read as a video"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["http://localhost/a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "list.m3u8", "a.ffconcat"])
def test_urls_and_playlists_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=r"is a URL|is a playlist"):
        VideoReader(name)
    with pytest.raises(RequestError, match=r"is a URL|is a playlist"):
        open_frames([name])


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", moving_frames(3)).rename(tmp_path / "file:a.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("file:a.mp4"))[0]) == 3


def test_a_frame_larger_than_the_limit_is_refused_before_decoding(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", moving_frames(3))
    with pytest.raises(InputFileError, match=r"claims to be 48x64 px .height x width.: at most 3000 pixels"):
        VideoReader(path, max_pixels=3000)


@pytest.mark.parametrize("name", ["bear.mp4", "realshort.mp4", "cockatoo.mp4"])
def test_real_clips_are_complete(data_root: Path, name: str) -> None:
    path = data_root / "clips" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with VideoReader(path, end=None) as reader:
        num_frames = sum(1 for _ in reader)
        assert reader.problems == []
        assert num_frames == reader.expected_frames

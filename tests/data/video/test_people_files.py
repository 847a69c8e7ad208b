"""What people have comes in whole: the frames that a player shows, with their times, at their rate."""

import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from made_inputs import (
    Maker,
    animation,
    clip,
    renamed_codec,
    stream_clip,
    turned_by_first_picture,
    with_display_matrix,
    with_sound_first,
    without_beginning,
)
from media import difference, moving_frames, write_clip

from flowgru.data.video.frames import open_frames
from flowgru.data.video.reader import VideoReader
from flowgru.errors import InputFileError

NUM = 9


def tenths(first: float = 0.0, num: int = NUM) -> list[float]:
    return [round(first + index / 10, 3) for index in range(num)]


def transparent_frames() -> list[np.ndarray]:
    """The moving frames, transparent where nothing moves."""
    frames = []
    for frame in moving_frames(NUM):
        alpha = np.zeros((48, 64, 1), np.uint8)
        alpha[:, :40] = 255
        frames.append(np.concatenate([frame, alpha], axis=2))
    return frames


def on_black(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [(frame[..., :3] * (frame[..., 3:] / 255)).astype(np.uint8) for frame in frames]


class Row(NamedTuple):
    """A file, how it is made, and what must come of it."""

    name: str
    make: Maker
    times: list[float] | None = tenths()
    """None where the file has no clock."""
    rate: Fraction | int | None = 10
    num_frames: int = NUM
    size: tuple[int, int] = (48, 64)
    transparent: bool = False
    warning: str | None = None
    declared: int | None = NUM
    """Frames that it says it has."""


ROWS = [
    Row("plain.mp4", clip()),
    Row("plain.mov", clip(codec="mpeg4")),
    Row("late.mkv", clip(times=range(50, 50 + NUM)), tenths(5.0)),
    Row("late.ts", clip(times=range(50, 50 + NUM)), None),
    Row("late.webm", clip(codec="libvpx-vp9", times=range(31, 31 + NUM)), tenths(3.1)),
    Row("sound_first.mkv", with_sound_first, tenths(2.0)),
    Row("b_frames.avi", stream_clip("libx264", bf="2")),
    Row("b_frames_25.avi", stream_clip("libx264", rate=25), [round(index / 25, 3) for index in range(NUM)], 25),
    Row("b_frames_xvid.avi", stream_clip("mpeg4", bf="2")),
    Row("b_frames_mpeg2.avi", stream_clip("mpeg2video", rate=25, bf="2"), [round(i / 25, 3) for i in range(NUM)], 25),
    Row("plain.avi", stream_clip("mpeg4")),
    Row("b_frames.asf", stream_clip("libx264"), tenths(0.1), declared=None),
    Row("pal.dv", stream_clip("dvvideo", rate=25), [i / 25 for i in range(NUM)], 25, size=(576, 720), warning="interl"),
    Row(
        "ntsc.dv",
        stream_clip("dvvideo", "yuv411p", Fraction(30000, 1001)),
        [round(index * 1001 / 30000, 3) for index in range(NUM)],
        Fraction(30000, 1001),
        size=(480, 720),
        warning="interlaced",
    ),
    Row(
        "interlaced.ts", clip(codec_options={"x264-params": "interlaced=1"}), None, warning="interlaced", declared=None
    ),
    Row("raw.mjpeg", stream_clip("mjpeg", "yuvj420p", rate=25), [i / 25 for i in range(NUM)], 25, declared=None),
    Row("raw.h264", clip(), None, declared=None),
    Row("raw.hevc", clip(codec="libx265", codec_options={"x265-params": "log-level=none"}), None, declared=None),
    Row("raw.m2v", stream_clip("mpeg2video", rate=25), None, 25, declared=None),
    Row("raw.ivf", clip(codec="libvpx")),
    Row("raw.y4m", clip(codec="wrapped_avframe")),
    Row("alpha.webm", stream_clip("libvpx-vp9", "yuva420p"), transparent=True),
    Row("alpha_vp8.webm", stream_clip("libvpx", "yuva420p", 10, **{"auto-alt-ref": "0"}), transparent=True),
    Row("alpha_qtrle.mov", stream_clip("qtrle", "argb"), transparent=True),
    Row("alpha_png.mov", stream_clip("png", "rgba"), transparent=True),
    Row("alpha_ffv1.mkv", stream_clip("ffv1", "yuva420p"), transparent=True),
    Row("animated.gif", animation(100)),
    Row("animated.png", animation(100)),
    Row("animated.apng", animation(100)),
    Row("animated.webp", animation(100, lossless=True)),
    Row("animated.avif", animation(100, quality=90)),
    Row("transparent.gif", animation(100, disposal=2), transparent=True),
    Row("transparent.png", animation(100, disposal=1), transparent=True),
    Row("transparent.webp", animation(100, lossless=True), transparent=True),
    Row("no_delay.gif", animation(0)),
    Row("no_delay.webp", animation(0, lossless=True)),
    Row("fast.webp", animation(16, lossless=True), [round(0.016 * index, 3) for index in range(NUM)], Fraction(125, 2)),
    Row("long_last.gif", animation([100] * (NUM - 1) + [3000])),
    Row(
        "uneven.webp", animation([100, 300] + [100] * (NUM - 2), lossless=True), [0, 0.1, *tenths(0.4, 7)], Fraction(8)
    ),
    Row("pages.tif", animation(0), None, None),
    Row("deflated_pages.tif", animation(0, compression="tiff_adobe_deflate"), None, None),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_frames_that_a_player_shows(tmp_path: Path, row: Row) -> None:
    height, width = row.size
    made = transparent_frames() if row.transparent else moving_frames(row.num_frames, height, width)
    row.make(tmp_path / row.name, made)
    [source] = open_frames([tmp_path / row.name])
    assert source.name == Path(row.name).stem
    if row.declared is not None:
        assert source.expected_frames == row.declared
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(source)
    assert source.problems == []
    assert source.frame_rate == row.rate
    assert [frame.name for frame in frames] == [f"frame_{number:06d}" for number in range(1, row.num_frames + 1)]
    assert {(frame.segment, frame.damaged) for frame in frames} == {(0, False)}
    times = [frame.time for frame in frames]
    if row.times is not None:
        assert [time if time is None else round(time, 3) for time in times] == row.times
    known = [time for time in times if time is not None]
    assert all(later > earlier for earlier, later in pairwise(known))
    expected = on_black(made) if row.transparent else made
    for frame, picture in zip(frames, expected, strict=True):
        assert frame.image.shape == picture.shape
        assert difference(frame.image, picture) < 7
    said = [str(warning.message) for warning in caught]
    said = [text for text in said if "pixels of shape" not in text]
    assert len(said) == (row.warning is not None)
    assert row.warning is None or row.warning in said[0]


def upright(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """What a display matrix makes of a picture, pixel by pixel: (x, y) goes to (a x + c y, b x + d y), moved to 0."""
    a, b, c, d = matrix
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    shown = np.zeros((int(np.ptp(y)) + 1, int(np.ptp(x)) + 1, 3), np.uint8)
    shown[y - y.min(), x - x.min()] = picture
    return shown


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, -1, -1, 0),
        (0, 2, 2, 0),
    ],
)
def test_a_video_is_turned_and_mirrored_as_its_display_matrix_says(tmp_path: Path, matrix) -> None:
    made = moving_frames(4)
    with_display_matrix(matrix)(tmp_path / "turned.mp4", made)
    with VideoReader(tmp_path / "turned.mp4") as reader:
        frames = list(reader)
    turn = tuple(int(np.sign(number)) for number in matrix)
    for frame, picture in zip(frames, made, strict=True):
        expected = upright(picture, turn)  # pyright: ignore[reportArgumentType]
        assert frame.image.shape == expected.shape
        assert difference(frame.image, expected) < 6


@pytest.mark.parametrize(
    ("name", "maker", "turn"),
    [
        ("a.h264", turned_by_first_picture("libx264", 1), (0, -1, 1, 0)),
        ("a.264", turned_by_first_picture("libx264", 2), (-1, 0, 0, -1)),
        ("b.h264", turned_by_first_picture("libx264", 0, mirrored=True), (-1, 0, 0, 1)),
        ("a.hevc", turned_by_first_picture("libx265", 3), (0, 1, -1, 0)),
    ],
)
def test_a_turn_that_only_the_first_picture_notes_holds_for_all(tmp_path: Path, name: str, maker: Maker, turn) -> None:
    made = moving_frames(6)
    maker(tmp_path / name, made)
    with VideoReader(tmp_path / name) as reader:
        frames = list(reader)
        assert reader.problems == []
    assert {frame.segment for frame in frames} == {0}
    for frame, picture in zip(frames, made, strict=True):
        expected = upright(picture, turn)
        assert frame.image.shape == expected.shape
        assert difference(frame.image, expected) < 7


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("cut.ts", without_beginning("libx264", 3)),
        ("cut.m2v", without_beginning("mpeg2video", 2)),
        ("cut.avi", without_beginning("libx264", 3)),
        ("cut_xvid.avi", without_beginning("mpeg4", 2, bf="2")),
        ("cut.webm", without_beginning("libvpx-vp9", 3)),
        ("cut.mkv", without_beginning("libx264", 3)),
        ("cut.h264", without_beginning("libx264", 3)),
    ],
)
def test_a_stream_that_begins_in_the_middle_gives_what_can_be_decoded(tmp_path: Path, name: str, maker: Maker) -> None:
    made = moving_frames(18)
    maker(tmp_path / name, made)
    with VideoReader(tmp_path / name) as reader:
        frames = list(reader)
    [problem] = reader.problems
    assert "the beginning is missing, pictures before the first key frame that cannot be decoded: " in problem
    assert {frame.damaged for frame in frames} == {False}
    for frame, picture in zip(reversed(frames), reversed(made), strict=False):
        assert difference(frame.image, picture) < 6


@pytest.mark.parametrize(
    ("name", "maker", "codec"),
    [
        ("a.avi", renamed_codec("mpeg4", b"FMP4", b"ZZZZ"), "ZZZZ"),
        ("a.mp4", renamed_codec("libx264", b"avc1", b"zz01"), "zz01"),
        ("a.mov", renamed_codec("libx264", b"avc1", b"zz02"), "zz02"),
        ("a.mkv", renamed_codec("libx264", b"V_MPEG4/ISO/AVC", b"V_OTHER/ISO/AVC"), "V_OTHER/ISO/AVC"),
    ],
)
def test_a_codec_without_a_decoder_is_named(tmp_path: Path, name: str, maker: Maker, codec: str) -> None:
    maker(tmp_path / name, moving_frames(4))
    good = write_clip(tmp_path / "good.mp4", moving_frames(3))
    sources = open_frames([tmp_path / name, good])
    for _ in range(2):  # FFmpeg's log leaves out what it has said just before
        with pytest.raises(
            InputFileError, match=rf"there is no decoder for its video \({codec}\): convert it"
        ) as caught:
            list(sources[0])
        assert "\n" not in str(caught.value)
    assert len(list(sources[1])) == 3


def test_a_video_cut_off_before_its_codec_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_frames(4), container_options={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"stsd") - 8])
    [source] = open_frames([path])
    with pytest.raises(InputFileError, match=r"a\.mp4"):
        list(source)

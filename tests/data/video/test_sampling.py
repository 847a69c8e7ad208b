"""Which frames of a clip --fps and --stride choose."""

import numpy as np
import pytest
from media import moving_frames, write_clip

from flowgru.data.video.frames import open_frames
from flowgru.data.video.reader import Frame
from flowgru.data.video.sampling import sampled
from flowgru.errors import InputFileError


def clip(times):
    picture = np.zeros((2, 2, 3), np.uint8)
    times = [None if time is None else float(time) for time in times]
    return [Frame(picture, f"frame_{number}", time, 0, False) for number, time in enumerate(times)]


def used(times, **options):
    return [int(frame.name.removeprefix("frame_")) for frame in sampled(clip(times), "clip", **options)]


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [(30, 10.0, [0, 3, 6, 9]), (24, 12.0, [0, 2, 4, 6, 8, 10]), (25, 10.0, [0, 3, 5, 8, 10]), (10, 30.0, [*range(12)])],
)
@pytest.mark.parametrize("digits", [6, 3])
def test_fps_takes_the_first_frame_of_each_interval_whatever_the_container_rounds(rate, fps, expected, digits):
    times = [round(5 + number / rate, digits) for number in range(12)]
    assert used(times, fps=fps) == expected


def test_over_a_gap_no_frame_is_used_twice_and_the_rhythm_is_kept():
    assert used([0, 0.1, 0.2, 1.05, 1.1, 1.2], fps=5.0) == [0, 2, 3, 5]


def test_a_clock_that_begins_anew_drops_no_frame_and_keeps_the_rhythm():
    times = [number / 10 for number in range(10)]
    assert used([*times, *times, *times], fps=5.0) == [*range(0, 30, 2)]
    assert used([7, 7.1, 7.2, 7.3, 0, 0.2, 0.4, 0.6, 0.8], fps=2.5) == [0, 4, 6, 8]
    assert used([3, 0, 0, 1, 2], fps=1.0) == [0, 3, 4]  # nothing says how long the first frame stays


def test_the_rate_of_joined_videos_is_that_of_their_frames(tmp_path):
    part = write_clip(tmp_path / "part.ts", moving_frames(20))  # 10 a second
    (tmp_path / "both.ts").write_bytes(2 * part.read_bytes())
    (source,) = open_frames([tmp_path / "both.ts"])
    times = [frame.time for frame in source if frame.time is not None]
    assert len(times) == 40 and times != sorted(times) and source.frame_rate == 10
    assert len([*sampled(source, "both", fps=5.0)]) == 20


def test_the_stride_counts_what_fps_has_left():
    times = [number / 30 for number in range(13)]
    assert used(times, fps=10.0, stride=2) == [0, 6, 12] and used(times, stride=5) == [0, 5, 10]


def test_pictures_have_no_times_for_fps():
    assert used([None, None, None], stride=2) == [0, 2]
    with pytest.raises(InputFileError, match="clip has no times"):
        used([None, None], fps=5.0)

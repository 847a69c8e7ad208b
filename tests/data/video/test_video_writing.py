"""A video is written whole, as it was given, or not at all."""

import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from interpreter import run_alone
from media import difference, moving_frames, noisy_frames
from PIL import Image

from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import read_image, write_image
from flowgru.data.video.animation import read_animation
from flowgru.data.video.reader import VideoReader
from flowgru.data.video.writer import SegmentedVideoWriter, VideoWriter
from flowgru.errors import MachineError, RequestError


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 65), (1, 1), (3, 200)])
def test_a_written_video_comes_back(tmp_path: Path, height: int, width: int) -> None:
    made = [np.full((height, width, 3), 20 * index + 30, np.uint8) for index in range(5)]
    with VideoWriter(tmp_path / "new" / "out.mp4", Fraction(30000, 1001)) as video:
        for frame in made:
            video.write(frame)
    with VideoReader(tmp_path / "new" / "out.mp4") as reader:
        assert reader.frame_rate == Fraction(30000, 1001)
        frames = list(reader)
    assert reader.problems == []
    assert len(frames) == 5
    assert frames[0].image.shape == (height + height % 2, width + width % 2, 3)
    assert all(
        difference(frame.image[:height, :width], expected) <= 3 for frame, expected in zip(frames, made, strict=True)
    )
    with av.open(str(tmp_path / "new" / "out.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_range) == (
            6,
            1,
        )  # BT.601, which players would not take for large pictures
    data = (tmp_path / "new" / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(("suffix", "off"), [(".gif", 6), (".webp", 0)])
@pytest.mark.parametrize("rate", [10, 24, 60])
def test_an_animated_picture_comes_back_with_its_sizes_times_and_colours(tmp_path: Path, suffix, off, rate) -> None:
    made = moving_frames(5, 47, 65)
    made[3][:] = np.linspace(0, 255, 65, dtype=np.uint8)[
        :, None
    ]  # other colours, so that a palette of its own is needed
    with VideoWriter(tmp_path / f"out{suffix}", rate) as video:
        for frame in made:
            video.write(frame)
    shown = list(read_animation(tmp_path / f"out{suffix}"))
    assert len(shown) == 5 and all(picture.image.shape == (47, 65, 3) for picture in shown)
    assert all(difference(found.image, expected) <= off for found, expected in zip(shown, made, strict=True))
    times = [picture.time for picture in shown]
    assert times == pytest.approx(
        [n / min(rate, 50) for n in range(5)], abs=0.011
    )  # a GIF counts hundredths of a second
    with Image.open(tmp_path / f"out{suffix}") as opened:
        assert opened.info["loop"] == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_one_frame_is_a_picture(tmp_path: Path, suffix: str) -> None:
    with VideoWriter(tmp_path / f"out{suffix}", 10) as video:
        video.write(moving_frames(1)[0])
    assert difference(read_image(tmp_path / f"out{suffix}"), moving_frames(1)[0]) <= 6


def test_a_long_animated_picture_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    def taken(num_frames: int) -> int:
        code = (
            "import numpy as np, torch; from flowgru.data.video.writer import VideoWriter\n"
            "from flowgru.model.memory import peak_memory\n"
            f"with VideoWriter({str(tmp_path / f'{num_frames}.gif')!r}, 10) as video:\n"
            f"    for n in range({num_frames}): video.write(np.full((240, 400, 3), n % 256, np.uint8))\n"
            "print(peak_memory(torch.device('cpu')))"
        )
        return int(run_alone(code).stdout)

    assert taken(200) - taken(20) < 25 * 2**20  # as many frames in RGB are 50 MiB


def test_a_video_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    frame = moving_frames(1)[0]
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 10) as video:
        video.write(frame)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"mine")
    with pytest.raises(RequestError, match="exists already"), VideoWriter(path, 10) as video:
        video.write(frame)
    with (
        pytest.raises(RequestError, match="a frame is 48x60, the first was 48x64 px"),
        VideoWriter(path, 10, overwrite=True) as video,
    ):
        video.write(frame)
        video.write(frame[:, :60])
    with pytest.raises(RequestError, match="no frame was given"), VideoWriter(path, 10, overwrite=True):
        pass
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RequestError, match="suffix must be one of"):
        VideoWriter(tmp_path / "out.wmv", 10)


def test_a_full_disk_is_a_machine_error_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with (
            pytest.raises(MachineError, match=r"cannot write .*File too large"),
            VideoWriter(tmp_path / "a.mp4", 10) as video,
        ):
            for frame in noisy_frames(20):
                video.write(frame)
        with pytest.raises(MachineError, match=r"cannot write .*File too large"):
            write_flow(tmp_path / "a.flo", np.zeros((100, 100, 2), np.float32))
        with pytest.raises(MachineError, match=r"cannot write .*File too large"):
            write_image(tmp_path / "a.png", noisy_frames(1, 100, 100)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_begins_a_further_video_and_a_failure_drops_only_its_own(tmp_path: Path) -> None:
    def open_video(number: int) -> VideoWriter:
        return VideoWriter(tmp_path / f"{number}.mp4", 10)

    with SegmentedVideoWriter(open_video) as videos:
        for number, frame in enumerate([*moving_frames(2), *moving_frames(3, 32, 80)]):
            videos.write(frame, time=5 + number / 10)
        with pytest.raises(RequestError, match=r"3\.mp4: H\.264 cannot hold frames of 4x20000 px"):
            videos.write(np.zeros((4, 20000, 3), np.uint8))
    assert videos.paths == [tmp_path / "1.mp4", tmp_path / "2.mp4"] == sorted(tmp_path.iterdir())
    for path, times in zip(videos.paths, ([0, 0.1], [0, 0.1, 0.2]), strict=True):
        with VideoReader(path) as video:
            assert [frame.time for frame in video] == times


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_pictures_with_times_of_their_own_are_slowed_to_what_viewers_show(tmp_path, suffix):
    frames = moving_frames(12)
    with VideoWriter(tmp_path / f"a{suffix}", 60) as video:
        for number, frame in enumerate(frames):
            video.write(frame, number / 60)
    times = [picture.time for picture in read_animation(tmp_path / f"a{suffix}")]
    assert times == pytest.approx([0.02 * number for number in range(12)], abs=0.001)

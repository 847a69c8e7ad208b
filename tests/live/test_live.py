"""`flowgru live` shows, saves and counts, whatever ends it; FFmpeg's test picture stands for a camera."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media import moving_frames, noisy_frames, write_clip

from flowgru.cli import main
from flowgru.data.video.frames import open_frames
from flowgru.data.video.reader import Frame
from flowgru.errors import MachineError
from flowgru.live import loop, recording
from flowgru.live.display import Nowhere
from flowgru.live.flow import LiveFlow
from flowgru.live.newest import Grabbed


@pytest.fixture
def live(model: str) -> Callable[..., int]:
    def run(*words: object) -> int:
        usual = {"--model": model, "--iterations": "1", "--device": "cpu", "--resize": "0.2", "--display": "none"}
        missing = [part for option in usual.items() if option[0] not in words for part in option]
        return main(["live", *map(str, words), *missing])

    return run


class FakeCamera:
    """Gives four frames, each once the flow to the one before was estimated, and then is unplugged."""

    frame_rate = None
    estimated = threading.Semaphore(0)

    def __init__(self, source: str) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        for number, image in enumerate(moving_frames(4)):
            yield Frame(image, f"frame_{number}", None, 0, damaged=False)
            assert self.estimated.acquire(timeout=100)
        raise MachineError("the camera has gone")


def saved(path: Path) -> list[Frame]:
    (source,) = open_frames([path])
    return list(source)


def test_what_is_shown_is_saved_with_its_times(live, tmp_path, monkeypatch, capsys):
    clock = iter([7.0, 7.2, 8.5, 8.6])  # when each picture is shown
    monkeypatch.setattr(recording, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert live("--source", "test", "--frames", 4, "--save", tmp_path / "a.mp4") == 0
    frames = saved(tmp_path / "a.mp4")
    assert len(frames) == 4 and frames[0].image.shape == (264, 640, 3)  # two pictures of 320x240 over a line of text
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 1.5, 1.6], abs=0.01)
    said = capsys.readouterr()
    assert said.out.startswith("showed 4 flows in ") and "flows/s, latency " in said.out and "a.mp4" in said.out
    assert "test: 4/4 flows" in said.err and "dropped" in said.err


def test_seconds_end_it_too(live, capsys):
    began = time.perf_counter()
    assert live("--source", "test", "--seconds", 0.6) == 0
    assert 0.6 <= time.perf_counter() - began < 10


def test_a_file_is_shown_at_its_own_speed(live, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(5))  # 10 frames a second
    began = time.perf_counter()
    assert live("--source", clip) == 0
    assert time.perf_counter() - began > 0.4
    assert "showed" in capsys.readouterr().out


def test_ctrl_c_ends_it_with_its_code_and_keeps_the_video(live, tmp_path, monkeypatch):
    shown = []

    def show(self, picture):
        shown.append(picture)
        if len(shown) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return True

    monkeypatch.setattr(Nowhere, "show", show)
    assert live("--source", "test", "--save", tmp_path / "a.mp4") == 130
    assert len(saved(tmp_path / "a.mp4")) == len(shown) == 2


def test_ctrl_c_while_the_video_is_finished_leaves_it_whole(live, tmp_path, monkeypatch):
    def leave(self, *failure, real=recording.Recording.__exit__):
        os.kill(os.getpid(), signal.SIGINT)
        real(self, *failure)

    monkeypatch.setattr(recording.Recording, "__exit__", leave)
    assert live("--source", "test", "--frames", 3, "--save", tmp_path / "a.mp4") == 130
    assert len(saved(tmp_path / "a.mp4")) == 3


def test_a_camera_that_stops_is_one_line_and_the_video_is_kept(live, tmp_path, monkeypatch, capsys):
    def to(self, frame, real=LiveFlow.to):
        found = real(self, frame)
        FakeCamera.estimated.release()
        return found

    monkeypatch.setattr(loop, "Camera", FakeCamera)
    monkeypatch.setattr(LiveFlow, "to", to)
    assert live("--source", "camera", "--save", tmp_path / "a.mp4") == 4
    assert len(saved(tmp_path / "a.mp4")) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "error: the camera has gone"


def test_a_video_that_cannot_be_written_is_known_before_any_work(live, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "open_network", lambda settings: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("kept")
    for place, code in (("/proc/nowhere/a.mp4", 4), (tmp_path / "file/a.mp4", 2)):
        assert live("--source", "test", "--save", place) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "--save" in line and "--output" not in line


def test_a_video_that_was_not_finished_is_not_said_to_be_written(live, tmp_path, monkeypatch, capsys):
    def full(self, rgb, time=None):
        raise MachineError("the disk is full")

    monkeypatch.setattr("flowgru.live.recording.VideoWriter.write", full)
    assert live("--source", "test", "--save", tmp_path / "a.mp4") == 4
    said = capsys.readouterr()
    assert "wrote" not in said.out and "error: the disk is full" in said.err and list(tmp_path.iterdir()) == []


def test_pictures_of_a_new_size_begin_a_further_video_which_replaces_none(live, tmp_path, monkeypatch, capsys):
    def pictures(newest, network, settings, pace, received):
        for picture in [*moving_frames(3), *moving_frames(2, 32, 80)]:
            pace.shown(Grabbed(Frame(picture, "a", None, 0, damaged=False), time.perf_counter()))
            time.sleep(0.05)
            yield picture

    monkeypatch.setattr(loop, "_pictures", pictures)
    (tmp_path / "a_2.mp4").write_text("mine")
    assert live("--source", "test", "--save", tmp_path / "a.mp4") == 0
    first, second = saved(tmp_path / "a.mp4"), saved(tmp_path / "a_3.mp4")
    assert [frame.image.shape for frame in (*first, *second)] == 3 * [(48, 64, 3)] + 2 * [(32, 80, 3)]
    assert first[0].time == second[0].time == 0 and (tmp_path / "a_2.mp4").read_text() == "mine"
    assert capsys.readouterr().out.strip().endswith(f"; wrote {tmp_path / 'a.mp4'} and {tmp_path / 'a_3.mp4'}")


def test_a_display_that_is_closed_ends_it(live, monkeypatch, capsys):
    monkeypatch.setattr(Nowhere, "show", lambda self, picture: False)
    assert live("--source", "test") == 0
    assert capsys.readouterr().out.startswith("showed 1 flow in ")


def test_where_nothing_was_shown_nothing_is_saved(live, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "_pictures", lambda *_: iter(()))
    assert live("--source", "test", "--save", tmp_path / "a.mp4") == 0
    assert not (tmp_path / "a.mp4").exists()
    assert "no flow was shown, so" in capsys.readouterr().err


def test_a_file_that_breaks_off_is_shown_so_far_and_its_code_says_so(live, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mkv", noisy_frames(12))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert live("--source", clip) == 3
    said = capsys.readouterr()
    assert said.out.startswith("showed ")
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "clip.mkv" in line


def test_a_file_that_is_shown_is_not_replaced_by_what_is_saved(live, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(3))
    before = clip.read_bytes()
    assert live("--source", clip, "--save", "clip.mp4", "--overwrite") == 2
    assert capsys.readouterr().err.startswith("error: --save clip.mp4 is what --source shows")
    assert clip.read_bytes() == before


def test_several_clips_are_one_line(live, tmp_path, capsys):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", moving_frames(2))
    assert live("--source", tmp_path / "*.mp4") == 2
    assert "error: got 2 clips (a, b): expected one clip, so name it alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--source", "/dev/video99"], 4, "the camera /dev/video99 cannot be used (No such file or directory)"),
        (["--source", "nowhere.mp4"], 3, "nowhere.mp4"),
        (["--source", "test", "--display", "window"], 4, "no window can be opened: "),
        (["--source", "test", "--save", "a.avi"], 2, "cannot write a video to a.avi"),
        (["--source", "test", "--save", "there.mp4"], 2, "there.mp4 is already there: give --overwrite"),
        (["--source", "test", "--overwrite"], 2, "--overwrite has no effect without --save"),
        (["--source", "test", "--frames", 0], 2, "--frames is 0: it must be 1 or more"),
        (["--source", "test", "--seconds", 0], 2, "--seconds is 0.0: it must be above 0"),
        (["--source", "test", "--initial-flow", "."], 2, "expected dis or zero"),
        (["--source", "test", "--port", 70000], 2, "--port is 70000"),
        (["--source", "test", "--display", "page", "--host", "a..b"], 4, "cannot listen at a..b:"),
        (["--source", "test", "--resize", "big"], 2, "--resize is 'big'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_its_code(live, words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GUI:   NONE\n")
    Path("there.mp4").write_bytes(b"kept")
    assert live(*words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert [path.name for path in tmp_path.iterdir()] == ["there.mp4"] and Path("there.mp4").read_bytes() == b"kept"


def test_a_port_that_is_taken_is_one_line(live, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert live("--source", "test", "--display", "page", "--port", port) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use): give another --port" in line


def test_a_pair_across_a_cut_and_the_one_after_it_begin_anew(network, monkeypatch):
    from flowgru.live.settings import LiveSettings

    starts, match = [], network.match
    monkeypatch.setattr(
        network, "match", lambda *a, **options: (starts.append(options["initial_coarse"]), match(*a, **options))[1]
    )
    quiet = [frame // 4 for frame in noisy_frames(6)]
    flows = LiveFlow(network, LiveSettings(device="cpu", iterations=1, warm_start=True))
    for number, image in enumerate([*quiet[:3], *(frame + 128 for frame in quiet[3:])]):
        flows.to(Frame(image, f"{number}", None, 0, damaged=False))
    assert [start is None for start in starts] == [True, False, True, True, False]


def test_the_latency_of_any_number_of_flows_takes_no_more_memory(monkeypatch):
    from flowgru.live.flow import FLOWS_FOR_RATE, Pace

    pace, now = Pace(), iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    frame = Frame(np.zeros((2, 2, 3), np.uint8), "a", None, 0, damaged=False)
    for number in range(1000):
        pace.shown(Grabbed(frame, number - (2.0 if number % 2 else 1.0)))
    assert (pace.num_shown, pace.latency, pace.mean_latency) == (1000, 2.0, 1.5)
    assert all(len(kept) <= FLOWS_FOR_RATE for kept in vars(pace).values() if isinstance(kept, Sized))


def test_pictures_have_the_colours_of_the_flow_and_a_line_of_text():
    from flowgru.live.flow import LivePair, LivePicture
    from flowgru.live.settings import LiveSettings
    from flowgru.view.colour_wheel import flow_to_image

    frame = Frame(np.zeros((60, 400, 3), np.uint8), "a", None, 0, damaged=False)
    pictures = LivePicture(LiveSettings())

    def right(length: float) -> tuple[np.ndarray, np.ndarray]:
        flow = np.full((60, 400, 2), (length, 0), np.float32)
        shown = pictures.of(LivePair(frame, flow), "12.0 flows/s, latency 80 ms")
        assert shown.shape == (84, 800, 3) and (shown[60:, :200] < 128).any() and (shown[60:, 400:] == 255).all()
        return shown[:60, 400:], flow

    for length, scale in ((10, 10), (5, 10), (20, 20), (5, 5)):  # it stays until it is too small, or much too large
        shown, flow = right(length)
        assert np.array_equal(shown, flow_to_image(flow, float(scale)))

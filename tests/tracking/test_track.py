"""`flowgru track`: points in, tracks and a video out, and one line for whatever cannot be followed."""

import os

import numpy as np
import pytest
from estimates import only_error
from media import moving_frames, noisy_frames
from tables import csv_rows

from flowgru.cli import main
from flowgru.data.drawing import rainbow, with_points
from flowgru.data.formats.images import write_image
from flowgru.data.video.reader import VideoReader
from flowgru.data.video.writer import VideoWriter
from flowgru.files.atomic import atomic_write
from flowgru.tracking.points import read_points
from flowgru.tracking.run import _Tracking


def run(*words: str) -> int:
    return main(["track", *words, "--output", "out", "--device", "cpu"])


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one error on stderr, beside a note that a clip is read as one."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_every_point_has_a_line_in_every_frame(place, still, capsys):
    assert run("clip.mp4", "--points", "points.csv") == 0
    found = csv_rows(place / "out/tracks.csv")
    assert [*found[0]] == ["point", "frame", "time", "x", "y", "visible"] and len(found) == 10
    assert [row["point"] for row in found[:2]] == ["corner", "nose"]
    assert [row["frame"] for row in found[::2]] == [f"frame_{n:06d}" for n in range(1, 6)]
    assert [row["time"] for row in found[1::2]] == ["0", "0.1", "0.2", "0.3", "0.4"]
    assert {(row["x"], row["y"], row["visible"]) for row in found[1::2]} == {("20.500", "30.000", "1")}
    with VideoReader(place / "out/tracks.mp4") as video:
        pictures = [frame.image for frame in video]
    assert len(pictures) == 5 and pictures[0].shape == (48, 64, 3)
    assert "followed 2 points through 5 frames, 2 seen in the last; wrote out/tracks.csv and out/tracks.mp4" in (
        capsys.readouterr().out
    )
    assert still.num_encoded == 5  # each frame once, whatever the strides


@pytest.mark.parametrize(
    ("pictures", "found"),
    [
        (["a/frame.png", "b/frame.png"], ["frame", "b_frame"]),
        ([os.fsdecode(b"caf\xe9.png"), "tea.png"], ["caf\\udce9", "tea"]),  # no UTF-8
    ],
)
def test_each_frame_has_a_name_of_its_own_in_utf_8(place, still, pictures, found):
    for path, frame in zip(pictures, noisy_frames(2, 9, 12), strict=True):
        write_image(place / path, frame)
    assert run(*pictures, "--grid", "1", "--no-video") == 0
    assert [row["frame"] for row in csv_rows(place / "out/tracks.csv")] == found


def test_a_grid_without_a_video(place, still):
    for number, frame in enumerate(noisy_frames(3, 9, 12)):
        write_image(place / f"walk/{number}.png", frame)
    assert run("walk", "--grid", "3", "--no-video", "--strides", "1,2") == 0
    assert [path.name for path in (place / "out").iterdir()] == ["tracks.csv"]
    found = csv_rows(place / "out/tracks.csv")
    assert len(found) == 27 and [(row["x"], row["y"]) for row in found[:4]] == [
        ("1.500", "1.000"),
        ("5.500", "1.000"),
        ("9.500", "1.000"),
        ("1.500", "4.000"),
    ]
    assert {row["time"] for row in found} == {""} and {row["frame"] for row in found} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column 'x'"),
        ("x,y\n", "points.csv has no point"),
        ("10,20\n", "has no column 'x': its first line must name x and y, and may name point; it is '10,20'"),
        ("x,y\n1,2\n3,four\n", "points.csv, line 3: y is 'four': expected a number"),
        ("x,y\n1\n", "points.csv, line 2: y is '': expected a number"),
        ("x,y\n1,2\n10,5,20,25\n", "points.csv, line 3 has more than 2 values: write decimals with a point"),
        ("x,y\nnan,2\n", "points.csv, line 2: x is 'nan': expected a number"),
        ("x,y\n1e999,2\n", "points.csv, line 2: x is '1e999': expected a number"),
        ("x,y\n1,2\n64,2\n", "points.csv, line 3: the point (64, 2) is outside the first frame of 48x64 px"),
        ("x,y\n-0.6,2\n", "points.csv, line 2: the point (-0.6, 2) is outside"),
        ("point,x,y\na,1,2\na,3,4\n", "points.csv has the point 'a' twice"),
        ('x,y\n"1,2\n', "is no CSV file in UTF-8"),
        ("\ud800", "is no CSV file in UTF-8"),
    ],
)
def test_points_that_cannot_be_followed_are_one_line(place, still, capsys, text, said):
    (place / "points.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert run("clip.mp4", "--points", "points.csv") == 3
    assert said in the_error(capsys)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["clip.mp4"], 2, "give either --points FILE.csv or --grid N"),
        (["clip.mp4", "--grid", "2", "--points", "points.csv"], 2, "give either --points FILE.csv or --grid N"),
        (["clip.mp4", "--points", "nowhere.csv"], 3, "nowhere.csv"),
        (["clip.mp4", "--grid", "0"], 2, "--grid is 0: it must be from 1 to 1000"),
        (["clip.mp4", "--grid", "2", "--strides", "2,4"], 2, "--strides is 2, 4: it must be ascending from 1"),
        (["clip.mp4", "--grid", "2", "--strides", "1,1"], 2, "--strides is 1, 1: it must be ascending"),
        (["clip.mp4", "--grid", "2", "--strides", "1,900"], 2, "up to 256"),
        (["clip.mp4", "--grid", "2", "--warm-start"], 2, "--warm-start has no effect for tracks"),
        (["clip.mp4", "--grid", "2", "--initial-flow", "."], 2, "--initial-flow is .: tracks begin each flow at dis"),
        (["clip.mp4", "--grid", "2", "--resize", "x"], 2, "--resize is 'x'"),
        (
            ["clip.mp4", "clip.mp4", "--grid", "2"],
            2,
            "got 2 clips (clip_1, clip_2): expected one clip, so name it alone",
        ),
        (["nowhere.mp4", "--grid", "2"], 3, "nowhere.mp4"),
        (["clip.mp4", "--grid", "2", "--start", "5"], 3, "at least 2 frames are needed"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(place, still, capsys, words, code, said):
    assert run(*words) == code
    assert said in the_error(capsys)
    assert not (place / "out").exists()


def test_nothing_that_is_there_is_replaced_unasked(place, still, capsys):
    (place / "out").mkdir()
    (place / "out/tracks.csv").write_text("precious")
    assert run("clip.mp4", "--grid", "2") == 2
    assert "tracks.csv is already there: give --overwrite or another --output" in only_error(capsys)
    assert (place / "out/tracks.csv").read_text() == "precious"
    assert run("clip.mp4", "--grid", "2", "--overwrite") == 0
    assert len(csv_rows(place / "out/tracks.csv")) == 20
    assert main(["track", "clip.mp4", "--points", "out/tracks.csv", "--output", "out", "--overwrite"]) == 2
    assert "is an input, which results would replace" in capsys.readouterr().err


def test_a_clip_that_breaks_off_is_followed_so_far(place, still, capsys):
    for number, frame in enumerate(noisy_frames(4)):
        write_image(place / f"walk/{number}.png", frame)
    (place / "walk/3.png").write_bytes((place / "walk/3.png").read_bytes()[:999])
    assert run("walk", "--grid", "2") == 3
    assert "3.png" in the_error(capsys)
    assert len(csv_rows(place / "out/tracks.csv")) == 12 and (place / "out/tracks.mp4").exists()


def test_points_and_their_ways_are_drawn_where_they_are():
    image = np.zeros((40, 60, 3), np.uint8)
    trails = [np.array([[10.0, 20.0], [50.0, 5.0]]), np.array([[30.0, 20.0], [50.0, 30.0]])]
    drawn = with_points(image, trails, np.array([True, False]), rainbow([0.0, 0.5]))
    assert not image.any() and (drawn[20, 30] == (255, 0, 0)).all() and drawn[20, 15:25].any(axis=1).all()
    assert not drawn[30, 50].any() and drawn[28:33, 48:53].any()  # a ring
    assert not drawn[5:25, 50].any()  # without a way
    far = [np.array([[1e30, np.nan]])]
    assert with_points(image, far, np.array([True]), rainbow([0.3])).shape == image.shape


def test_points_on_the_outer_half_of_the_edge_are_followed(place, still):
    (place / "points.csv").write_text(
        "x,y\n-0.5,-0.5,\n63.4,47.4,\n"
    )  # as programs write that end each line with a comma
    assert run("clip.mp4", "--points", "points.csv") == 0
    assert {row["point"] for row in csv_rows(place / "out/tracks.csv")} == {"1", "2"}
    (low, red), (violet, high) = rainbow([-0.5, 0.0]), rainbow([1.0, 7.0])
    assert (low == red).all() and (violet == high).all() and (red != violet).any()


def test_names_of_points_are_their_numbers_where_none_are_given(tmp_path):
    (tmp_path / "p.csv").write_text("y, x\n1,2\n3,4\n")
    points = read_points(tmp_path / "p.csv")
    assert points.names == ["1", "2"] and points.positions.tolist() == [[2, 1], [4, 3]]


def test_an_earlier_video_does_not_stay_beside_other_tracks(place, still, capsys):
    assert run("clip.mp4", "--grid", "2") == 0
    assert run("out/tracks.mp4", "--grid", "3", "--no-video", "--overwrite") == 2
    assert "out/tracks.mp4 is an input, which results would replace: name another --output" in the_error(capsys)
    assert run("clip.mp4", "--grid", "3", "--no-video", "--overwrite") == 0
    assert [path.name for path in (place / "out").iterdir()] == ["tracks.csv"]
    (place / "out/tracks.csv").unlink()
    (place / "out/tracks.mp4").write_text("mine")  # it is no earlier run's, for there are no tracks
    assert run("clip.mp4", "--grid", "3", "--no-video", "--overwrite") == 0
    assert (place / "out/tracks.mp4").read_text() == "mine"


def test_the_video_has_the_times_of_the_tracks(place, still):
    """The rate that a file declares may be another one, and frames may come unevenly."""
    with VideoWriter(place / "uneven.mkv", 60) as video:
        for frame, time in zip(moving_frames(5), (0.0, 0.1, 0.2, 3.0, 3.1), strict=True):
            video.write(frame, time=time)
    assert run("uneven.mkv", "--grid", "1") == 0
    times = [float(row["time"]) for row in csv_rows(place / "out/tracks.csv")]
    with VideoReader(place / "out/tracks.mp4") as video:
        assert [frame.time for frame in video] == pytest.approx(times, abs=0.001) and times[-1] == pytest.approx(3.1)


def test_no_video_stays_where_the_tracks_cannot_be_written(place, still, monkeypatch, capsys):
    def opened(self, stack):
        stack.enter_context(atomic_write(self.targets[0], overwrite=False))
        return stack.enter_context(open("/dev/full", "w"))

    monkeypatch.setattr(_Tracking, "_opened", opened)
    assert run("clip.mp4", "--grid", "1") == 4
    assert "cannot write out/tracks.csv" in the_error(capsys)
    assert not (place / "out").exists()

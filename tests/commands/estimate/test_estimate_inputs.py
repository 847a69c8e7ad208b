"""Inputs that `flowgru estimate` cannot read, in part or at all: one line, and what could be read is kept."""

import json
import struct
import zlib
from pathlib import Path

import pytest
from estimates import SIZE, names, only_error
from made_inputs import lock
from media import moving_frames, noisy_frames, write_clip

from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import Frame, FrameSource
from flowgru.data.video.reader import VideoReader
from flowgru.estimation import clips as estimation


def bad_video(path: Path, kind: str) -> Path:
    """A file that is no readable video."""
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "without its index":
        whole = write_clip(path, noisy_frames(8, *SIZE)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "one frame":
        write_clip(path, moving_frames(1, *SIZE))
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "without its index", "one frame"])
def test_a_bad_video_is_one_line_and_exit_3(estimate, tmp_path, output, capsys, kind):
    assert estimate(bad_video(tmp_path / "clip.mp4", kind)) == 3
    assert "clip.mp4" in only_error(capsys)
    assert not output.exists()


def test_on_error_skip_goes_on_with_the_other_inputs(estimate, tmp_path, folder, output, capsys):
    bad = bad_video(tmp_path / "bad.mp4", "text")
    assert estimate(bad, folder, "--end", 3) == 3
    assert "bad.mp4" in only_error(capsys) and not output.exists()
    assert estimate(bad, folder, "--end", 3, "--on-error", "skip") == 3
    assert "error: " in capsys.readouterr().err
    assert names(output) == ["summary.json", "walk"] and names(output / "walk") == ["frame_1.flo", "frame_2.flo"]
    clips = json.loads((output / "summary.json").read_text())["clips"]
    assert len(clips[0]["problems"]) == 1 and clips[0]["flows"] == [] and clips[1]["problems"] == []


@pytest.mark.parametrize("ending", [".mp4", ".png", ""])
def test_on_error_skip_goes_on_over_a_name_that_cannot_be_looked_at(estimate, folder, output, capsys, ending):
    """Such as one that is too long."""
    long = f"{300 * 'a'}/x/clip{ending}"
    assert estimate(long) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert estimate(long, folder, "--end", 3, "--on-error", "skip") == 3
    assert "error: " in capsys.readouterr().err and "walk" in names(output)


def test_what_may_not_be_looked_at_is_one_clip_of_a_pattern(estimate, folder, output, tmp_path, capsys, monkeypatch):
    """A folder may be listed whose files nobody may look at."""
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/open.mp4", moving_frames(3, *SIZE))
    (tmp_path / "clips/locked.mp4").write_text("locked")
    lock(monkeypatch, "clips/locked")
    assert estimate(tmp_path / "clips/*.mp4", "--on-error", "skip") == 3
    assert "locked.mp4" in capsys.readouterr().err and len(names(output / "open")) == 2


def test_on_error_skip_goes_on_over_folders_and_pictures_that_give_no_pair(estimate, tmp_path, output, capsys):
    good = write_clip(tmp_path / "good.mp4", moving_frames(4, *SIZE))
    for name, num_frames in (("empty", 0), ("one", 1), ("short", 2)):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(moving_frames(num_frames, *SIZE)):
            write_image(tmp_path / name / f"{number}.png", frame)
    bad = [tmp_path / name for name in ("empty", "one", "short", "short/1.png")]
    assert estimate(bad[0], good, *bad[1:], "--start", 2, "--on-error", "skip") == 3
    assert capsys.readouterr().err.count("error: ") == 4
    assert names(output / "good") == ["frame_000002.flo", "frame_000003.flo"]
    clips = json.loads((output / "summary.json").read_text())["clips"]
    assert [(len(clip["problems"]), len(clip["flows"])) for clip in clips] == [(1, 0), (0, 2), (1, 0), (1, 0), (1, 0)]


@pytest.mark.parametrize("quoted", [True, False])
def test_the_same_command_goes_on_where_its_output_is_among_its_inputs(estimate, tmp_path, capsys, quoted):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b"):
        write_clip(videos / f"{name}.mp4", moving_frames(3, *SIZE))
    words = ["--output", videos / "flow", "--backward", "--video"]
    for said in ("wrote 4 flows", "holds the 4 flows of this command already"):
        assert estimate(*([videos / "*"] if quoted else sorted(videos.iterdir())), *words) == 0
        assert said in capsys.readouterr().out
    assert names(videos) == ["a.mp4", "b.mp4", "flow"]


def test_a_video_that_ends_before_the_start_does_not_stop_the_others(estimate, tmp_path, output, capsys):
    videos = [write_clip(tmp_path / f"{count}.mp4", moving_frames(count, *SIZE)) for count in (3, 8)]
    assert estimate(*videos, "--start", 6, "--on-error", "skip") == 3
    assert "3.mp4 has 3 frames, but frames from 6 on were asked for" in capsys.readouterr().err
    assert names(output / "8") == ["frame_000006.flo", "frame_000007.flo"] and (output / "summary.json").exists()


def test_a_truncated_video_gives_what_can_be_decoded_and_exit_3(estimate, tmp_path, output, capsys):
    whole = write_clip(tmp_path / "whole.mkv", noisy_frames(20, *SIZE), codec_options={"g": "1", "bf": "0"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert estimate(cut, "--video") == 3
    said = capsys.readouterr().err
    assert "error: " in said and "frames, the file ends early" in said and "Traceback" not in said
    (clip,) = json.loads((output / "summary.json").read_text())["clips"]
    assert len(clip["problems"]) >= 1 and 5 < len(clip["flows"]) < 19
    assert len(list(output.glob("*.flo"))) == len(clip["flows"]) and (output / "flow.mp4").exists()


class FakeSource(FrameSource):
    """A video of which frame 3 is damaged and that changes its size after frame 4."""

    name, paths, frame_rate, expected_frames = "fake", (), None, None

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __iter__(self):
        self.problems = ["fake: 1 damaged frames from 3 on"]
        for index, frame in enumerate([*noisy_frames(4, *SIZE), *noisy_frames(2, 40, 72)]):
            yield Frame(frame, f"f{index + 1}", None, int(index >= 4), index == 2)


def test_flow_across_a_damaged_frame_is_marked_and_a_new_size_begins_anew(estimate, output, capsys, monkeypatch):
    monkeypatch.setattr(estimation, "open_frames", lambda *_: [FakeSource()])
    assert estimate("fake.mp4", "--video") == 3
    assert "error: fake: 1 damaged frames from 3 on" in capsys.readouterr().err
    (clip,) = json.loads((output / "summary.json").read_text())["clips"]
    assert [flow["damaged"] for flow in clip["flows"]] == [False, True, True, False]
    assert [flow["name"] for flow in clip["flows"]] == ["f1", "f2", "f3", "f5"]
    for name, num_frames in (("flow.mp4", 3), ("flow_2.mp4", 1)):
        with VideoReader(output / name) as video:
            assert len(list(video)) == num_frames
    before = (output / "flow_2.mp4").read_bytes()
    assert estimate("fake.mp4", "--video") == 3 and (output / "flow_2.mp4").read_bytes() == before


def test_a_video_of_a_further_size_is_not_replaced_unasked(estimate, output, capsys, monkeypatch):
    monkeypatch.setattr(estimation, "open_frames", lambda *_: [FakeSource()])
    output.mkdir()
    (output / "flow_2.mp4").write_text("mine")
    assert estimate("fake.mp4", "--video") == 2
    assert "already holds flow_2.mp4" in only_error(capsys) and [*output.iterdir()] == [output / "flow_2.mp4"]
    assert estimate("fake.mp4") == 3 and (output / "flow_2.mp4").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("http://example.com/clip.mp4", 2, "is a URL"),
        ("clip.m3u8", 2, "is a playlist"),
        ("empty folder", 2, "need at least 2 frames"),
        ("folder of one", 2, "need at least 2 frames"),
        ("one picture", 2, "need at least 2 frames"),
        ("nothing*.png", 2, "matches nothing"),
    ],
)
def test_inputs_that_are_none(estimate, tmp_path, pair, output, capsys, given, code, said):
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "folder of one").mkdir()
    write_image(tmp_path / "folder of one" / "a.png", moving_frames(1)[0])
    path = given if ":" in given else pair[0] if given == "one picture" else tmp_path / given
    assert estimate(path) == code
    assert said in only_error(capsys)
    assert not output.exists()


def damaged_picture(path: Path, kind: str) -> Path:
    write_image(path, noisy_frames(1, *SIZE)[0], overwrite=True)
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 255
    elif kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "huge":  # a header that claims 40000x40000
        header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
        checked = b"IHDR" + header
        data = bytearray(
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + checked + struct.pack(">I", zlib.crc32(checked))
        )
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "kind"), [("b.png", "flipped"), ("b.jpg", "truncated"), ("b.png", "huge")])
def test_a_damaged_picture_is_named_and_exit_3(estimate, pair, tmp_path, output, capsys, name, kind):
    assert estimate(pair[0], damaged_picture(tmp_path / name, kind)) == 3
    assert name in only_error(capsys)
    assert not output.exists()


def test_flows_before_a_damaged_picture_are_kept(estimate, folder, output, capsys):
    damaged_picture(folder / "frame_4.png", "truncated")
    assert estimate(folder) == 3
    assert "frame_4.png" in capsys.readouterr().err
    assert names(output) == ["frame_1.flo", "frame_2.flo", "summary.json"]


def test_two_pictures_are_called_after_the_first_and_more_after_their_folder(estimate, pair, folder, output, capsys):
    assert estimate(*pair) == 0 and "a: 1/1 pairs, " in capsys.readouterr().err
    (clip,) = json.loads((output / "summary.json").read_text())["clips"]
    assert clip["clip"] == "a" and names(output) == ["a.flo", "summary.json"]
    assert estimate(*pair, "--iterations", 2) == 2
    assert "another request (iterations was 1 and is 2)" in only_error(capsys)
    assert estimate(*sorted(folder.iterdir())[:3]) == 2
    assert "inputs was a and is walk)" in only_error(capsys)


def test_two_sizes_are_both_named(estimate, pair, tmp_path, output, capsys):
    write_image(tmp_path / "c.png", moving_frames(1, 40, 72)[0])
    assert estimate(pair[0], tmp_path / "c.png") == 3
    assert "a is 48x64 and c 40x72 px (height x width): both frames of a pair must have one size" in only_error(capsys)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stride", 10], "clip gives 6 frames, and --stride 10 needs at least 11: give a smaller one"),
        (
            ["--fps", 5, "--stride", 3],
            "clip gives 3 frames at --fps 5, and --stride 3 needs at least 4: give a smaller one",
        ),
        (["--fps", 0.1], "clip gives 6 frames, of which --fps 0.1 uses 1: give a larger one"),
        (
            ["--start", 6],
            "clip.mp4 gives 1 frame from --start 6, and at least 2 frames are needed: give a smaller --start",
        ),
        (
            ["--start", 6, "--end", 9],
            "clip.mp4 gives 1 frame from --start 6 to --end 9, and at least 2 frames are needed",
        ),
    ],
)
def test_options_that_leave_one_frame_of_a_clip_are_named(estimate, tmp_path, output, capsys, options, said):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(6, *SIZE))
    assert estimate(video, *options) == 3
    assert said in only_error(capsys) and not output.exists()


def test_an_input_that_gives_no_pair_is_told_before_the_work_of_the_others(estimate, tmp_path, folder, output, capsys):
    (tmp_path / "empty").mkdir()
    assert estimate(folder, tmp_path / "empty") == 2
    assert "empty gives 0 picture files" in capsys.readouterr().err and not output.exists()

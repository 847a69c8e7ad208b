"""`flowgru estimate --video`: what the video shows, and where it lies under which name."""

import json

import numpy as np
import pytest
from estimates import SIZE, names, only_error
from made_inputs import animation
from media import moving_frames, write_clip

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.video.animation import read_animation
from flowgru.data.video.reader import VideoReader


def test_a_video_shows_frames_beside_their_flow(estimate, tmp_path, output):
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(5, 90, 122))
    assert estimate(clip, "--video", "--max-flow", 7) == 0
    with VideoReader(output / "flow.mp4") as video:
        plain = [frame.image for frame in video]
        assert video.frame_rate == 10
    assert len(plain) == 4 and plain[0].shape == (90, 244, 3)
    assert np.abs(plain[2][:, :122].astype(int) - moving_frames(5, 90, 122)[2]).mean() < 6
    assert json.loads((output / "summary.json").read_text())["clips"][0]["colour_scale"] == 7
    assert estimate(clip, "--arrows", "--overwrite", "--format", "npz") == 0  # arrows imply a video
    with VideoReader(output / "flow.mp4") as video:
        arrows = [frame.image for frame in video]
    assert np.abs(plain[2][:, :122].astype(int) - arrows[2][:, :122]).mean() > 1
    scale = json.loads((output / "summary.json").read_text())["clips"][0]["colour_scale"]
    flows = [read_flow(path).flow for path in output.glob("*.npz")]
    assert scale >= max(np.percentile(np.linalg.norm(flow, axis=2), 99) for flow in flows) > 0


@pytest.mark.parametrize(("words", "times"), [((), [0, 0.1, 0.2, 3.0]), (("--stride", "2"), [0, 0.2])])
def test_a_video_has_the_times_of_the_clip(estimate, tmp_path, output, words, times):
    clip = write_clip(tmp_path / "uneven.mkv", moving_frames(5, *SIZE), times=[0, 1, 2, 30, 31])
    assert estimate(clip, "--video", *words) == 0
    with VideoReader(output / "flow.mp4") as video:
        assert [frame.time for frame in video] == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize("name", ["flow.gif", "motion.WEBP", "motion.mp4"])
def test_a_video_has_the_name_and_the_kind_that_are_asked_for(estimate, tmp_path, output, name):
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(3, *SIZE))
    words = [f"--video={name}"] if name.endswith("mp4") else ["--video", name]
    assert estimate(*words, clip) == 0
    assert names(output) == sorted(["frame_000001.flo", "frame_000002.flo", name, "summary.json"])
    if not name.endswith("mp4"):
        shown = list(read_animation(output / name))
        assert [picture.image.shape for picture in shown] == [(SIZE[0], 2 * SIZE[1], 3)] * 2
    assert estimate(clip, *words) == 0  # nothing is left to do
    (output / name).unlink()  # what is lost is made again, and nothing else
    before = (output / "frame_000001.flo").stat().st_mtime_ns
    assert estimate(clip, *words) == 0 and (output / name).exists()
    assert (output / "frame_000001.flo").stat().st_mtime_ns == before
    assert estimate(clip, "--video") == 2  # another request


def test_what_stands_behind_the_switch_is_an_input_where_it_is_no_name_of_a_picture(estimate, tmp_path, output):
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(2, *SIZE))
    assert estimate("--video", clip) == 0 and names(output) == ["flow.mp4", "frame_000001.flo", "summary.json"]
    animation(100)(tmp_path / "walk.gif", moving_frames(2, *SIZE))
    assert estimate("--video", tmp_path / "walk.gif", "--overwrite") == 0  # for it is in a folder
    assert estimate("--video", "--no-video", tmp_path / "walk.gif", "--output", tmp_path / "plain") == 0
    assert names(tmp_path / "plain") == ["frame_000001.flo", "summary.json"]


@pytest.mark.parametrize("name", ["flow.avi", "a/flow.gif", ".gif", "../flow.gif", "flow"])
def test_a_name_that_is_none_of_a_video_is_one_line(estimate, folder, output, capsys, name):
    assert estimate(folder, f"--video={name}") == 2
    assert f"--video is {name!r}: expected the name of a file in the output folder" in only_error(capsys)
    assert not output.exists()


def test_an_animated_picture_is_not_laid_among_the_input_pictures(estimate, folder, capsys):
    assert estimate(folder, "--video", "flow.gif", "--output", folder) == 2
    assert "could replace the input pictures there" in only_error(capsys)

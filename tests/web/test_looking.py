"""What is shown, said and taken home of a clip that was estimated."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from media import moving_frames, write_clip

from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.formats.images import read_image, write_image
from flowgru.data.video.reader import VideoReader
from flowgru.errors import RequestError
from flowgru.view.colour_wheel import flow_to_image
from flowgru.web.downloads import KINDS, made
from flowgru.web.looking import Look, kinds_of, motion_at, pictures_of
from flowgru.web.settings import WebSettings
from flowgru.web.work import Counted, EstimatedClip, Models, Pair, Wishes, estimated


@pytest.fixture
def clip(tmp_path: Path) -> EstimatedClip:
    """A pair whose flow is (3, -4) everywhere and (-3, 4) back, half of it occluded, all of it sure to a fifth."""
    write_flow(tmp_path / "a.flo", np.full((48, 64, 2), (3, -4), np.float32))
    write_flow(tmp_path / "a_backward.flo", np.full((48, 64, 2), (-3, 4), np.float32))
    mask = np.zeros((48, 64, 3), np.uint8)
    mask[:, 32:] = 255
    write_image(tmp_path / "a_occlusion.png", mask)
    write_image(tmp_path / "a_confidence.png", np.full((48, 64, 3), 51, np.uint8))
    first, second = (tmp_path / "frames" / name for name in ("first.png", "second.png"))
    for path, frame in zip((first, second), moving_frames(2), strict=True):
        write_image(path, frame)
    return EstimatedClip(tmp_path, [Pair("a", first, second)], scale=10.0, has_backward=True, has_confidence=True)


def test_a_pixel_is_told_where_it_goes(clip):
    assert kinds_of(clip) == ["flow", "backward flow", "occlusion", "confidence"]
    assert motion_at(clip, Look(), 5, 6) == (
        "x 5, y 6: flow u +3.00, v -4.00 px; length 5.00 px; direction 53° (0° is right, 90° is up); seen in the second "
        "frame; confidence 20%"
    )
    assert "; not seen in the second frame; " in motion_at(clip, Look(), 99, 6)  # beyond the picture is its last pixel
    back = motion_at(clip, Look(what="backward flow"), 5, 6)
    assert (
        back == "x 5, y 6: backward flow u -3.00, v +4.00 px; length 5.00 px; direction 233° (0° is right, 90° is up)"
    )


def test_each_look_shows_its_pictures(clip):
    first, second = moving_frames(2)
    frame, flow = pictures_of(clip, Look())
    assert np.array_equal(frame, first)
    assert np.array_equal(flow, flow_to_image(np.full((48, 64, 2), (3, -4), np.float32), 10.0))
    assert np.array_equal(pictures_of(clip, Look(what="backward flow"))[0], second)
    assert np.array_equal(
        pictures_of(clip, Look(max_flow=5.0))[1], flow_to_image(np.full((48, 64, 2), (3, -4), np.float32), 5.0)
    )
    assert (pictures_of(clip, Look(arrows=True))[0] != first).any()
    for what in ("occlusion", "confidence"):
        assert np.array_equal(pictures_of(clip, Look(what=what))[1], read_image(clip.folder / f"a_{what}.png"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_taken_home_again_and_again(clip, kind):
    for _ in range(2):
        path = made(clip, kind, Look(arrows=True))
    if kind == "mp4":
        assert path.name == "flow.mp4"
        return
    with zipfile.ZipFile(path) as archive:
        suffix = {"flo": ".flo", "npz": ".npz", "png16": ".png"}[kind]
        assert set(archive.namelist()) == {f"a{suffix}", f"a_backward{suffix}", "a_occlusion.png", "a_confidence.png"}
        archive.extract(f"a{suffix}", clip.folder / "unpacked")
    assert np.array_equal(read_flow(clip.folder / f"unpacked/a{suffix}").flow, read_flow(clip.folder / "a.flo").flow)


def test_a_clip_that_changes_its_size_is_taken_home_as_several_videos(clip):
    write_flow(clip.folder / "b.flo", np.zeros((32, 80, 2), np.float32))
    other = clip.folder / "frames" / "other.png"
    write_image(other, moving_frames(1, 32, 80)[0])
    clip.pairs.append(Pair("b", other, other))
    for _ in range(2):
        path = made(clip, "mp4", Look(arrows=True))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["flow.mp4", "flow_2.mp4"]
        archive.extractall(clip.folder / "unpacked")
    for name, size in (("flow.mp4", (48, 128)), ("flow_2.mp4", (32, 160))):
        with VideoReader(clip.folder / "unpacked" / name) as video:
            assert video.size == size


def test_the_video_that_is_taken_home_has_the_times_of_the_clip(model, tmp_path):
    path = write_clip(tmp_path / "uneven.mkv", moving_frames(4), times=[0, 1, 20, 21])
    limits = WebSettings(models=(model,), device="cpu")
    models = Models(limits)
    *_, clip = estimated([path], Wishes(models.names[0]), models, limits, tmp_path / "visitor")
    assert isinstance(clip, EstimatedClip)
    with VideoReader(made(clip, "mp4", Look())) as video:
        assert [frame.time for frame in video] == pytest.approx([0, 0.1, 2.0], abs=0.001)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.h264"])
def test_a_clip_is_said_to_go_on_whether_it_tells_its_length_or_not(name, model, tmp_path):
    path = write_clip(tmp_path / name, moving_frames(5))
    for most, notes in ((3, ["the first 3 are used, which is the limit here"]), (5, [])):
        limits = WebSettings(models=(model,), device="cpu", max_frames=most)
        models = Models(limits)
        *steps, clip = estimated([path], Wishes(models.names[0]), models, limits, tmp_path / f"visitor{most}")
        assert isinstance(clip, EstimatedClip) and len(clip.pairs) == most - 1
        assert [note.removeprefix("of 5 frames ") for note in clip.notes] == notes
        assert steps[0] == Counted(0, most - 1 if name == "clip.mkv" else None)


def test_one_flow_is_taken_home_by_itself_and_no_other_kind(clip):
    alone = EstimatedClip(clip.folder, clip.pairs)
    assert kinds_of(alone) == ["flow"] and made(alone, "flo", Look()).name == "a.flo"
    with pytest.raises(RequestError, match="expected one of flo, npz, png16, mp4"):
        made(alone, "../x", Look())

"""`flowgru estimate` of several clips: what they are called, where their results lie, and what they may not share."""

from estimates import SIZE, PictureDifference, names, only_error
from media import moving_frames, noisy_frames, write_clip

import flowgru.estimation.clips as estimation
from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import Frame, FrameSource
from flowgru.errors import InputFileError


class FakeSource(FrameSource):
    """A video that changes its size after frame 3, and that cannot be read behind frame 5."""

    paths, frame_rate, expected_frames = (), None, None

    def __init__(self, name: str) -> None:
        self.name, self.problems = name, []

    def __iter__(self):
        for index, frame in enumerate([*noisy_frames(3, *SIZE), *noisy_frames(2, 40, 72)]):
            yield Frame(frame, f"f{index + 1}", None, int(index >= 3), damaged=False)
        raise InputFileError(f"{self.name} is cut off")


def test_where_only_the_first_of_several_clips_was_read_its_videos_are_known_again(estimate, output, monkeypatch):
    monkeypatch.setattr(estimation, "open_frames", lambda *_: [FakeSource("one"), FakeSource("two")])
    monkeypatch.setattr(estimation, "open_network", lambda settings: PictureDifference())
    assert estimate("one.mp4", "two.mp4", "--video") == 3
    assert names(output) == ["one", "summary.json"] and {"flow.mp4", "flow_2.mp4"} <= {*names(output / "one")}
    assert estimate("one.mp4", "two.mp4", "--video") == 3


def test_clips_of_which_one_is_called_like_a_result_of_the_other_lie_apart(estimate, tmp_path, output, monkeypatch):
    monkeypatch.setattr(estimation, "open_network", lambda settings: PictureDifference())
    clips = [write_clip(tmp_path / f"hand{ending}.mp4", moving_frames(2, *SIZE)) for ending in ("", "_occlusion")]
    assert estimate(*clips, "--backward") == 0
    assert names(output) == ["hand", "hand_occlusion", "summary.json"]


def test_pictures_of_several_folders_whose_results_would_have_one_name_are_refused(estimate, tmp_path, output, capsys):
    pictures = [tmp_path / name for name in ("a/f.png", "b/f_backward.png", "b/g.png")]
    for path, frame in zip(pictures, noisy_frames(3, *SIZE), strict=True):
        write_image(path, frame)
    assert estimate(*pictures, "--backward") == 2
    assert "f.png and f_backward.png would have one name: rename f_backward.png" in only_error(capsys)
    assert not output.exists()

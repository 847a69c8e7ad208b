"""`flowgru estimate` of several clips: what they are called, where their results lie, and what they may not share."""

from estimates import SIZE, PictureDifference, names
from media import noisy_frames

import flowgru.estimation.clips as estimation
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

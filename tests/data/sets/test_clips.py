"""The pairs of a video or a folder of frames, as a data set without true flow."""

from pathlib import Path

import numpy as np
import pytest

from flowgru.cli import main
from flowgru.data.formats.images import write_image
from flowgru.data.sets.clips import is_clip, open_clips
from flowgru.errors import InputFileError


@pytest.fixture
def walk(tmp_path):
    for number in range(4):
        size = (10, 12) if number < 3 else (8, 8)  # no pair leads to a frame of another size
        write_image(tmp_path / "walk" / f"frame_{number}.png", np.full((*size, 3), number, np.uint8))
    return tmp_path / "walk"


def test_neighbours_of_one_size_are_pairs_in_any_order(walk):
    (clip,) = open_clips([str(walk)])
    assert len(clip) == 2 and clip.groups == ["walk", "walk"]
    assert [pair.name for pair in clip.pairs] == ["frame_0", "frame_1"]
    assert clip.pairs[0].second == clip.pairs[1].first
    for index in (0, 1, 0, 1, 1):
        sample = clip[index]
        levels = [round(float(picture.max() * 255)) for picture in (sample.first, sample.second)]
        assert levels == [index, index + 1] and sample.name == f"walk/frame_{index}"
        assert sample.flow.shape == (2, 10, 12) and not sample.valid.any()


def test_a_clip_is_not_called_as_a_set(walk):
    assert [clip.label for clip in open_clips([str(walk)], ["walk"])] == ["walk_clip"]
    assert open_clips([]) == []


def test_what_is_a_clip(walk):
    assert is_clip(str(walk)) and is_clip(str(walk / "*.png")) and is_clip(str(walk / "frame_0.png"))
    assert not any(map(is_clip, ("sintel", "pairs.csv", "sintle")))


@pytest.mark.parametrize("name", ["nowhere.mp4", "nowhere/walk", "nowhere.PNG", "./nowhere.bin"])
def test_a_clip_that_is_not_there_is_told_as_a_file(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", name, "--corruptions", "fog"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot read {Path(name)}: ")


def test_a_damaged_frame_is_named(walk):
    (walk / "frame_1.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.raises(InputFileError, match="frame_1"):
        open_clips([str(walk)])

"""Animated pictures and pages of a TIFF are clips: in part, damaged, or beside pictures that stand still."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_inputs import animation
from media import moving_frames, write_clip
from PIL import Image

from flowgru.data.video.frames import open_frames
from flowgru.errors import InputFileError


def test_pages_of_a_tiff_of_other_sizes_are_segments(tmp_path: Path) -> None:
    deep = [np.full((20, 30 + 4 * (index > 1), 3), 257 * 40 * index, np.uint16) for index in range(4)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in deep:
            file.write(page, photometric="rgb", metadata=None)
    [source] = open_frames([tmp_path / "a.tif"])
    with pytest.warns(UserWarning, match="frames are 20x34 px .height x width. from number 3 on"):
        frames = list(source)
    assert [frame.segment for frame in frames] == [0, 0, 1, 1]
    assert [int(frame.image.max()) for frame in frames] == [0, 40, 80, 120]


def test_a_range_of_an_animation(tmp_path: Path) -> None:
    animation(100, lossless=True)(tmp_path / "a.webp", moving_frames(9))
    [source] = open_frames([tmp_path / "a.webp"], start=3, end=5)
    assert source.expected_frames == 3
    assert [(frame.name, frame.time) for frame in source] == [
        ("frame_000003", 0.2),
        ("frame_000004", 0.3),
        ("frame_000005", 0.4),
    ]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_a_damaged_animation_gives_what_it_has(tmp_path: Path, name: str) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), np.uint8)
    animation(100)(tmp_path / name, list(noisy))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    good = write_clip(tmp_path / "good.mp4", moving_frames(3))
    bad, readable = sorted(open_frames([tmp_path / name, good]), key=lambda source: good in source.paths)
    frames = []
    with pytest.raises(InputFileError) as caught:
        for frame in bad:
            frames.append(frame)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    # A PNG or WebP without its end is no animation any more.
    assert frames or "is one picture" in str(caught.value)
    assert len(list(readable)) == 3


def test_pictures_and_animations_are_told_apart(tmp_path: Path) -> None:
    for number, frame in enumerate(moving_frames(3)):
        Image.fromarray(frame).save(tmp_path / f"{number}.gif")
    animation(100)(tmp_path / "moving.gif", moving_frames(4))
    sources = open_frames([tmp_path / "0.gif", tmp_path / "moving.gif", tmp_path / "2.gif"])
    assert sorted((source.name, len(list(source))) for source in sources) == [("0", 2), ("moving", 4)]
    with pytest.warns(UserWarning, match=r"animations are passed over \(moving\.gif\): give each by itself"):
        [source] = open_frames([tmp_path])
    assert [frame.name for frame in source] == ["0", "1", "2"]

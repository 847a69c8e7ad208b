"""Folders, patterns and lists of files become sequences that keep their order and names."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from media import moving_frames, write_clip

from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import open_frames
from flowgru.errors import InputFileError, RequestError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)


def test_folders_and_patterns_are_sorted_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    (folder / "deeper").mkdir(parents=True)
    for number in (10, 2, 1, 100):
        write_image(folder / f"frame{number}.png", np.full((4, 5, 3), number, np.uint8))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    for given in (folder, folder / "*.png"):
        [source] = open_frames([given])
        frames = list(source)
        assert (source.name, source.expected_frames, source.frame_rate, source.problems) == ("scene", 4, None, [])
        assert [frame.name for frame in frames] == ["frame1", "frame2", "frame10", "frame100"]
        assert [frame.image[0, 0, 0] for frame in frames] == [1, 2, 10, 100]
        assert {(frame.time, frame.segment, frame.damaged) for frame in frames} == {(None, 0, False)}
    [source] = open_frames([folder], start=2, end=3)
    assert [frame.name for frame in source] == ["frame2", "frame10"]
    [source] = open_frames([folder / "frame10.png", folder / "frame2.png"])
    assert [frame.name for frame in source] == ["frame10", "frame2"]
    with pytest.warns(UserWarning, match="quote the pattern"):
        open_frames(sorted(folder.glob("[a-z]*.png")))


def test_several_inputs_are_several_sequences(tmp_path: Path) -> None:
    for scene in ("a", "b"):
        for number in (1, 2):
            write_image(tmp_path / scene / f"{number}.png", COLOUR)
    write_clip(tmp_path / "clip.mp4", moving_frames(5))
    sources = open_frames([tmp_path / "a", tmp_path / "b", tmp_path / "clip.mp4"], end=3)
    assert [source.name for source in sources] == ["a", "b", "clip"]
    assert [source.expected_frames for source in sources] == [2, 2, 3]
    assert sources[2].frame_rate == 10
    assert [len(list(source)) for source in sources] == [2, 2, 3]
    assert [source.name for source in open_frames([tmp_path / "?"])] == ["a", "b"]
    assert [source.name for source in open_frames([str(tmp_path / "*.mp4")])] == ["clip"]


def test_fewer_than_two_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "one" / "1.png", COLOUR)
    for given in ([tmp_path / "empty"], [tmp_path / "one"], [tmp_path / "one" / "1.png"], [tmp_path / "none*.png"]):
        with pytest.raises(RequestError, match="need at least 2 frames"):
            open_frames(given)
    write_image(tmp_path / "one" / "2.png", COLOUR)
    with pytest.raises(
        RequestError, match="gives 2 picture files, of which frames 2 to the last leave 1: need at least 2"
    ):
        open_frames([tmp_path / "one"], start=2)
    [source] = open_frames([write_clip(tmp_path / "one.mp4", moving_frames(1))])
    with pytest.raises(InputFileError, match=r"gives 1 frame, and at least 2 frames are needed$"):
        list(source)
    with pytest.raises(RequestError, match="no input"):
        open_frames([])
    with pytest.raises(RequestError, match="an input is empty"):
        open_frames([""])
    with pytest.raises(RequestError, match="expected 1 <= start <= end"):
        open_frames([tmp_path / "one"], start=0)


def test_names_that_would_collide_or_escape_are_refused(tmp_path: Path) -> None:
    for name in (
        "a/1.png",
        "a/1.jpg",
        "a/2.png",
        "b/x/1.png",
        "b/x/2.png",
        "c/x/1.png",
        "c/x/2.png",
        "d/...png",
        "d/1.png",
    ):
        write_image(tmp_path / name, COLOUR)
    with pytest.warns(UserWarning, match="2 pictures are called '1': their results are called a_1_jpg, a_1_png"):
        [source] = open_frames([tmp_path / "a"])
    assert [frame.name for frame in source][:2] == ["a_1_jpg", "a_1_png"]
    with pytest.warns(UserWarning, match="2 inputs are called 'x': their results are called b_x, c_x"):
        assert [source.name for source in open_frames([tmp_path / "b" / "x", tmp_path / "c" / "x"])] == ["b_x", "c_x"]
    with pytest.warns(UserWarning, match="2 pictures are called '1'"):
        [source] = open_frames([tmp_path / "a" / "1.png", tmp_path / "b" / "x" / "1.png", tmp_path / "a" / "2.png"])
    assert [frame.name for frame in source] == ["a_1", "x_1", "2"]
    with pytest.warns(UserWarning, match="3 pictures are called '1': their results are called 1_1, 1_2, 1_3"):
        [source] = open_frames([tmp_path / "a" / "1.png"] * 3 + [tmp_path / "a" / "2.png"])
    with pytest.raises(RequestError, match="cannot name a result"):
        open_frames([tmp_path / "d" / "...png", tmp_path / "d" / "1.png"])
    [source] = open_frames([tmp_path / "a" / "1.png", tmp_path / "b" / "x" / "1.png"])  # one result, after the first
    assert [frame.name for frame in source] == ["1", "x_1"]
    [source] = open_frames([tmp_path / "a" / "1.png"] * 2)
    assert [frame.name for frame in source] == ["1", "a_1"]


def test_a_place_that_is_named_by_dots_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("walk/1.png", "walk/2.png", "other/walk/1.png", "other/walk/2.png", "walk/in/1.png"):
        write_image(tmp_path / name, COLOUR)
    monkeypatch.chdir(tmp_path / "walk")
    with pytest.warns(UserWarning, match=f"their results are called {tmp_path.name}_walk, other_walk"):
        assert [source.name for source in open_frames([".", "../other/walk"])] == [
            f"{tmp_path.name}_walk",
            "other_walk",
        ]
    monkeypatch.chdir(tmp_path / "walk/in")
    with pytest.warns(UserWarning, match="2 inputs are called 'walk'"):
        names = [source.name for source in open_frames(["..", "../../other/walk"])]
    assert names == [f"{tmp_path.name}_walk", "other_walk"]
    with pytest.warns(UserWarning, match="their results are called in_1, walk_1"):
        [source] = open_frames(["1.png", "../1.png", "../2.png"])
    assert [frame.name for frame in source] == ["in_1", "walk_1", "2"]


def test_a_bad_video_fails_alone_when_it_is_read(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "good.mp4", moving_frames(3))
    sources = open_frames([tmp_path / "missing.mp4", good])
    with pytest.raises(InputFileError, match=r"cannot read .*missing\.mp4"):
        list(sources[0])
    assert len(list(sources[1])) == 3


def test_a_long_sequence_is_opened_without_reading_it(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.png").touch()
    write_image(tmp_path / "0.png", COLOUR, overwrite=True)
    [source] = open_frames([tmp_path])
    assert source.expected_frames == 2000
    frames = iter(source)
    assert next(frames).name == "0"
    with pytest.raises(InputFileError, match=r"1\.png"):
        next(frames)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["f_0001", "f_0002", "f_0004", "f_0005"], r"f_0003"),
        (["8", "9", "10", "13"], r"11, 12"),
        (["f2", "f4", "f6", "f10", "f12"], r"f8"),
        (["a1b", "a2b", "a3b", "a5b"], r"a4b"),
        ([f"{number:03}" for number in range(20) if not 4 <= number <= 11], r"004, 005, 006, 007, 008 and 3 more"),
        (["l_1", "r_1", "l_2", "r_2", "l_4", "r_4", "l_3", "r_5"], r"r_3"),
        (["1", "2", "3", "4"], None),
        (["0010", "0020", "0030"], None),
        (["17", "230", "999", "1200"], None),
        (["ant", "bee", "cow"], None),
        (["1", "5"], None),
    ],
)
def test_a_hole_in_the_numbering_is_named(tmp_path: Path, names: list[str], missing: str | None) -> None:
    for name in names:
        (tmp_path / f"{name}.png").touch()
    for given in (tmp_path, tmp_path / "*.png"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            [source] = open_frames([given])
        assert source.expected_frames == len(names)
        said = [str(warning.message) for warning in caught]
        assert len(said) == (missing is not None)
        if missing is not None:
            assert f"numbers are missing ({missing}): the flow leads across the hole" in said[0]


def test_kinds_of_picture_that_are_passed_over_are_named(tmp_path: Path) -> None:
    for name in ("1.png", "2.PNG", "3.jfif", "4.tga", "5.jp2", "6.avif", "7.webp", "8.gif"):
        (tmp_path / name).touch()
    for name in ("9.exr", "10.exr", "11.HEIC", "notes.txt", "12.psd", "clip.mp4", ".hidden.exr"):
        (tmp_path / name).touch()
    for given in (tmp_path, tmp_path / "*"):
        with pytest.warns(
            UserWarning, match=r"not read are passed over \(2 \.exr, 1 \.heic, 1 \.psd\): convert them to"
        ):
            source, *others = open_frames([given])
        assert [other.name for other in others] == ["clip"] * (given != tmp_path)
        assert [path.name for path in source.paths] == [
            "1.png",
            "2.PNG",
            "3.jfif",
            "4.tga",
            "5.jp2",
            "6.avif",
            "7.webp",
            "8.gif",
        ]

"""What patterns stand for, what is passed over by name, and what is no input because it is a result."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from made_inputs import animation
from media import moving_frames, write_clip
from PIL import Image

from flowgru.data.formats.images import write_image
from flowgru.data.video import listing
from flowgru.data.video.frames import FrameSource, open_frames
from flowgru.errors import InputFileError, RequestError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two videos."""
    (tmp_path / "data").mkdir()
    for name in ("clip1", "clip2"):
        write_clip(tmp_path / f"data/{name}.mp4", moving_frames(3))
    return tmp_path / "data"


def pictures(folder: Path, *names: str) -> None:
    for name, frame in zip(names, moving_frames(len(names)), strict=True):
        write_image(folder / name, frame)


def opened(*inputs: object, output: Path | None = None) -> tuple[list[FrameSource], list[str]]:
    """The sequences, and what was said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sources = open_frames([str(given) for given in inputs], output=output)
    return sources, [str(warning.message) for warning in caught]


def facts(sources: Sequence[FrameSource]) -> list[tuple[str, int]]:
    return [(source.name, len([*source])) for source in sources]


def test_one_picture_among_videos_is_passed_over_by_name(data):
    pictures(data, "cover.jpg")
    (data / "notes.txt").touch()
    (data / "masks").mkdir()
    pictures(data / "thumbs", "1.png")
    sources, (said,) = opened(data / "*")
    assert facts(sources) == [("clip1", 3), ("clip2", 3)]
    assert "data/*: what is no clip is passed over (cover.jpg, masks, notes.txt, thumbs): a clip is a video" in said
    (data / "scan.exr").touch()
    sources, said = opened(data / "*")
    assert facts(sources) == [("clip1", 3), ("clip2", 3)] and any(
        "not read are passed over (1 .exr)" in x for x in said
    )


def test_pictures_are_one_sequence_beside_videos_animations_and_folders(data):
    pictures(data, "1.png", "2.png")
    pictures(data / "walk", "1.png", "2.png", "3.png")
    animation(100)(data / "moving.webp", moving_frames(4))
    sources, said = opened(data / "*")
    assert facts(sources) == [("data", 2), ("walk", 3), ("clip1", 3), ("clip2", 3), ("moving", 4)] and said == []


@pytest.mark.parametrize("ending", [".tif", ".png", ".webp", ".gif"])
def test_pictures_that_hold_several_are_clips_of_their_own(tmp_path, ending):
    for name in ("a", "b"):
        first, *others = map(Image.fromarray, moving_frames(3))
        first.save(tmp_path / f"{name}{ending}", save_all=True, append_images=others)
    sources, said = opened(tmp_path / f"*{ending}")
    assert facts(sources) == [("a", 3), ("b", 3)] and said == []


def test_a_folder_is_left_to_its_files_where_they_are_matched_too(data):
    pictures(data / "walk", "1.png", "2.png")
    sources, said = opened(data / "**")
    assert facts(sources) == [("walk", 2), ("clip1", 3), ("clip2", 3)] and said == []


def test_videos_beside_the_pictures_of_a_folder_are_named(data):
    pictures(data, "1.png", "2.png")
    sources, (said,) = opened(data)
    assert facts(sources) == [("data", 2)]
    assert said.endswith("videos and animations are passed over (clip1.mp4, clip2.mp4): give each by itself")


def test_the_output_folder_is_no_input_beside_others(data):
    output = data / "flow"
    pictures(output, "1_occlusion.png", "2_occlusion.png")
    write_clip(output / "flow.mp4", moving_frames(2))
    for given in ([data / "*"], [data / "**"], [*sorted(data.iterdir())]):
        sources, said = opened(*given, output=output)
        assert facts(sources) == [("clip1", 3), ("clip2", 3)]
        assert any(line.startswith(f"what --output {output} holds is passed over (flow") for line in said)
    (data / "deep/flow").mkdir(parents=True)
    for given in ([data / "*.mp4", data / "deep"], [*data.glob("*.mp4"), data / "deep"]):
        assert len(opened(*given, output=data / "deep/flow")[0]) == 2  # deep holds results, and no pictures


def test_what_lies_in_the_output_folder_is_read_where_nothing_else_is_given(data, tmp_path):
    pictures(data, "1.png", "2.png")
    for given in ([data], [data / "*.mp4"], [data / "clip1.mp4", data / "1.png", data / "2.png"]):
        assert facts(opened(*given, output=data)[0]) == facts(opened(*given)[0])
    (tmp_path / "other").mkdir()
    other = write_clip(tmp_path / "other/a.mp4", moving_frames(2))
    assert facts(opened(data / "clip1.mp4", other, output=data)[0]) == [("clip1", 3), ("a", 2)]


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda f: (f / "a.mp4").touch(), "1 video: give '{0}/*.mp4', or flowgru corpus {0}"),
        (
            lambda f: [(f / f"{n}.exr").touch() for n in range(100)],
            "100 .exr, which are not read: convert them to .png",
        ),
        (lambda f: animation(100)(f / "a.webp", moving_frames(3)), "1 animation: give each by itself"),
        (lambda f: (f / "walk").mkdir(), "1 folder: give '{0}/*'"),
    ],
)
def test_a_folder_without_pictures_is_told_by_what_it_holds(tmp_path, fill: Callable[[Path], object], said):
    folder = tmp_path / "given"
    folder.mkdir()
    fill(folder)
    with pytest.raises(RequestError) as caught:
        open_frames([folder])
    assert str(caught.value) == (
        f"{folder} gives 0 picture files: need at least 2 frames, in a list or in a folder; it holds "
        + said.format(folder)
    )


def test_kinds_that_are_not_read_are_refused_by_name(tmp_path):
    for name in ("a.exr", "b.exr"):
        (tmp_path / name).write_bytes(b"v/1\x01" + bytes(500))
    source, _ = open_frames([tmp_path / "a.exr", tmp_path / "b.exr"])
    with pytest.raises(InputFileError, match=r"a\.exr is a picture of a kind that is not read: convert it to \.png"):
        list(source)
    with pytest.raises(
        InputFileError, match=r"the pattern .*\*\.exr matches 2 \.exr, which are not read: convert them"
    ):
        open_frames([tmp_path / "*.exr"])


def test_what_gives_no_frames_fails_alone_when_it_is_read(data, tmp_path):
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "one", "1.png")
    pictures(tmp_path / "short", "1.png", "2.png")
    for bad in ("empty", "one", "short", "one/1.png"):
        first, second = open_frames([tmp_path / bad, data / "clip1.mp4"], start=2)
        bad_one, good = (second, first) if first.name == "clip1" else (first, second)
        assert len(list(good)) == 2 and bad_one.expected_frames is None
        with pytest.raises(InputFileError, match="need at least 2 frames"):
            list(bad_one)
        with pytest.raises(RequestError, match="need at least 2 frames"):
            open_frames([tmp_path / bad], start=2)


@pytest.mark.parametrize("pattern", ["rec-10:30/*.png", "data:1/*.png", "rec:10-*.png"])
def test_a_pattern_may_have_a_colon(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        pictures(Path(), pattern.replace("*", str(number)))
    assert facts(open_frames([pattern]))[0][1] == 2


def test_a_missing_file_with_a_colon_is_missing_and_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError, match=r"cannot read rec-10:30\.mp4: "):
        list(open_frames(["rec-10:30.mp4"])[0])
    with pytest.raises(RequestError, match=r"the pattern rec-10:30/\*\.png matches nothing"):
        open_frames(["rec-10:30/*.png"])


def test_a_folder_above_the_output_is_an_input_where_it_holds_anything_else(data, tmp_path):
    """Whether the output folder is there yet changes nothing."""
    (tmp_path / "other").mkdir()
    other = write_clip(tmp_path / "other/other.mp4", moving_frames(3))
    before, _ = opened(other, data, output=data / "flow")
    (data / "flow").mkdir()
    after, said = opened(other, data, output=data / "flow")
    assert [source.name for source in before] == [source.name for source in after] == ["other", "data"] and not said
    (tmp_path / "results/flow").mkdir(parents=True)
    after, said = opened(other, tmp_path / "results", output=tmp_path / "results/flow")
    assert [source.name for source in after] == ["other"] and "is passed over (results)" in said[0]


def test_few_of_many_pictures_are_looked_into(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(listing, "num_pictures", lambda path: looked.append(path.name) or 1)
    paths = [tmp_path / f"{number}{ending}" for ending in (".tif", ".webp", ".png", ".gif") for number in range(9)]
    stills, clips = listing.told_apart(paths)
    assert (len(stills), clips) == (36, [])
    assert sorted(looked) == sorted(["0.tif", "0.webp", "0.png", *(f"{number}.gif" for number in range(9))])

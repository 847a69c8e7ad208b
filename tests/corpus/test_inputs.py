"""Which clips an INPUT stands for, what they are called, and which lists are refused."""

import errno
import os
from pathlib import Path, PureWindowsPath

import pytest
from made_inputs import lock
from media import moving_frames
from PIL import Image

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import inputs
from flowgru.corpus.inputs import Clip, find_clips
from flowgru.corpus.lists import read_list
from flowgru.corpus.work import _source
from flowgru.errors import FlowgruError, InputFileError, RequestError


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """Files by their names alone; nothing is read by the search."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/b.mp4",
        "data/a.MKV",
        "data/walk/1.png",
        "data/walk/2.png",
        "data/run/clip.gif",
        "data/run/notes.txt",
        "data/thumbs/t1.jpg",
        "data/thumbs/t2.jpg",
        "data/thumbs/v.webm",
        "data/single/1.png",
        "data/.hidden/c.mp4",
        "data/.d.mp4",
        "data/out/half/x.mp4",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def ids(*inputs: str, output: str = "data/out") -> list[str]:
    return [clip.id for clip in find_clips(inputs, Path(output))]


def test_a_folder_is_searched(tree):
    assert ids("data") == ["a.MKV", "b.mp4", "run/clip.gif", "thumbs/v.webm", "walk"]
    assert ids("data/walk") == ["walk"]
    for picture in Path("data/walk").iterdir():
        picture.unlink()
    os.symlink("..", "data/loop")
    os.symlink("../run", "data/again")
    Path("elsewhere").mkdir()
    Path("elsewhere/far.mp4").touch()
    os.symlink("../../elsewhere", "data/walk/more")
    os.symlink("data/run", "linked")
    assert ids("data") == ["a.MKV", "b.mp4", "run/clip.gif", "thumbs/v.webm", "walk/more/far.mp4"]
    assert ids("linked") == ["clip.gif"]


def test_a_pattern_names_clips_from_its_plain_folder_on(tree):
    assert ids("data/*.mp4") == ["b.mp4"]
    assert ids("data/**/*.gif") == ["run/clip.gif"]
    assert ids("data/[rw]*") == ["run/clip.gif", "walk"]
    assert ids("data/walk*") == ids("data/wal[k]") == ["walk"]
    assert ids("data/b.mp4", "data/run/*.gif") == ["b.mp4", "clip.gif"]


@pytest.mark.parametrize("given", ["data/b.mp4", "data/b*"])
def test_what_may_not_be_looked_at_is_a_clip_that_fails_by_itself(tree, monkeypatch, given):
    lock(monkeypatch, "b.mp4")
    assert ids(given) == ["b.mp4"]


def test_a_clip_is_missing_or_cannot_be_looked_at(tree):
    with pytest.raises(InputFileError, match=r"there is no file or folder data/no\.mp4"):
        _source(Clip("no.mp4", "data/no.mp4"), CorpusSettings(output="out"))
    with pytest.raises(InputFileError, match=r"cannot read a{300}: File name too long"):
        list(_source(Clip("a", 300 * "a"), CorpusSettings(output="out")))
    for no_name in ("a\0b.mp4", "\ud800"):
        with pytest.raises(InputFileError, match="there is no file or folder"):
            _source(Clip("a", no_name), CorpusSettings(output="out"))
    assert ids(f"{300 * 'a'}/c.mp4", "data/b.mp4") == ["c.mp4", "b.mp4"]


def test_a_folder_that_nobody_may_look_into_is_a_clip_that_fails(tree, monkeypatch):
    def scandir(path, real=os.scandir):
        if Path(path).name in ("run", "single"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert ids("data") == ["a.MKV", "b.mp4", "run", "single", "thumbs/v.webm", "walk"]
    assert ids("data/run") == ["run"]


def test_a_pattern_that_matches_a_folder_and_what_is_in_it_names_each_clip_once(tree):
    assert sorted(ids("data/**")) == ids("data")
    assert sorted(ids("data/**/*")) == ids("data")
    assert ids("data/walk/**") == ["walk"]


@pytest.mark.parametrize("ending", [".tif", ".webp", ".gif", ".png"])
def test_a_picture_that_holds_several_is_a_clip_whatever_its_ending(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    Path("stacks").mkdir()
    first, *others = map(Image.fromarray, moving_frames(3))
    for name in ("a", "b"):
        first.save(f"stacks/{name}{ending}", save_all=True, append_images=others)
    assert ids(f"stacks/*{ending}") == [f"a{ending}", f"b{ending}"]
    if ending != ".png":  # the search looks into no .png
        assert ids("stacks") == [f"a{ending}", f"b{ending}"]


def test_an_animation_of_one_picture_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, endings in (("run", ("png", "png", "gif")), ("walk", ("gif", "gif", "gif"))):
        Path(folder).mkdir()
        for number, ending in enumerate(endings):
            Image.fromarray(moving_frames(1)[0]).save(f"{folder}/{number}.{ending}")
    assert ids(".") == ["run", "walk"]
    assert ids("*") == ["run", "walk"] and ids("walk") == ["walk"]
    with pytest.raises(RequestError, match="matches 3 files, none of them a clip"):
        ids("walk/*.gif")


def test_a_list_may_name_what_a_search_does_not_find(tree):
    Path("list.csv").write_text("\ufeffpath,id,end\ndata/walk,w,2\n/abs/x.bin,a/b.c,\n", "utf-8")
    clips = find_clips(["list.csv"], Path("out"))
    assert [(clip.id, clip.path, clip.start, clip.end) for clip in clips] == [
        ("w", "data/walk", None, 2),
        ("a/b.c", "/abs/x.bin", None, None),
    ]


def test_a_line_of_json_ends_where_a_line_feed_does(tmp_path):
    (tmp_path / "l.jsonl").write_text(
        '{"id": "a\u2028b", "path": "x"}\r\n{"id": "c", "path": "y"}', "utf-8", newline=""
    )
    assert [entry.id for entry in read_list(tmp_path / "l.jsonl")] == ["a\u2028b", "c"]


def test_a_drive_of_windows_is_no_name(monkeypatch):
    assert inputs._is_name("C:") and not inputs._is_name("..")  # a name like others where there are no drives
    monkeypatch.setattr(inputs, "PurePath", PureWindowsPath)
    assert not inputs._is_name("C:") and inputs._is_name("walk")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "", "l.csv has no column 'id'"),
        ("l.csv", "id,path\n", "l.csv lists no clip"),
        ("l.csv", "id,path\na,\n", "l.csv, line 2 has no 'path'"),
        ("l.csv", "id,path\na\n", "l.csv, line 2 has no 'path'"),
        ("l.csv", 'id,path\n"a', "unexpected end of data"),
        (
            "l.csv",
            "id,path\na,x, y.mp4\n",
            "line 2 has 3 fields, expected 2: put quotes around a value that holds a comma",
        ),
        ("l.csv", "id,path,start\na,b,0\n", "line 2: start is '0': expected the number of a frame"),
        ("l.csv", "id,path,start,end\na,b,5,5\n", "line 2: start is 5 and end 5: at least 2 frames"),
        ("l.csv", "id,path\na,x\na,y\n", "two clips have the id 'a'"),
        ("l.csv", "id,path\na,x\na/b,y\n", "the results of 'a' and 'a/b' would share a folder"),
        ("l.csv", "id,path\n../a,x\n", "the id '../a' cannot name results"),
        ("l.csv", "id,path\n/a,x\n", "the id '/a' cannot name results"),
        ("l.csv", f"id,path\n{'a' * 201},x\n", "cannot name results"),
        ("l.jsonl", "[1]\n", "l.jsonl, line 1: expected a mapping"),
        ("l.jsonl", "\n{\n", "l.jsonl, line 2 is no JSON"),
        ("l.jsonl", '{"id": 1, "path": "x"}', "l.jsonl, line 1 has no 'id'"),
        ("l.jsonl", '{"id": "a", "path": "x", "end": true}', "line 1: end is True"),
        ("l.csv", b"id,path\n\xff\xfe,x\n", "l.csv is no text in UTF-8"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FlowgruError) as error:
        find_clips([str(path)], tmp_path / "out")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_url_is_refused(tmp_path):
    with pytest.raises(RequestError, match="is a URL"):
        find_clips(["https://example.org/a.mp4"], tmp_path)


@pytest.mark.parametrize(
    ("given", "text", "said"),
    [
        ("list.csv", "", "may name start and end; it is empty"),
        ("list.csv", "id,path\n", "list.csv lists no clip: expected a line for each, with its id and path"),
        ("list.csv", "id,path\na,b.mp4\na,c.mp4\n", "'a' (b.mp4 and c.mp4): give each an id of its own in the list"),
        ("nowhere/*.mp4", "", "nowhere/*.mp4 matches nothing: correct the pattern, and quote it"),
        ("data/walk/*.png", "", "data/walk/*.png matches 2 files, none of them a clip: expected videos, animations, or "
         "folders of two pictures or more, such as data/walk"),
        ("data/sing*/*", "", "matches 1 file, none of them a clip"),
        ("data/thumbs/../single", "", "data/thumbs/../single has no clip: expected videos"),
    ],
)  # fmt: skip
def test_why_there_is_no_clip_is_said_of_what_was_given(tree, given, text, said):
    Path("list.csv").write_text(text)
    with pytest.raises(RequestError) as error:
        ids(given)
    assert said in str(error.value)

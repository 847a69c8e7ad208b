"""A submission is checked before it is called ready, and what keeps it from that is named."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from layouts.split_trees import MAKERS, PACKAGES, make_kitti, make_sintel, make_spring, run
from layouts.trees import HEIGHT, WIDTH, picture

from flowgru.data.formats.flow_files import write_flow
from flowgru.data.sets.submissions import package_faults, write_submitted
from flowgru.data.sets.test_splits import open_test_split
from flowgru.errors import InputFileError


def put_png(path: Path) -> None:
    picture(path.with_suffix(".png"), 0)
    path.with_suffix(".png").replace(path)


DAMAGES = {
    "missing": ("sintel", lambda path: path.unlink(), "is missing"),
    "extra": (
        "sintel",
        lambda path: shutil.copy(path, path.with_name("frame_0001.flo")),
        "frame_0001.flo does not bel",
    ),
    "truncated": ("sintel", lambda path: path.write_bytes(path.read_bytes()[:-1]), "too short"),
    "size": (
        "sintel",
        lambda path: write_flow(path, np.zeros((6, 7, 2)), overwrite=True),
        "is 6x7: its picture is 6x8 px (height x width)",
    ),
    "unknown": (
        "sintel",
        lambda path: write_flow(path, np.full((HEIGHT, WIDTH, 2), np.nan), overwrite=True),
        "48 pixels that are not finite",
    ),
    "PNG for .flo": ("sintel", put_png, "is no .flo file"),
    "8 bits": ("kitti2015", lambda path: path.unlink() or picture(path, 0), "not a KITTI flow map"),
    "invalid": (
        "kitti2012",
        lambda path: write_flow(path, np.zeros((HEIGHT, WIDTH, 2)), np.eye(HEIGHT, WIDTH) == 0, overwrite=True),
        "6 pixels that are not marked valid",
    ),
    "4K": (
        "spring",
        lambda path: write_flow(path, np.zeros((2 * HEIGHT, 2 * WIDTH, 2)), overwrite=True),
        "is 12x16: its picture is 6x8 px (height x width)",
    ),
    "NaN": (
        "spring",
        lambda path: write_flow(path, np.full((HEIGHT, WIDTH, 2), np.nan), overwrite=True),
        "48 pixels that are not finite",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_is_refused(damage, tmp_path, flows_from_grey_levels, small_challenges, capsys):
    name, harm, said = DAMAGES[damage]
    MAKERS[name](tmp_path)
    assert run(name, "--root", tmp_path, "--output", tmp_path / "out") == 0
    assert run(name, "--root", tmp_path, "--check", tmp_path / "out") == 0
    assert package_faults(tmp_path / "out", open_test_split(name, tmp_path), besides=[f"{name}.zip"]) == []
    harm(tmp_path / "out" / PACKAGES[name][0])
    capsys.readouterr()
    assert run(name, "--root", tmp_path, "--check", tmp_path / "out") == 3
    out, error = capsys.readouterr()
    assert said in error and len(error.splitlines()) == 1 and not out
    assert len(package_faults(tmp_path / "out", open_test_split(name, tmp_path), besides=[f"{name}.zip"])) == 1


def rezip(path: Path, flows: Path, names: list[str], spoil: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, (flows / name).read_bytes() + spoil)


@pytest.mark.parametrize("submission", ["sintel", "kitti2012", "kitti2015", "spring"], indirect=True)
def test_the_notes_that_macos_leaves_are_passed_over(submission, request):
    name = request.node.callspec.params["submission"]
    for path in [*submission.rglob("*"), *submission.parent.rglob("*.png")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        path.with_name(".DS_Store").touch()
    assert run(name, "--root", submission.parent, "--check", submission) == 0
    assert run(name, "--root", submission.parent, "--output", submission, "--overwrite") == 0


@pytest.mark.parametrize("submission", ["kitti2015"], indirect=True)
def test_flows_behind_a_linked_folder_are_checked(submission):
    elsewhere = (submission / "flow").rename(submission.parent / "elsewhere")
    (submission / "flow").symlink_to(elsewhere)
    (elsewhere / "around").symlink_to(submission)  # is not gone round
    assert run("kitti2015", "--root", submission.parent, "--check", submission) == 0


def test_pictures_of_two_sizes_are_named_before_any_work(tmp_path, capsys):
    make_sintel(tmp_path)
    second = tmp_path / "Sintel/test/clean/market_4/frame_0003.png"
    second.unlink()
    picture(second, 0, height=5)
    assert run("sintel", "--root", tmp_path, "--output", tmp_path / "out", "--partial") == 3
    error = capsys.readouterr().err
    assert f"{second} is 5x8 and {second.with_name('frame_0002.png')} 6x8 px (height x width): unpack" in error
    assert not (tmp_path / "out").exists()


def test_another_tasks_part_of_kitti_does_not_hide_the_test_split(tmp_path):
    picture(tmp_path / "KITTI/testing/image_0/000000_10.png", 0)
    with pytest.raises(InputFileError, match="KITTI/testing has no image_2"):
        open_test_split("kitti2015", tmp_path)
    make_kitti("KITTI-2015", "image_2")(tmp_path)
    assert len(open_test_split("kitti2015", tmp_path)) == 2


@pytest.mark.parametrize("submission", ["kitti2015"], indirect=True)
def test_a_zip_beside_the_flows_must_hold_them(submission, capsys):
    words, path = ("kitti2015", "--root", submission.parent, "--check", submission), submission / "kitti2015.zip"
    names = PACKAGES["kitti2015"]
    assert run(*words) == 0
    other = submission.parent / "other"
    shutil.copytree(submission / "flow", other / "flow")
    write_submitted(other / names[0], np.ones((HEIGHT, WIDTH, 2), np.float32), overwrite=True)
    whole = path.read_bytes()
    position = whole.index(b"IDAT")
    harms = [
        (lambda: path.write_bytes(whole[:-10]), "is damaged"),
        (lambda: path.write_bytes(whole[:position] + b"JDAT" + whole[position + 4 :]), "is damaged"),
        (lambda: rezip(path, submission, names[:1]), "does not hold the flows of its folder"),
        (lambda: rezip(path, submission / "flow", [Path(name).name for name in names]), "does not hold the flows"),
        (lambda: rezip(path, submission, names, spoil=b"0"), "holds another flow/000000_10.png"),
        (lambda: rezip(path, other, names), "holds another flow/000000_10.png"),
    ]
    for harm, said in harms:
        harm()
        capsys.readouterr()
        assert run(*words) == 3
        error = capsys.readouterr().err
        assert f"kitti2015.zip {said}" in error and len(error.splitlines()) == 1
    path.unlink()
    assert run(*words) == 0
    assert "ready: zip them, with their names from this folder on; upload the zip" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, download",
    [
        ("sintel", "MPI-Sintel-complete.zip from http"),
        ("kitti2012", "data_stereo_flow.zip from http"),
        ("kitti2015", "data_scene_flow.zip from http"),
        ("spring", "the frames (left, right) of the test part from http"),
    ],
)
@pytest.mark.parametrize("option", ["--output", "--check"])
def test_where_no_test_split_is_the_line_says_what_to_download(name, download, option, tmp_path, capsys):
    assert run(name, "--root", tmp_path, option, tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert f"; download {download}" in error and len(error.splitlines()) == 1


def test_many_faults_are_counted(tmp_path, small_challenges, capsys):
    make_spring(tmp_path)
    (tmp_path / "out").mkdir()
    assert run("spring", "--root", tmp_path, "--check", tmp_path / "out") == 3
    assert "flow_FW_right_0001.flo5 is missing and 3 more" in capsys.readouterr().err


def test_a_part_of_the_test_split_is_refused_or_not_called_ready(tmp_path, flows_from_grey_levels, capsys):
    make_sintel(tmp_path)
    words = ("sintel", "--root", tmp_path, "--output", tmp_path / "out")
    assert run(*words) == 3
    assert "has 6 pairs, the server asks for 1104" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run(*words, "--partial") == 0
    said = capsys.readouterr().out
    assert "NOT to be uploaded: the server asks for 1104" in said and "ready" not in said


@pytest.mark.parametrize("name", ["kitti2012", "kitti2015"])
def test_the_zip_of_a_part_has_a_name_that_nobody_uploads(name, tmp_path, flows_from_grey_levels, capsys):
    MAKERS[name](tmp_path)
    assert run(name, "--root", tmp_path, "--output", tmp_path / "out", "--partial") == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.zip")] == [f"{name}_partial_not_for_upload.zip"]
    assert run(name, "--root", tmp_path, "--check", tmp_path / "out", "--partial") == 0
    assert "NOT to be uploaded" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, lost, said",
    [
        ("sintel", "Sintel/test/clean/market_4/frame_0002.png", "clean/market_4/frame_0002.png is missing"),
        ("sintel", "Sintel/test/final", "final is missing"),
        ("sintel", "Sintel/test/clean/cave_3/frame_0002.png", "cave_3 holds 1 pictures"),
        ("kitti2012", "KITTI-2012/testing/image_0/000010_11.png", "000010_11.png is missing"),
        ("kitti2015", "KITTI/testing/image_2", "has no image_2"),
        ("spring", "spring/test/0003/frame_right", "frame_right holds 0 pictures"),
        ("spring", "spring", "is not below"),
    ],
)
def test_a_gap_in_the_test_split_is_named(name, lost, said, tmp_path):
    MAKERS[name](tmp_path)
    (tmp_path / lost).rename(tmp_path / "lost")
    with pytest.raises(InputFileError, match=said):
        open_test_split(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "other"),
    [("sintel", "Sintel", "MPI-Sintel"), ("sintel", "Sintel", "sintel"), ("kitti2015", "KITTI", "KittiFlow")],
)
def test_a_test_split_is_found_under_the_names_of_its_training_split(name, folder, other, tmp_path):
    MAKERS[name](tmp_path)
    (place,) = [path for path in tmp_path.iterdir() if path.name.lower().startswith(folder.lower())]
    expected = len(open_test_split(name, tmp_path))
    place.rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / other)
    assert len(open_test_split(name, tmp_path)) == expected > 0

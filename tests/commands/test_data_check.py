"""`flowgru data check` finds what is missing or damaged in a set, and says it in plain words."""

from pathlib import Path

import numpy as np
import pytest
from layouts.trees import (
    MAKERS,
    flow,
    make_chairs,
    make_hd1k,
    make_kitti,
    make_middlebury,
    make_sintel,
    make_things,
    make_things_subset,
    mask,
    picture,
)
from PIL import Image

from flowgru.cli import main
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.sets.layouts import DATASETS
from flowgru.data.sets.opening import open_dataset


def check(capsys, name: str, root: Path, *words: str) -> tuple[int, str]:
    """The exit code, and what was said on stdout."""
    code = main(["data", "check", name, "--root", str(root), *words])
    return code, capsys.readouterr().out


def expect(monkeypatch, name: str, num_pairs: int, scenes: tuple[str, ...] = ()) -> None:
    """Lets a small tree be the full set."""
    layouts = tuple(layout._replace(num_pairs=num_pairs, scenes=scenes) for layout in DATASETS[name])
    monkeypatch.setitem(DATASETS, name, layouts)


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_set_of_every_layout_passes(name, tmp_path, monkeypatch, capsys):
    MAKERS[name](tmp_path)
    expect(monkeypatch, name, len(open_dataset(name, tmp_path)))
    code, said = check(capsys, name, tmp_path)
    assert code == 0 and said.startswith(f"{name} is whole\n  looked in  {tmp_path}/"), said
    assert "each as long as its header says" in said


def test_a_part_of_sintel_is_explained(tmp_path, capsys):
    make_sintel(tmp_path)
    code, said = check(capsys, "sintel", tmp_path)
    assert code == 3
    for part in (
        "sintel is not whole",
        f"looked in  {tmp_path}/Sintel/training",
        "8 of 2082 (a pair: two pictures and the flow between them)",
        "clean/alley_1: 2, clean/market_5: 2, final/alley_1: 2, final/market_5: 2",
        "no pair of 21 scenes: alley_2, ambush_2,",
        "files      24, each as long as its header says",
        "decoded    8 pairs, in which the flow of 87.5% of the pixels is known",
        "2074 pairs of the full set are not there. To have them, download MPI-Sintel-complete.zip from",
        f"What is there can be used as it is: flowgru evaluate sintel --root {tmp_path}",
    ):
        assert part in said


def test_a_set_that_is_not_there_is_one_line_with_where_it_comes_from(tmp_path, capsys):
    assert main(["data", "check", "spring", "--root", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert "looked for spring/train, found no folders; download" in error and "https://spring-benchmark.org" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "name, lost, said",
    [
        ("sintel", "Sintel/training/flow", "no folder  flow\n"),
        ("sintel", "Sintel/training/final", "no folder  final\n"),
        ("spring", "spring/train/0004/flow_BW_right", "no folder  */flow_BW_right\n"),
        ("middlebury", "Middlebury/other-gt-flow", "no folder  other-gt-flow\n"),
    ],
)
def test_a_part_that_was_not_unpacked_is_named(name, lost, said, tmp_path, capsys):
    MAKERS[name](tmp_path)
    (tmp_path / lost).rename(tmp_path / "lost")
    code, printed = check(capsys, name, tmp_path)
    assert code == 3 and said in printed and "files      0" not in printed


def test_the_command_that_is_advised_can_be_pasted_whatever_the_folder_is_called(tmp_path, capsys):
    MAKERS["sintel"](tmp_path / "my sets")
    assert f"flowgru evaluate sintel --root '{tmp_path}/my sets'" in check(capsys, "sintel", tmp_path / "my sets")[1]


def test_an_archive_that_waits_to_be_unpacked_is_named(tmp_path, capsys):
    (tmp_path / "FlyingChairs.zip").touch()
    assert main(["data", "check", "chairs", "--root", str(tmp_path)]) == 3
    assert "found FlyingChairs.zip; download" in capsys.readouterr().err


def test_flow_without_the_hidden_pixels_is_explained(tmp_path, capsys):
    make_kitti("KITTI", "image_2", "flow_noc")(tmp_path)
    assert "flow_noc leaves out what is hidden in the second picture" in check(capsys, "kitti2015", tmp_path)[1]
    make_kitti("KITTI-2012", "image_0", "flow_occ")(tmp_path)
    assert "leaves out" not in check(capsys, "kitti2012", tmp_path)[1]


def test_no_number_is_expected_that_nobody_published(tmp_path, capsys):
    make_things(tmp_path)
    code, said = check(capsys, "things", tmp_path)
    assert code == 0 and "8 (how many the full set has is not known to flowgru)" in said


def test_every_missing_and_left_over_file_is_listed(tmp_path, capsys):
    make_sintel(tmp_path)
    base = tmp_path / "Sintel/training"
    (base / "final/alley_1/frame_0003.png").unlink()
    (base / "flow/market_5/frame_0002.flo").unlink()
    code, said = check(capsys, "sintel", tmp_path)
    assert code == 3 and "5 of 2082" in said
    assert "1 missing, although another file of its pair is there:\n    final/alley_1/frame_0003.png\n" in said
    left_over = said.partition("left over, because the other files of its pair are missing:\n")[2]
    assert "    clean/market_5/frame_0003.png\n    final/market_5/frame_0003.png\n" in left_over
    assert "unpack it again" in said


def truncate(path: Path, num_bytes: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-num_bytes])


@pytest.mark.parametrize(
    "name, file, said",
    [
        (
            "chairs",
            "FlyingChairs_release/data/00002_flow.flo",
            "too short: a .flo of 6x8 px (height x width) needs 396 bytes, there are 395",
        ),
        ("chairs", "FlyingChairs_release/data/00002_img1.ppm", "too short: a PPM of 6x8 px (height x width) needs"),
        (
            "things",
            "FlyingThings3D/optical_flow/TRAIN/B/0012/into_past/left/OpticalFlowIntoPast_0007_L.pfm",
            "too short",
        ),
        ("sintel", "Sintel/training/clean/alley_1/frame_0002.png", "is a truncated PNG"),
        ("kitti2015", "KITTI/training/flow_occ/000003_10.png", "is a truncated PNG"),
        ("spring", "spring/train/0004/flow_FW_left/flow_FW_left_0001.flo5", "is a damaged HDF5 file"),
        ("tartanair", "tartanair/neighborhood/Hard/P003/flow/000000_000001_flow.npy", "too short: an array float32"),
        ("tartanair", "tartanair/neighborhood/Hard/P003/flow/000000_000001_mask.npy", "too short: an array uint8"),
    ],
)
def test_a_file_shorter_than_its_header_says_is_found_without_decoding(name, file, said, tmp_path, capsys):
    MAKERS[name](tmp_path)
    truncate(tmp_path / file, 20 if file.endswith(("png", "flo5")) else 1)
    code, printed = check(capsys, name, tmp_path, "--samples", "0")
    found = [line for line in printed.splitlines() if line.startswith("    ")]
    assert code == 3 and len(found) == 1 and file in found[0] and said in found[0]
    assert "1 damaged" in printed and "get them again" in printed and "decoded" not in printed


def test_damage_behind_a_sound_header_is_found_by_decoding(tmp_path, capsys):
    make_middlebury(tmp_path)
    path = tmp_path / "Middlebury/other-data/Venus/frame11.png"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    assert "1 damaged" not in check(capsys, "middlebury", tmp_path, "--samples", "0")[1]
    code, said = check(capsys, "middlebury", tmp_path)
    assert code == 3 and "1 damaged:" in said and "frame11.png" in said


def test_files_of_two_sizes_and_flows_without_a_known_pixel_are_found(tmp_path, capsys):
    make_middlebury(tmp_path)
    second = tmp_path / "Middlebury/other-data/Venus/frame11.png"
    second.unlink()
    picture(second, 0, height=5)
    unknown = tmp_path / "Middlebury/other-gt-flow/Grove2/flow10.flo"
    write_flow(unknown, np.zeros((6, 8, 2), np.float32), np.zeros((6, 8), bool), overwrite=True)
    code, said = check(capsys, "middlebury", tmp_path)
    assert code == 3 and "2 damaged:" in said
    assert f"{second} is 5x8 and" in said and f"{unknown} has no pixel with a known flow" in said


def test_more_pairs_than_the_full_set_has_are_a_fault(tmp_path, monkeypatch, capsys):
    make_things(tmp_path)
    expect(monkeypatch, "things", 6)
    code, said = check(capsys, "things", tmp_path)
    assert code == 3 and "There are 2 pairs more than the full set has" in said


def test_a_set_whose_full_number_is_not_known_is_not_called_lacking(tmp_path, capsys):
    make_things_subset(tmp_path)
    code, said = check(capsys, "things", tmp_path)
    assert code == 0 and "8 (how many the full set has is not known to flowgru)" in said


def test_scenes_that_are_not_there_are_named(tmp_path, capsys):
    make_hd1k(tmp_path)
    code, said = check(capsys, "hd1k", tmp_path)
    assert code == 3 and "no pair of 34 scenes: 000001, 000002, 000004," in said
    assert "These scenes of the full set are not there. To have them, download hd1k_full_package.zip" in said


def test_long_lists_are_cut_with_a_count(tmp_path, capsys):
    for number in range(30):
        picture(tmp_path / f"FlyingChairs_release/data/{number:05}_img1.ppm", 0)
    code, said = check(capsys, "chairs", tmp_path)
    assert code == 3 and "60 missing" in said and "    and 40 more\n" in said
    assert sum(line.startswith("    ") for line in said.splitlines()) == 21


def test_a_manifest_is_checked(tmp_path, capsys):
    for number in (1, 2):
        picture(tmp_path / f"{number}.png", number)
    flow(tmp_path / "a.flo", 1)
    mask(tmp_path / "known.png", 1)
    manifest = tmp_path / "pairs.csv"
    manifest.write_text("first,second,flow,valid\n1.png,2.png,a.flo,known.png\n")
    code, said = check(capsys, str(manifest), tmp_path)
    assert code == 0 and "is whole" in said and "1 in the manifest" in said
    manifest.write_text("first,second,flow\n1.png,2.png,a.flo\n1.png,3.png,a2.flo\n")
    code, said = check(capsys, str(manifest), tmp_path)
    assert "  2 missing:\n" in said  # nothing says what else is there of such a row
    assert code == 3 and "    3.png (row 3)\n    a2.flo (row 3)\n" in said and "relative to the manifest" in said


@pytest.mark.parametrize("ending", ["jpg", "webp", "bmp", "tif"])
def test_a_picture_that_does_not_say_its_length_is_decoded(ending, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for number in (1, 2):
        Image.fromarray(noise).save(tmp_path / f"{number}.{ending}")
    write_flow(tmp_path / "a.flo", np.zeros((60, 80, 2), np.float32))
    (tmp_path / "pairs.csv").write_text(f"first,second,flow\n1.{ending},2.{ending},a.flo\n")
    assert check(capsys, str(tmp_path / "pairs.csv"), tmp_path, "--samples", "0")[0] == 0
    truncate(tmp_path / f"2.{ending}", 2000)
    code, said = check(capsys, str(tmp_path / "pairs.csv"), tmp_path, "--samples", "0")
    assert code == 3 and "1 damaged" in said and f"2.{ending}" in said


def test_a_turned_photograph_has_the_size_that_it_is_read_at(tmp_path, capsys):
    turned = Image.new("RGB", (6, 8))
    turned.getexif()[274] = 6
    for number in (1, 2):
        turned.save(tmp_path / f"{number}.jpg", exif=turned.getexif())
    flow(tmp_path / "a.flo", 1)
    (tmp_path / "pairs.csv").write_text("first,second,flow\n1.jpg,2.jpg,a.flo\n")
    code, said = check(capsys, str(tmp_path / "pairs.csv"), tmp_path)
    assert code == 0 and "decoded    1 pair," in said


def test_chairs_that_lack_a_file_are_not_called_too_many(tmp_path, monkeypatch, capsys):
    make_chairs(tmp_path)
    expect(monkeypatch, "chairs_val", 1)
    (tmp_path / "FlyingChairs_release/data/00010_img2.ppm").unlink()
    code, said = check(capsys, "chairs_val", tmp_path)
    assert code == 3 and "00010_img2.ppm" in said and "2 in both parts" in said and "more than the full set" not in said


def test_several_sets_are_checked_one_after_the_other(tmp_path, monkeypatch, capsys):
    make_sintel(tmp_path)
    make_chairs(tmp_path)
    expect(monkeypatch, "sintel_clean", 4)
    assert main(["data", "check", "sintel_clean", "spring", "sintel", "--root", str(tmp_path)]) == 3
    said, errors = capsys.readouterr()
    assert "sintel_clean is whole\n" in said and "sintel is not whole\n" in said
    assert [line for line in errors.splitlines() if line.startswith("error: spring is not below")]
    assert "note:" not in errors
    assert main(["data", "check", "sintel_clean", "--root", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["data", "check", "sintel_clean", str(tmp_path)]) == 0
    assert f"the last word {tmp_path} is now --root {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["data", "check"], "expected flowgru data check NAME ... --root ROOT"),
        (["data", "unpack", "sintel"], "unpack sintel: expected flowgru data check NAME ... --root ROOT"),
        (["data", "chek", "sintel"], "did you mean 'check'? expected flowgru data check NAME"),
        (["data", "sintel"], "did you mean 'check sintel'? expected flowgru data check NAME"),
        (["data", "my.csv", "chairs"], "did you mean 'check my.csv chairs'?"),
        (["data", "check", "sintle"], "did you mean 'sintel'"),
        (["data", "check", "sintel", "there", "--root", "here"], "there is no data set, and --root is here already"),
        (["data", "check", "sintle", "sintel"], "did you mean 'sintel'"),
        (["data", "check", "sintel", "chiars"], "did you mean 'chairs'"),
        (["data", "check", "sintel", ".", "--samples", "-1"], "--samples is -1"),
    ],
)
def test_a_wrong_request_is_exit_2(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err

"""A set is found under the names that its users give it, and what it lacks is named."""

import pytest
from layouts.trees import MAKERS, contents, make_chairs, make_kitti, make_sintel, mask, picture

from flowgru.data.sets.opening import DATASETS, open_dataset
from flowgru.errors import InputFileError, RequestError


@pytest.mark.parametrize(
    "folder, pictures, name",
    [
        ("KITTI-2012", "colored_0", "kitti2012"),
        ("KITTI2012", "image_0", "kitti2012"),
        ("kitti2012", "image_0", "kitti2012"),
        ("KITTI-2015", "image_2", "kitti2015"),
        ("KittiFlow", "image_2", "kitti2015"),
        ("kitti", "image_2", "kitti2015"),
    ],
)
def test_other_names_of_folders_are_found(folder, pictures, name, tmp_path):
    make_kitti(folder, pictures, "flow_occ")(tmp_path)
    assert len(open_dataset(name, tmp_path)) == 2


@pytest.mark.parametrize(
    "name, published, other",
    [
        ("chairs", "FlyingChairs_release", "FlyingChairs/FlyingChairs_release"),
        ("chairs", "FlyingChairs_release", "FlyingChairs"),
        ("hd1k", "HD1k", "hd1k"),
        ("spring", "spring", "Spring"),
        ("sintel", "Sintel", "SINTEL"),
        ("tartanair", "tartanair", "TartanAir"),
        ("tartanair", "tartanair/neighborhood", "tartanair/neighborhood/neighborhood"),
        ("things", "FlyingThings3D", "flyingthings3d"),
    ],
)
def test_a_set_is_found_under_the_names_that_its_users_give_it(name, published, other, tmp_path):
    MAKERS[name](tmp_path / "made")
    number = len(open_dataset(name, tmp_path / "made"))
    (tmp_path / "root" / other).parent.mkdir(parents=True)
    (tmp_path / "made" / published).rename(tmp_path / "root" / other)
    assert len(open_dataset(name, tmp_path / "root")) == number > 0


@pytest.mark.parametrize("name", MAKERS)
def test_the_notes_that_macos_leaves_beside_every_file_are_passed_over(name, tmp_path):
    MAKERS[name](tmp_path)
    before = contents(open_dataset(name, tmp_path))
    for path in list(tmp_path.rglob("*")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        path.with_name(".DS_Store").touch()
    assert contents(open_dataset(name, tmp_path)) == before


@pytest.mark.parametrize(
    "others",
    [
        ["image_0/000000_10.png", "image_1/000000_10.png", "disp_occ/000000_10.png"],  # stereo of KITTI-2012
        ["image_2/000000_10.png", "image_3/000000_10.png", "disp_occ_0/000000_10.png"],  # without the flow
        ["image_2/000000.png", "flow_occ/.keep"],  # objects, and an empty folder
    ],
)
def test_another_tasks_part_of_kitti_does_not_hide_the_flow(others, tmp_path):
    for other in others:
        picture((tmp_path / "KITTI/training" / other).with_suffix(".png"), 0)
    with pytest.raises(InputFileError, match=r"KITTI/training (has no|holds no pair|lacks)") as caught:
        open_dataset("kitti2015", tmp_path)
    assert "download data_scene_flow.zip" in str(caught.value)
    make_kitti("KITTI-2015", "image_2", "flow_occ")(tmp_path)
    assert len(open_dataset("kitti2015", tmp_path)) == 2


def test_a_root_that_is_a_link_with_a_strange_name_is_read(tmp_path):
    make_sintel(tmp_path / "real")
    root = tmp_path / "Größe und\nZeile 漢"
    root.mkdir()
    (root / "Sintel").symlink_to(tmp_path / "real/Sintel")
    assert len(contents(open_dataset("sintel", root))) == 8


@pytest.mark.parametrize("place", ["FlyingChairs_release/data", "FlyingChairs_release", "."])
@pytest.mark.parametrize("file", ["chairs_split.txt", "FlyingChairs_train_val.txt"])
def test_chairs_are_split_by_either_file_in_either_folder(file, place, tmp_path):
    make_chairs(tmp_path)
    (tmp_path / "FlyingChairs_release/chairs_split.txt").rename(tmp_path / place / file)
    assert [pair.name for pair in open_dataset("chairs_train", tmp_path).pairs] == ["00001", "00010"]
    assert [pair.name for pair in open_dataset("chairs_val", tmp_path).pairs] == ["00002"]


@pytest.mark.parametrize(
    "text, said",
    [
        (None, r"no chairs_split.txt or FlyingChairs_train_val.txt in .*data, .*release, .*: it comes with"),
        ("1\n2\n", r"chairs_split.txt has 2 lines and .*data 3 pairs: expected one line for each pair"),
        ("1\n2\n1\n1\n", r"chairs_split.txt has 4 lines and .*data 3 pairs"),
        ("1\n3\n1\n", r"chairs_split.txt line 2 is '3': expected 1 \(train\) or 2 \(validation\)"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(text, said, tmp_path):
    make_chairs(tmp_path)
    path = tmp_path / "FlyingChairs_release/chairs_split.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputFileError, match=said):
        open_dataset("chairs_val", tmp_path)
    assert len(open_dataset("chairs", tmp_path)) == 3


@pytest.mark.parametrize(
    "name, lost, said",
    [
        ("chairs", "FlyingChairs_release/data/00002_img2.ppm", "lacks 00002_img2.ppm"),
        ("chairs", "FlyingChairs_release/data/00002_flow.flo", "lacks 00002_flow.flo"),
        ("sintel", "Sintel/training/clean/alley_1/frame_0003.png", "lacks clean/alley_1/frame_0003.png"),
        ("sintel", "Sintel/training/final/alley_1/frame_0002.png", "lacks final/alley_1/frame_0002.png"),
        ("sintel", "Sintel/training/invalid/alley_1/frame_0002.png", "lacks invalid/alley_1/frame_0002.png"),
        ("sintel", "Sintel/training/flow/alley_1/frame_0002.flo", "no partner for clean/alley_1/frame_0003.png"),
        ("kitti2012", "KITTI-2012/training/image_0/000003_11.png", "lacks image_0/000003_11.png"),
        ("kitti2015", "KITTI/training/flow_occ/000003_10.png", "lacks flow_occ/000003_10.png"),
        ("middlebury", "Middlebury/other-data/Venus/frame11.png", "lacks other-data/Venus/frame11.png"),
        (
            "things",
            "FlyingThings3D/frames_finalpass/TRAIN/B/0012/left/0008.png",
            "lacks frames_finalpass/TRAIN/B/0012/left/0008.png",
        ),
        (
            "things",
            "FlyingThings3D/frames_cleanpass/TRAIN/B/0012/left/0007.png",
            "lacks frames_cleanpass/TRAIN/B/0012/left/0007.png",
        ),
        ("hd1k", "HD1k/hd1k_input/image_2/000003_0009.png", "lacks hd1k_input/image_2/000003_0009.png"),
        (
            "hd1k",
            "HD1k/hd1k_flow_gt/flow_occ/000000_0000.png",
            "no partner for hd1k_input/image_2/000000_0000.png, hd1k_input/image_2/000000_0001.png",
        ),
        (
            "spring",
            "spring/train/0004/frame_left/frame_left_0002.png",
            "lacks 0004/frame_left/frame_left_0002.png",
        ),
        (
            "tartanair",
            "tartanair/neighborhood/Hard/P003/image_left/000001_left.png",
            "lacks neighborhood/Hard/P003/image_left/000001_left.png",
        ),
        (
            "tartanair",
            "tartanair/neighborhood/Hard/P003/flow/000000_000001_mask.npy",
            "lacks neighborhood/Hard/P003/flow/000000_000001_mask.npy",
        ),
        (
            "tartanair",
            "tartanair/neighborhood/Hard/P003/flow/000000_000001_flow.npy",
            "no partner for neighborhood/Hard/P003/flow/000000_000001_mask.npy",
        ),
    ],
)
def test_a_file_without_its_partner_is_named(name, lost, said, tmp_path):
    MAKERS[name](tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(InputFileError) as caught:
        open_dataset(name, tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, base, pictures, flows, first",
    [
        (
            "things_clean",
            "FlyingThings3D",
            "frames_cleanpass/TRAIN/B/0012/left/{:04}.png",
            "optical_flow/TRAIN/B/0012/into_future/left/OpticalFlowIntoFuture_{:04}_L.pfm",
            6,
        ),
        ("hd1k", "HD1k", "hd1k_input/image_2/000003_{:04}.png", "hd1k_flow_gt/flow_occ/000003_{:04}.png", 8),
        (
            "spring",
            "spring/train",
            "0004/frame_left/frame_left_{:04}.png",
            "0004/flow_FW_left/flow_FW_left_{:04}.flo5",
            1,
        ),
    ],
)
def test_a_flow_that_is_missing_between_two_others_is_named(name, base, pictures, flows, first, tmp_path):
    MAKERS[name](tmp_path)
    folder = tmp_path / base
    for number in range(first, first + 4):
        if not (folder / pictures.format(number)).exists():
            picture(folder / pictures.format(number), 0)
    stored = (folder / flows.format(first)).read_bytes()
    for number in (first + 1, first + 2):
        (folder / flows.format(number)).write_bytes(stored)
    number_whole = len(open_dataset(name, tmp_path))
    (folder / flows.format(first + 1)).unlink()  # its pictures are in the pairs beside it
    with pytest.raises(InputFileError) as caught:
        open_dataset(name, tmp_path)
    assert f"{base} lacks {flows.format(first + 1)}: unpack the set again" in str(caught.value) and number_whole > 3


def test_masks_of_sintels_last_frames_are_left_alone_and_others_without_a_flow_are_not(tmp_path):
    make_sintel(tmp_path)
    base = tmp_path / "Sintel/training"
    for kind in ("invalid", "occlusions"):
        mask(base / kind / "alley_1/frame_0003.png", 0)
    assert len(open_dataset("sintel", tmp_path)) == 8
    (base / "flow/alley_1/frame_0001.flo").rename(base / "flow/alley_1/gone")
    with pytest.raises(
        InputFileError, match=r"no partner for clean/alley_1/frame_0001.png, .*invalid/alley_1/frame_0001"
    ):
        open_dataset("sintel", tmp_path)


def test_many_unpaired_files_are_counted(tmp_path):
    for number in range(9):
        picture(tmp_path / f"FlyingChairs_release/data/{number:05}_img1.ppm", 0)
    with pytest.raises(InputFileError, match=r"00002_flow.flo and 13 more: unpack"):
        open_dataset("chairs", tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_refused(name, tmp_path):
    layout = DATASETS[name][0]
    (tmp_path / layout.folders[0] / layout.holds).mkdir(parents=True)
    with pytest.raises(InputFileError, match=r"holds no pair with a flow|has no [\w/ ]+: found"):
        open_dataset(name, tmp_path)


def test_a_missing_set_says_what_was_looked_for_and_found(tmp_path):
    (tmp_path / "sintel").mkdir()
    with pytest.raises(
        InputFileError,
        match=r"sintel is not below .*: looked for Sintel/training or .*, found sintel; download MPI-Sintel",
    ):
        open_dataset("sintel", tmp_path)
    with pytest.raises(InputFileError, match=r"nothing \(No such file or directory"):
        open_dataset("kitti2012", tmp_path / "nowhere")


def test_the_sets_own_folder_as_root_is_recognised(tmp_path):
    make_sintel(tmp_path)
    with pytest.raises(InputFileError, match=rf"found training; give the folder above, {tmp_path}$"):
        open_dataset("sintel", tmp_path / "Sintel")


@pytest.mark.parametrize("inside", ["Sintel/training", "Sintel/training/flow", "KITTI"])
def test_a_root_too_deep_is_answered_with_the_right_one(inside, tmp_path, monkeypatch):
    make_sintel(tmp_path)
    (tmp_path / "KITTI").mkdir()
    monkeypatch.chdir(tmp_path / inside)
    for root in (tmp_path / inside, "."):
        with pytest.raises(InputFileError, match=rf"; give the folder above, {tmp_path}$"):
            open_dataset("sintel", root)


def test_an_unknown_set_suggests_the_nearest_name():
    with pytest.raises(
        RequestError, match=r"unknown data set 'kiti2015': did you mean 'kitti2015'\? known are chairs,"
    ):
        open_dataset("kiti2015", ".")

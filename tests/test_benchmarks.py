"""The published layouts are read as they are: pairs by name, masks applied, and what is missing is named."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from trees import HEIGHT, MAKERS, WIDTH, make_chairs, make_kitti, make_sintel, make_things_subset, mask, picture

from flowgru.data.benchmarks import DATASETS, FlowPairs, open_dataset
from flowgru.data.flow_files import write_flow
from flowgru.errors import InputFileError, RequestError
from flowgru.grid import warp


def contents(pairs: FlowPairs) -> list[tuple[str, int, int, float]]:
    """Name, level of both pictures and u of every pair."""
    samples = [pairs[index] for index in range(len(pairs))]
    return [
        (
            sample.name,
            round(sample.first.max().item() * 255),
            round(sample.second.max().item() * 255),
            sample.flow[0].max().item(),
        )
        for sample in samples
    ]


def test_every_set_has_a_test_here():
    assert MAKERS.keys() == DATASETS.keys()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("chairs", [("chairs/00001", 1, 101, 1), ("chairs/00002", 2, 102, 2), ("chairs/00010", 10, 110, 10)]),
        (
            "sintel_clean",
            [
                ("sintel_clean/clean/alley_1/frame_0001", 11, 12, 11),
                ("sintel_clean/clean/alley_1/frame_0002", 12, 13, 12),
                ("sintel_clean/clean/market_5/frame_0001", 1, 2, 1),
                ("sintel_clean/clean/market_5/frame_0002", 2, 3, 2),
            ],
        ),
        ("kitti2012", [("kitti2012/flow_occ/000003_10", 13, 14, 3), ("kitti2012/flow_occ/000007_10", 17, 18, 7)]),
        ("kitti2015", [("kitti2015/flow_occ/000003_10", 13, 14, 3), ("kitti2015/flow_occ/000007_10", 17, 18, 7)]),
        ("middlebury", [("middlebury/Grove2", 1, 101, 1), ("middlebury/Venus", 0, 100, 0)]),
        (
            "things_final",
            [
                ("things_final/final/B/0012/OpticalFlowIntoFuture_0006_L", 106, 107, 6),
                ("things_final/final/B/0012/OpticalFlowIntoFuture_0007_L", 107, 108, 7),
                ("things_final/final/B/0012/OpticalFlowIntoPast_0007_L", 107, 106, -7),
                ("things_final/final/B/0012/OpticalFlowIntoPast_0008_L", 108, 107, -8),
            ],
        ),
        (
            "hd1k",
            [
                ("hd1k/000000/000000_0000", 0, 1, 0),
                ("hd1k/000003/000003_0008", 38, 39, 38),
                ("hd1k/000003/000003_0009", 39, 40, 39),
            ],
        ),
        (
            "spring",
            [
                ("spring/0004/flow_BW_left_0002", 2, 1, 2),
                ("spring/0004/flow_BW_right_0002", 12, 11, 12),
                ("spring/0004/flow_FW_left_0001", 1, 2, 1),
                ("spring/0004/flow_FW_right_0001", 11, 12, 11),
            ],
        ),
        (
            "tartanair",
            [
                ("tartanair/neighborhood/Hard/P003/000000_000001", 0, 1, 10),
                ("tartanair/neighborhood/Hard/P003/000001_000002", 1, 2, 11),
            ],
        ),
    ],
)
def test_pairs_are_matched_by_name_and_sorted(name, expected, tmp_path):
    MAKERS[name](tmp_path)
    assert contents(open_dataset(name, tmp_path)) == expected


def test_the_subset_of_things_is_found_by_its_own_folders(tmp_path):
    make_things_subset(tmp_path)
    pairs = open_dataset("things_clean", tmp_path)
    assert contents(pairs) == [
        ("things_clean/clean/into_future/0000000", 0, 1, 10),
        ("things_clean/clean/into_future/0000001", 1, 2, 11),
        ("things_clean/clean/into_past/0000001", 1, 0, 0),  # unknown pixels hold 0, the known ones -11
        ("things_clean/clean/into_past/0000002", 2, 1, 0),
    ]
    assert pairs[2].flow[0].min() == -11 and pairs.flow_folder == "flow"
    assert len(open_dataset("things", tmp_path)) == 8
    (tmp_path / "FlyingThings3D_subset").rename(tmp_path / "FlyingThings3D")
    assert len(open_dataset("things_clean", tmp_path)) == 4


def test_rows_of_things_are_turned_the_right_way_up(tmp_path):
    MAKERS["things"](tmp_path)
    assert open_dataset("things", tmp_path)[0].flow[1, :, 0].tolist() == list(range(HEIGHT))


def test_things_is_both_passes_and_needs_both(tmp_path):
    MAKERS["things"](tmp_path)
    assert [line[1] for line in contents(open_dataset("things", tmp_path))] == [6, 7, 7, 8, 106, 107, 107, 108]
    (tmp_path / "FlyingThings3D/frames_finalpass").rename(tmp_path / "away")
    with pytest.raises(InputFileError, match="has no frames_finalpass: found frames_cleanpass, optical_flow"):
        open_dataset("things", tmp_path)
    assert len(open_dataset("things_clean", tmp_path)) == 4


def test_sintel_is_both_passes_one_after_the_other(tmp_path):
    make_sintel(tmp_path)
    both = [line[1:] for line in contents(open_dataset("sintel", tmp_path))]
    assert both == [
        line[1:] for name in ("sintel_clean", "sintel_final") for line in contents(open_dataset(name, tmp_path))
    ]
    assert [line[0] for line in both] == [11, 12, 1, 2, 111, 112, 101, 102]


@pytest.mark.parametrize(
    "name, unknown, occluded",
    [
        ("chairs", [], None),
        ("sintel", [0], [0, 1]),
        ("kitti2012", [5], None),
        ("kitti2015", [5], None),
        ("middlebury", [7], None),
        ("things", [], None),
        ("hd1k", [5], None),
        ("spring", [3], None),
        ("tartanair", [3], [1, 2, 3]),
    ],
)
def test_samples_say_where_the_flow_is_known_and_what_is_occluded(name, unknown, occluded, tmp_path):
    MAKERS[name](tmp_path)
    sample = open_dataset(name, tmp_path)[0]
    assert sample.first.shape == (3, HEIGHT, WIDTH) and sample.first.dtype == torch.float32
    assert (~sample.valid).any(dim=0).nonzero().flatten().tolist() == unknown
    assert (~sample.valid).all(dim=0).nonzero().flatten().tolist() == unknown
    assert name == "things" or (sample.flow[1][sample.valid] == -1).all()
    if occluded is None:
        assert sample.occlusion is None
    else:
        assert sample.occlusion is not None
        assert sample.occlusion.all(dim=0).nonzero().flatten().tolist() == occluded


def test_sintel_without_masks_is_valid_everywhere(tmp_path):
    make_sintel(tmp_path)
    for kind in ("invalid", "occlusions"):
        (tmp_path / "Sintel/training" / kind).rename(tmp_path / kind)
    sample = open_dataset("sintel", tmp_path)[0]
    assert sample.valid.all() and sample.occlusion is None


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


def test_tartanair_without_masks_is_valid_everywhere(tmp_path):
    MAKERS["tartanair"](tmp_path)
    for path in tmp_path.rglob("*_mask.npy"):
        path.unlink()
    sample = open_dataset("tartanair", tmp_path)[0]
    assert sample.valid.all() and sample.occlusion is None


def test_a_flow_of_spring_in_the_pictures_size_is_refused(tmp_path):
    MAKERS["spring"](tmp_path)
    path = tmp_path / "spring/train/0004/flow_BW_left/flow_BW_left_0002.flo5"
    write_flow(path, np.zeros((HEIGHT, WIDTH, 2), np.float32), overwrite=True)
    with pytest.raises(InputFileError, match=r"0002.flo5 is 4x3 in every 2nd row and column and .*png 8x6"):
        open_dataset("spring", tmp_path)[0]


def test_kitti_prefers_flow_occ_and_says_which_it_reads(tmp_path):
    make_kitti("KITTI", "image_2", "flow_noc")(tmp_path)
    pairs = open_dataset("kitti2015", tmp_path)
    assert pairs.flow_folder == "flow_noc" and "flow_noc" in pairs[0].name
    make_occ = make_kitti("again/KITTI", "image_2", "flow_occ")
    make_occ(tmp_path)
    (tmp_path / "again/KITTI/training/flow_occ").rename(tmp_path / "KITTI/training/flow_occ")
    assert open_dataset("kitti2015", tmp_path).flow_folder == "flow_occ"


def test_other_frames_of_kitti_are_left_alone(tmp_path):
    MAKERS["kitti2015"](tmp_path)
    picture(tmp_path / "KITTI/training/image_2/000003_12.png", 0)
    assert len(open_dataset("kitti2015", tmp_path)) == 2


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


def test_the_colour_pictures_of_kitti2012_go_before_the_grey_ones(tmp_path):
    make_kitti("KITTI-2012", "image_0", "flow_occ")(tmp_path)
    for number in (3, 7):
        for frame in (10, 11):
            picture(tmp_path / f"KITTI-2012/training/colored_0/{number:06}_{frame}.png", 100)
    assert [line[1] for line in contents(open_dataset("kitti2012", tmp_path))] == [100, 100]


def test_an_unknown_set_suggests_the_nearest_name():
    with pytest.raises(
        RequestError, match=r"unknown data set 'kiti2015': did you mean 'kitti2015'\? known are chairs,"
    ):
        open_dataset("kiti2015", ".")


@pytest.mark.parametrize("file", ["clean/alley_1/frame_0002.png", "flow/alley_1/frame_0001.flo"])
def test_files_of_two_sizes_are_refused(file, tmp_path):
    make_sintel(tmp_path)
    path = tmp_path / "Sintel/training" / file
    path.unlink()
    if path.suffix == ".png":
        picture(path, 0, height=5)
    else:
        write_flow(path, np.zeros((5, WIDTH, 2), np.float32))
    with pytest.raises(InputFileError, match=rf"{path.name} is 8x5 and .*frame_0001.png 8x6"):
        open_dataset("sintel", tmp_path)[0]


def test_a_loader_reads_every_pair_once(tmp_path):
    make_chairs(tmp_path)
    names = [sample.name for sample in DataLoader(open_dataset("chairs", tmp_path), batch_size=None)]
    assert names == ["chairs/00001", "chairs/00002", "chairs/00010"]


REAL_SETS = ("chairs", "sintel_clean", "sintel_final", "kitti2012", "kitti2015", "middlebury")


@pytest.mark.parametrize("name", REAL_SETS)
def test_warping_by_the_flow_explains_real_pairs(name, data_root):
    """The mean absolute difference, where the data set says that both pictures show the pixel, is more than halved."""
    try:
        pairs = open_dataset(name, data_root)
    except InputFileError as error:
        pytest.skip(f"{error} (--data-root says where)")
    assert 0 < len(pairs) <= pairs.num_full
    assert [pair.name for pair in pairs.pairs] == sorted(pair.name for pair in pairs.pairs)
    for index in np.unique(np.linspace(0, len(pairs) - 1, 8).astype(int)).tolist():
        first, second, flow, valid, occlusion, sample_name = pairs[index]
        assert first.shape == second.shape == (3, *valid.shape)
        warped, inside = warp(second[None], flow[None])
        judged = valid & inside[0] & (True if occlusion is None else ~occlusion)
        explained, still = ((other - first).abs().mean(0)[judged].mean().item() for other in (warped[0], second))
        assert judged.any() and explained < 0.5 * still, (sample_name, explained, still)

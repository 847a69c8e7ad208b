"""The published layouts are read as they are: pairs by name, masks applied, and what is missing is named."""

import numpy as np
import pytest
import torch
from layouts.trees import (
    HEIGHT,
    MAKERS,
    WIDTH,
    contents,
    make_chairs,
    make_kitti,
    make_sintel,
    make_things_subset,
    picture,
)
from torch.utils.data import DataLoader

from flowgru.data.formats.flow_files import write_flow
from flowgru.data.sets.opening import DATASETS, open_dataset
from flowgru.errors import InputFileError
from flowgru.grid import backward_warp


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
    with pytest.raises(InputFileError, match=r"0002.flo5 is 3x4 in every 2nd row and column and .*png 6x8 px"):
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


def test_the_colour_pictures_of_kitti2012_go_before_the_grey_ones(tmp_path):
    make_kitti("KITTI-2012", "image_0", "flow_occ")(tmp_path)
    for number in (3, 7):
        for frame in (10, 11):
            picture(tmp_path / f"KITTI-2012/training/colored_0/{number:06}_{frame}.png", 100)
    assert [line[1] for line in contents(open_dataset("kitti2012", tmp_path))] == [100, 100]


@pytest.mark.parametrize("file", ["clean/alley_1/frame_0002.png", "flow/alley_1/frame_0001.flo"])
def test_files_of_two_sizes_are_refused(file, tmp_path):
    make_sintel(tmp_path)
    path = tmp_path / "Sintel/training" / file
    path.unlink()
    if path.suffix == ".png":
        picture(path, 0, height=5)
    else:
        write_flow(path, np.zeros((5, WIDTH, 2), np.float32))
    with pytest.raises(InputFileError, match=rf"{path.name} is 5x8 and .*frame_0001.png 6x8 px"):
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
        first, second, flow, valid, occlusion, sample_name, _ = pairs[index]
        assert first.shape == second.shape == (3, *valid.shape)
        warped, inside = backward_warp(second[None], flow[None])
        judged = valid & inside[0] & (True if occlusion is None else ~occlusion)
        explained, still = ((other - first).abs().mean(0)[judged].mean().item() for other in (warped[0], second))
        assert judged.any() and explained < 0.5 * still, (sample_name, explained, still)

"""The published layouts are read as they are: pairs by name, masks applied, and what is missing is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flowgru.data.benchmarks import DATASETS, FlowPairs, open_dataset
from flowgru.data.flow_files import write_flow
from flowgru.data.images import write_image
from flowgru.errors import InputFileError, RequestError

HEIGHT, WIDTH = 6, 8


def picture(path: Path, level: int, height: int = HEIGHT) -> None:
    """A grey picture; its level tells which it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, WIDTH, 3), level, np.uint8))


def mask(path: Path, *columns: int) -> None:
    """White in these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, list(columns)] = 255
    write_image(path, pixels)


def flow(path: Path, u: float, *unknown: int) -> None:
    """(u, -1) everywhere, unknown in these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, list(unknown)] = False
    write_flow(path, np.full((HEIGHT, WIDTH, 2), (u, -1), np.float32), valid)


def make_chairs(root: Path) -> None:
    for number in (2, 10, 1):
        start = root / "FlyingChairs_release/data" / f"{number:05}"
        picture(start.with_name(f"{start.name}_img1.ppm"), number)
        picture(start.with_name(f"{start.name}_img2.ppm"), number + 100)
        flow(start.with_name(f"{start.name}_flow.flo"), number)


def make_sintel(root: Path) -> None:
    base = root / "Sintel/training"
    for index, scene in enumerate(("market_5", "alley_1")):
        for frame in (1, 2, 3):
            picture(base / f"clean/{scene}/frame_{frame:04}.png", 10 * index + frame)
            picture(base / f"final/{scene}/frame_{frame:04}.png", 10 * index + frame + 100)
        for frame in (1, 2):
            flow(base / f"flow/{scene}/frame_{frame:04}.flo", 10 * index + frame)
            mask(base / f"invalid/{scene}/frame_{frame:04}.png", 0)
            mask(base / f"occlusions/{scene}/frame_{frame:04}.png", 0, 1)


def make_kitti(folder: str, pictures: str, flows: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        base = root / folder / "training"
        for number in (7, 3):
            for frame in (10, 11):
                picture(base / f"{pictures}/{number:06}_{frame}.png", number + frame)
            flow(base / f"{flows}/{number:06}_10.png", number, 5)

    return make


def make_middlebury(root: Path) -> None:
    for index, scene in enumerate(("Venus", "Grove2", "Walking")):
        picture(root / f"Middlebury/other-data/{scene}/frame10.png", index)
        picture(root / f"Middlebury/other-data/{scene}/frame11.png", index + 100)
        if scene != "Walking":  # published without its flow
            flow(root / f"Middlebury/other-gt-flow/{scene}/flow10.flo", index, 7)


MAKERS = {
    "chairs": make_chairs,
    "sintel": make_sintel,
    "sintel_clean": make_sintel,
    "sintel_final": make_sintel,
    "kitti2012": make_kitti("KITTI-2012", "image_0", "flow_occ"),
    "kitti2015": make_kitti("KITTI", "image_2", "flow_occ"),
    "middlebury": make_middlebury,
}


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
    ],
)
def test_pairs_are_matched_by_name_and_sorted(name, expected, tmp_path):
    MAKERS[name](tmp_path)
    assert contents(open_dataset(name, tmp_path)) == expected


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
    ],
)
def test_samples_say_where_the_flow_is_known_and_what_is_occluded(name, unknown, occluded, tmp_path):
    MAKERS[name](tmp_path)
    sample = open_dataset(name, tmp_path)[0]
    assert sample.first.shape == (3, HEIGHT, WIDTH) and sample.first.dtype == torch.float32
    assert (~sample.valid).any(dim=0).nonzero().flatten().tolist() == unknown
    assert (~sample.valid).all(dim=0).nonzero().flatten().tolist() == unknown
    assert (sample.flow[1][sample.valid] == -1).all()
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
    ],
)
def test_other_names_of_folders_are_found(folder, pictures, name, tmp_path):
    make_kitti(folder, pictures, "flow_occ")(tmp_path)
    assert len(open_dataset(name, tmp_path)) == 2


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
    ],
)
def test_a_file_without_its_partner_is_named(name, lost, said, tmp_path):
    MAKERS[name](tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(InputFileError) as caught:
        open_dataset(name, tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_many_unpaired_files_are_counted(tmp_path):
    for number in range(9):
        picture(tmp_path / f"FlyingChairs_release/data/{number:05}_img1.ppm", 0)
    with pytest.raises(InputFileError, match=r"00002_flow.flo and 13 more: unpack"):
        open_dataset("chairs", tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_refused(name, tmp_path):
    (tmp_path / DATASETS[name].folders[0]).mkdir(parents=True)
    with pytest.raises(InputFileError, match=r"holds no pair with a flow|has no image_"):
        open_dataset(name, tmp_path)


def test_a_missing_set_says_what_was_looked_for_and_found(tmp_path):
    (tmp_path / "sintel").mkdir()
    with pytest.raises(InputFileError, match=r"sintel is not below .*: looked for Sintel/training, found sintel$"):
        open_dataset("sintel", tmp_path)
    with pytest.raises(InputFileError, match=r"nothing \(No such file or directory"):
        open_dataset("kitti2012", tmp_path / "nowhere")


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


@pytest.mark.parametrize("name", DATASETS)
def test_real_pairs_are_read(name, data_root):
    try:
        pairs = open_dataset(name, data_root)
    except InputFileError as error:
        pytest.skip(f"{error} (--data-root says where)")
    assert 0 < len(pairs) <= pairs.num_full
    assert [pair.name for pair in pairs.pairs] == sorted(pair.name for pair in pairs.pairs)
    for index in {0, len(pairs) // 2, len(pairs) - 1}:
        sample = pairs[index]
        assert sample.first.shape == sample.second.shape == (3, *sample.valid.shape)
        assert sample.first.std() > 0.05 and sample.valid.any() and not sample.first.equal(sample.second)
        assert sample.flow[:, sample.valid].abs().max() < 1000

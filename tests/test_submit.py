"""A submission holds every flow under the server's name and in its encoding, and is checked before it is called ready."""

import shutil
import struct
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data import challenges
from flowgru.data.challenges import CHALLENGES, open_challenge
from flowgru.data.flow_files import read_flow, write_flow
from flowgru.data.images import write_image
from flowgru.data.submissions import package_faults, write_submitted
from flowgru.errors import InputFileError, MachineError, RequestError
from flowgru.evaluation.evaluate import Estimate
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.model_file import write_model_file

HEIGHT, WIDTH = 6, 8


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((HEIGHT, WIDTH, 3), level, np.uint8))


def make_sintel(root: Path) -> None:
    for index, name in enumerate(("clean", "final")):
        for scene, frames in (("market_4", 3), ("cave_3", 2)):
            for frame in range(1, frames + 1):
                picture(root / f"Sintel/test/{name}/{scene}/frame_{frame:04}.png", 100 * index + frame)


def make_kitti(folder: str, pictures: str):
    def make(root: Path) -> None:
        for number in (0, 10):
            for frame in (10, 11):
                picture(root / f"{folder}/testing/{pictures}/{number:06}_{frame}.png", number + frame)
        picture(root / f"{folder}/testing/{pictures}/000000_09.png", 0)  # of the multi-view extension

    return make


def make_spring(root: Path) -> None:
    for side in ("left", "right"):
        for frame in (1, 2, 3):
            picture(root / f"spring/test/0003/frame_{side}/frame_{side}_{frame:04}.png", frame)


MAKERS = {
    "sintel": make_sintel,
    "kitti2012": make_kitti("KITTI-2012", "image_0"),
    "kitti2015": make_kitti("KITTI", "image_2"),
    "spring": make_spring,
}
PACKAGES = {
    "sintel": [
        f"{name}/{flow}.flo"
        for name in ("clean", "final")
        for flow in ("cave_3/frame0001", "market_4/frame0001", "market_4/frame0002")
    ],
    "kitti2012": ["000000_10.png", "000010_10.png"],
    "kitti2015": ["flow/000000_10.png", "flow/000010_10.png"],
    "spring": [
        f"0003/flow_{direction}_{side}/flow_{direction}_{side}_{number:04}.flo5"
        for side in ("left", "right")
        for direction, numbers in (("FW", (1, 2)), ("BW", (2, 3)))
        for number in numbers
    ],
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def levels(first, second, start=None, /) -> Estimate:
    """A flow of the grey levels of both pictures, so that a file tells which pair it is of; 1/100 px off a quantum."""
    u, v = (round(image.mean().item() * 255) + 0.01 for image in (first, second))
    flow = torch.tensor([u, v]).reshape(1, 2, 1, 1).expand(1, 2, *first.shape[2:])
    return Estimate(flow, torch.full((1, 2, 1, 1), u))


@pytest.fixture
def estimated(monkeypatch):
    monkeypatch.setattr("flowgru.tasks.submit._estimator", lambda *_: levels)


@pytest.fixture
def small(monkeypatch):
    """The servers ask for as many flows as the trees of these tests have."""
    for name, package in PACKAGES.items():
        monkeypatch.setitem(challenges.CHALLENGES, name, CHALLENGES[name]._replace(num_flows=len(package)))


def run(*words: object) -> int:
    return main(["submit", *map(str, words)])


@pytest.fixture
def package(request, tmp_path, estimated, small):
    """A submission that was written, of the benchmark that the test's parameter names."""
    MAKERS[request.param](tmp_path)
    assert run(request.param, "--root", tmp_path, "--output", tmp_path / "out") == 0
    return tmp_path / "out"


@pytest.mark.parametrize("name", MAKERS)
def test_every_pair_of_the_test_split_is_there_under_the_servers_name(name, tmp_path, estimated, small, capsys):
    MAKERS[name](tmp_path)
    assert run(name, "--root", tmp_path, "--output", tmp_path / "out") == 0
    zips = {f"{name}.zip"} if name.startswith("kitti") else set()
    assert files(tmp_path / "out") == {*PACKAGES[name], *zips}
    said = capsys.readouterr().out
    assert f"{len(PACKAGES[name])} flows for {name}, each of them checked; ready: " in said
    assert {"sintel": "bundler", "spring": "flow_subsampling"}.get(name, "upload the zip") in said
    if zips:
        with zipfile.ZipFile(tmp_path / "out" / f"{name}.zip") as archive:
            assert archive.namelist() == PACKAGES[name]
            assert archive.read(PACKAGES[name][0]) == (tmp_path / "out" / PACKAGES[name][0]).read_bytes()


@pytest.mark.parametrize(
    "package, file, first, second",
    [
        ("sintel", "final/market_4/frame0002.flo", 102, 103),
        ("kitti2012", "000010_10.png", 20, 21),
        ("kitti2015", "flow/000000_10.png", 10, 11),
        ("spring", "0003/flow_FW_right/flow_FW_right_0002.flo5", 2, 3),
        ("spring", "0003/flow_BW_left/flow_BW_left_0002.flo5", 2, 1),
    ],
    indirect=["package"],
)
def test_each_file_holds_the_flow_of_its_pair(package, file, first, second):
    flow, valid = read_flow(package / file)
    assert flow.shape == (HEIGHT, WIDTH, 2) and valid.all()
    expected = np.array([first + 0.01, second + 0.01], np.float32)
    if file.endswith(".png"):
        expected = np.round(expected * 64) / 64
    np.testing.assert_array_equal(flow, np.broadcast_to(expected, flow.shape))


@pytest.mark.parametrize("package", ["sintel"], indirect=True)
def test_sintels_bytes_are_the_formats(package):
    data = (package / "clean/cave_3/frame0001.flo").read_bytes()
    assert data[:12] == struct.pack("<fii", 202021.25, WIDTH, HEIGHT) and len(data) == 12 + 8 * WIDTH * HEIGHT


@pytest.mark.parametrize("package", ["kitti2015"], indirect=True)
def test_kittis_bytes_are_the_formats(package):
    samples = cv2.imread(str(package / "flow/000000_10.png"), cv2.IMREAD_UNCHANGED)
    assert samples is not None and samples.dtype == np.uint16 and (samples[..., 0] == 1).all()
    assert (samples[..., 2] == 32768 + 10 * 64 + 1).all()  # 0.01 px is nearer to 1/64 px than to 0


@pytest.mark.parametrize("package", ["spring"], indirect=True)
def test_springs_files_are_hdf5_of_the_pictures_size(package):
    with h5py.File(package / "0003/flow_FW_left/flow_FW_left_0001.flo5") as file:
        stored = file["flow"]
        assert isinstance(stored, h5py.Dataset) and stored.shape == (HEIGHT, WIDTH, 2) and stored.dtype == np.float32


def test_what_kittis_format_cannot_hold_is_clipped_and_counted(tmp_path, small, monkeypatch, capsys):
    make_kitti("KITTI", "image_2")(tmp_path)
    flow = torch.zeros(1, 2, HEIGHT, WIDTH)
    flow[0, 0, 0, :2] = torch.tensor([-600.0, 511.99])  # the second is within half a quantum
    flow[0, 1, 1, 1] = 700
    monkeypatch.setattr("flowgru.tasks.submit._estimator", lambda *_: lambda *_: Estimate(flow))
    assert run("kitti2015", "--root", tmp_path, "--output", tmp_path / "out") == 0
    assert "warning: 4 pixels moved further than the format holds" in capsys.readouterr().err
    found, valid = read_flow(tmp_path / "out/flow/000000_10.png")
    assert valid.all() and found[0, :2, 0].tolist() == [-512, 511.984375] and found[1, 1].tolist() == [0, 511.984375]


@pytest.mark.parametrize("suffix", [".flo", ".png", ".flo5"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_a_flow_that_is_not_finite_is_refused(suffix, value, tmp_path):
    flow = np.zeros((4, 5, 2), np.float32)
    flow[1, 2, 1] = value
    with pytest.raises(RequestError, match="is not finite"):
        write_submitted(tmp_path / f"a{suffix}", flow)
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_give_the_flow_back_is_noticed(tmp_path, monkeypatch):
    def truncating(path, flow, **settings):
        write_flow(path, np.floor(flow * 64) / np.float32(64), **settings)

    monkeypatch.setattr("flowgru.data.submissions.write_flow", truncating)
    write_submitted(tmp_path / "kept.png", np.full((4, 5, 2), 0.25, np.float32))
    with pytest.raises(MachineError, match=r"lost.png does not give back"):
        write_submitted(tmp_path / "lost.png", np.full((4, 5, 2), 0.99 / 64, np.float32))


def test_consecutive_pairs_of_a_scene_start_where_the_one_before_leads(tmp_path, small, monkeypatch):
    make_sintel(tmp_path)
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(None if start is None else round(start.mean().item()))
        return levels(first, second)

    monkeypatch.setattr("flowgru.tasks.submit._estimator", lambda *_: estimate)
    assert run("sintel", "--root", tmp_path, "--output", tmp_path / "out", "--warm-start") == 0
    assert starts == [None, None, 1, None, None, 101]


def test_a_network_writes_what_it_estimates(tmp_path):
    make_sintel(tmp_path)
    shutil.rmtree(tmp_path / "Sintel/test/clean/cave_3")
    shutil.rmtree(tmp_path / "Sintel/test/final/market_4")
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig())
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), card, overwrite=False)
    words = ("sintel", "--root", tmp_path, "--model", tmp_path / "model.safetensors", "--device", "cpu")
    assert run(*words, "--iterations", 1, "--warm-start", "--partial", "--output", tmp_path / "out") == 0
    first, second, third = (torch.full((1, 3, HEIGHT, WIDTH), level / 255) for level in (1, 2, 3))
    with torch.inference_mode():
        begun = network.eval()(first, second, iterations=1)
        start = splat(begun.coarse, begun.coarse)
        expected = network(second, third, iterations=1, initial_flow=start).flows[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(read_flow(tmp_path / "out/clean/market_4/frame0002.flo").flow, expected, atol=1e-5)


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
        "is 7x6: its picture is 8x6",
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
        "is 16x12: its picture is 8x6",
    ),
    "NaN": (
        "spring",
        lambda path: write_flow(path, np.full((HEIGHT, WIDTH, 2), np.nan), overwrite=True),
        "48 pixels that are not finite",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_is_refused(damage, tmp_path, estimated, small, capsys):
    name, harm, said = DAMAGES[damage]
    MAKERS[name](tmp_path)
    assert run(name, "--root", tmp_path, "--output", tmp_path / "out") == 0
    assert run(name, "--root", tmp_path, "--check", tmp_path / "out") == 0
    assert package_faults(tmp_path / "out", open_challenge(name, tmp_path), besides=[f"{name}.zip"]) == []
    harm(tmp_path / "out" / PACKAGES[name][0])
    capsys.readouterr()
    assert run(name, "--root", tmp_path, "--check", tmp_path / "out") == 3
    out, error = capsys.readouterr()
    assert said in error and len(error.splitlines()) == 1 and not out
    assert len(package_faults(tmp_path / "out", open_challenge(name, tmp_path), besides=[f"{name}.zip"])) == 1


def rezip(path: Path, flows: Path, names: list[str], spoil: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, (flows / name).read_bytes() + spoil)


@pytest.mark.parametrize("package", ["kitti2015"], indirect=True)
def test_a_zip_beside_the_flows_must_hold_them(package, capsys):
    words, path = ("kitti2015", "--root", package.parent, "--check", package), package / "kitti2015.zip"
    names = PACKAGES["kitti2015"]
    assert run(*words) == 0
    other = package.parent / "other"
    shutil.copytree(package / "flow", other / "flow")
    write_submitted(other / names[0], np.ones((HEIGHT, WIDTH, 2), np.float32), overwrite=True)
    whole = path.read_bytes()
    position = whole.index(b"IDAT")
    harms = [
        (lambda: path.write_bytes(whole[:-10]), "is damaged"),
        (lambda: path.write_bytes(whole[:position] + b"JDAT" + whole[position + 4 :]), "is damaged"),
        (lambda: rezip(path, package, names[:1]), "does not hold the flows of its folder"),
        (lambda: rezip(path, package / "flow", [Path(name).name for name in names]), "does not hold the flows"),
        (lambda: rezip(path, package, names, spoil=b"0"), "holds another flow/000000_10.png"),
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


def test_many_faults_are_counted(tmp_path, small, capsys):
    make_spring(tmp_path)
    (tmp_path / "out").mkdir()
    assert run("spring", "--root", tmp_path, "--check", tmp_path / "out") == 3
    assert "flow_FW_right_0001.flo5 is missing and 3 more" in capsys.readouterr().err


def test_a_part_of_the_test_split_is_refused_or_not_called_ready(tmp_path, estimated, capsys):
    make_sintel(tmp_path)
    words = ("sintel", "--root", tmp_path, "--output", tmp_path / "out")
    assert run(*words) == 3
    assert "has 6 pairs, the server asks for 1104" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run(*words, "--partial") == 0
    said = capsys.readouterr().out
    assert "NOT to be uploaded: the server asks for 1104" in said and "ready" not in said


@pytest.mark.parametrize("package", ["kitti2015"], indirect=True)
def test_flows_are_not_overwritten_unasked(package, capsys):
    words = ("kitti2015", "--root", package.parent, "--output", package)
    before = {path: path.stat().st_mtime_ns for path in package.rglob("*.png")}
    assert run(*words) == 2
    assert "already holds flow/000000_10.png" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in package.rglob("*.png")} == before
    assert run(*words, "--overwrite") == 0
    (package / "notes.txt").touch()
    assert run(*words, "--overwrite") == 2
    assert "already holds notes.txt, which is no part of a submission" in capsys.readouterr().err


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
        open_challenge(name, tmp_path)


@pytest.mark.parametrize(
    "words, said",
    [
        (["sintle", "--output", "o"], "unknown benchmark 'sintle': expected one of sintel"),
        (["sintel", "spring", "--output", "o"], "unknown benchmark 'sintel spring'"),
        (["sintel"], "give either --output FOLDER"),
        (["sintel", "--output", "o", "--check", "o"], "give either --output FOLDER"),
        (["sintel", "--output", ""], "--output is empty"),
        (["sintel", "--check", ""], "--check is empty"),
        (["kitti2015", "--output", "o", "--warm-start"], "--warm-start is for sintel"),
    ],
)
def test_a_wrong_request_is_one_line(words, said, capsys):
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1

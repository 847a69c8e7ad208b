"""A submission holds every flow under the server's name and in its encoding, and is checked before it is called ready."""

import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from layouts.split_trees import MAKERS, PACKAGES, levels, make_kitti, make_sintel, run
from layouts.trees import HEIGHT, WIDTH

from flowgru.config import NetworkConfig
from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.sets.submissions import write_submitted
from flowgru.errors import MachineError, RequestError
from flowgru.evaluation.evaluate import Estimate
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", MAKERS)
def test_every_pair_of_the_test_split_is_there_under_the_servers_name(
    name, tmp_path, flows_from_grey_levels, small_challenges, capsys
):
    MAKERS[name](tmp_path)
    assert run(name, "--root", tmp_path, "--output", tmp_path / "out") == 0
    zips = {f"{name}.zip"} if name.startswith("kitti") else set()
    assert files(tmp_path / "out") == {*PACKAGES[name], *zips}
    captured = capsys.readouterr()
    said, pairs = captured.out, f"{len(PACKAGES[name])}/{len(PACKAGES[name])} pairs, "
    assert pairs in captured.err
    assert f"{len(PACKAGES[name])} flows for {name}, each of them checked; ready: " in said
    assert {"sintel": "bundler", "spring": "flow_subsampling"}.get(name, "upload the zip") in said
    if zips:
        with zipfile.ZipFile(tmp_path / "out" / f"{name}.zip") as archive:
            assert archive.namelist() == PACKAGES[name]
            assert archive.read(PACKAGES[name][0]) == (tmp_path / "out" / PACKAGES[name][0]).read_bytes()


@pytest.mark.parametrize(
    "submission, file, first, second",
    [
        ("sintel", "final/market_4/frame0002.flo", 102, 103),
        ("kitti2012", "000010_10.png", 20, 21),
        ("kitti2015", "flow/000000_10.png", 10, 11),
        ("spring", "0003/flow_FW_right/flow_FW_right_0002.flo5", 2, 3),
        ("spring", "0003/flow_BW_left/flow_BW_left_0002.flo5", 2, 1),
    ],
    indirect=["submission"],
)
def test_each_file_holds_the_flow_of_its_pair(submission, file, first, second):
    flow, valid = read_flow(submission / file)
    assert flow.shape == (HEIGHT, WIDTH, 2) and valid.all()
    expected = np.array([first + 0.01, second + 0.01], np.float32)
    if file.endswith(".png"):
        expected = np.round(expected * 64) / 64
    np.testing.assert_array_equal(flow, np.broadcast_to(expected, flow.shape))


@pytest.mark.parametrize("submission", ["sintel"], indirect=True)
def test_sintels_bytes_are_the_formats(submission):
    data = (submission / "clean/cave_3/frame0001.flo").read_bytes()
    assert data[:12] == struct.pack("<fii", 202021.25, WIDTH, HEIGHT) and len(data) == 12 + 8 * WIDTH * HEIGHT


@pytest.mark.parametrize("submission", ["kitti2015"], indirect=True)
def test_kittis_bytes_are_the_formats(submission):
    samples = cv2.imread(str(submission / "flow/000000_10.png"), cv2.IMREAD_UNCHANGED)
    assert samples is not None and samples.dtype == np.uint16 and (samples[..., 0] == 1).all()
    assert (samples[..., 2] == 32768 + 10 * 64 + 1).all()  # 0.01 px is nearer to 1/64 px than to 0


@pytest.mark.parametrize("submission", ["spring"], indirect=True)
def test_springs_files_are_hdf5_of_the_pictures_size(submission):
    with h5py.File(submission / "0003/flow_FW_left/flow_FW_left_0001.flo5") as file:
        stored = file["flow"]
        assert isinstance(stored, h5py.Dataset) and stored.shape == (HEIGHT, WIDTH, 2) and stored.dtype == np.float32


def test_what_kittis_format_cannot_hold_is_clipped_and_counted(tmp_path, small_challenges, monkeypatch, capsys):
    make_kitti("KITTI", "image_2")(tmp_path)
    flow = torch.zeros(1, 2, HEIGHT, WIDTH)
    flow[0, 0, 0, :2] = torch.tensor([-600.0, 511.99])  # the second is within half a quantum
    flow[0, 1, 1, 1] = 700
    monkeypatch.setattr("flowgru.evaluation.submission.open_estimator", lambda *_: lambda *_: Estimate(flow))
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

    monkeypatch.setattr("flowgru.data.sets.submissions.write_flow_array", truncating)
    write_submitted(tmp_path / "kept.png", np.full((4, 5, 2), 0.25, np.float32))
    with pytest.raises(MachineError, match=r"lost.png does not give back"):
        write_submitted(tmp_path / "lost.png", np.full((4, 5, 2), 0.99 / 64, np.float32))


def test_consecutive_pairs_of_a_scene_start_where_the_one_before_leads(tmp_path, small_challenges, monkeypatch):
    make_sintel(tmp_path)
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(None if start is None else round(start.coarse[0].mean().item()))
        return levels(first, second)

    monkeypatch.setattr("flowgru.evaluation.submission.open_estimator", lambda *_: estimate)
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
        expected = network(second, third, iterations=1, initial_coarse=start).flows[0][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(read_flow(tmp_path / "out/clean/market_4/frame0002.flo").flow, expected, atol=1e-5)


@pytest.mark.parametrize("submission", ["kitti2015"], indirect=True)
def test_flows_are_not_overwritten_unasked(submission, capsys):
    words = ("kitti2015", "--root", submission.parent, "--output", submission)
    before = {path: path.stat().st_mtime_ns for path in submission.rglob("*.png")}
    assert run(*words) == 2
    assert "already holds flow/000000_10.png" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in submission.rglob("*.png")} == before
    assert run(*words, "--overwrite") == 0
    ended = subprocess.Popen(["true"])
    ended.wait()
    (submission / f"flow/.flowgru-{ended.pid}-0123abcd.png").touch()  # as a process that is killed leaves it
    assert run(*words, "--overwrite") == 0
    (submission / "notes.txt").touch()
    assert run(*words, "--overwrite") == 2
    assert "already holds notes.txt, which is no part of a submission" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["sintle", "--output", "o"], "unknown benchmark 'sintle': expected one of sintel"),
        (["sintel", "spring", "--output", "o"], "unknown benchmark 'sintel spring'"),
        (["sintel"], "give either --output FOLDER"),
        (["sintel", "--output", "o", "--check", "o"], "give either --output FOLDER"),
        (["sintel", "--output", ""], "--output is empty"),
        (["sintel", "--check", ""], "--check is empty"),
        (
            ["kitti2015", "--output", "o", "--warm-start"],
            "--warm-start is for sintel and spring: no pair of kitti2015 goes on",
        ),
        (["sintel", "--check", "o", "--model", "raft_small"], "--check only reads, and has no --model:"),
        (["sintel", "--check", "o", "--iterations", "3"], "--check only reads"),
        (["sintel", "--check", "o", "--device", "cpu"], "--check only reads"),
        (["sintel", "--check", "o", "--overwrite"], "--check only reads"),
    ],
)
def test_a_wrong_request_is_one_line(words, said, capsys):
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1

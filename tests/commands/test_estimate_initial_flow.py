"""`flowgru estimate`, `evaluate`, `submit` and exported files begin where they are asked to, and say where that was."""

import csv
import json

import numpy as np
import pytest
import torch
from challenge_trees import MAKERS
from estimates import SIZE, image, only_error
from media import noisy_frames

from flowgru.cli import main
from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.clip import render_clip
from flowgru.estimation.initial_flow import InitialFlow
from flowgru.estimation.steps import finish, grey_of
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.evaluation.evaluate import Estimate
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file

DIS = ("--initial-flow", "dis")
FULL = (*DIS, "--hold", "2", "--polish")


@pytest.fixture
def start() -> torch.Tensor:
    """An initial flow for the frames of the fixtures."""
    return 2 * torch.randn(1, 2, *SIZE)


def write(path, flow: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()))


@torch.no_grad()
def from_network(network, first, second, start=None, hold=0, iterations=1) -> np.ndarray:
    frames = image(first), image(second)
    flow = network(*frames, iterations=iterations, initial_flow=start, hold=hold, final_only=True).flows[-1][0]
    return flow.permute(1, 2, 0).numpy()


def flows_of(out) -> list[dict]:
    return json.loads((out / "summary.json").read_text())["clips"][0]["flows"]


def test_dis_hold_and_polish_are_what_the_options_say(estimate, network, pair, out):
    assert estimate(*pair, *FULL, "--backward") == 0
    way = Way(1, "dis", 2, True)
    for name, (first, second) in (("a", pair), ("a_backward", pair[::-1])):
        frames = image(first), image(second)
        begun = InitialFlow("dis", dis_start(frames[0][0], frames[1][0])[None])
        flow = torch.from_numpy(from_network(network, first, second, begun.flow, 2)).permute(2, 0, 1)[None]
        expected = finish(way, flow, begun, *(grey_of(way, frame) for frame in frames))[0].permute(1, 2, 0)
        np.testing.assert_allclose(read_flow(out / f"{name}.flo").flow, expected, atol=1e-3)
    (record,) = flows_of(out)
    assert (record["initial_flow"], record["initial_flow_backward"]) == ("dis", "dis")
    settings = json.loads((out / "summary.json").read_text())["settings"]
    assert {name: settings[name] for name in ("iterations", "initial_flow", "hold", "polish")} == {
        "iterations": 1,
        "initial_flow": "dis",
        "hold": 2,
        "polish": True,
    }


@pytest.mark.parametrize("ending", [".flo", ".npz", ".png", ".npy", ".pfm"])
def test_flow_files_of_any_format_are_begun_at(estimate, network, pair, out, tmp_path, start, ending):
    start = (64 * start).round() / 64  # what KITTI's format keeps
    path = tmp_path / f"flows/a{ending}"
    if ending == ".npy":
        path.parent.mkdir()
        np.save(path, start[0].permute(1, 2, 0).numpy())
    else:
        write(path, start)
    assert estimate(*pair, "--initial-flow", path.parent, "--hold", 1) == 0
    np.testing.assert_allclose(
        read_flow(out / "a.flo").flow, from_network(network, *pair, start=start, hold=1), atol=1e-3
    )
    assert flows_of(out)[0]["initial_flow"] == str(path)


def test_unknown_pixels_of_a_file_are_filled(estimate, network, pair, out, tmp_path):
    start = torch.full((1, 2, *SIZE), 3.0)
    holes = start.clone()
    holes[..., 10:30, 20:40] = torch.nan
    write(tmp_path / "flows/a.flo", holes)
    assert estimate(*pair, "--initial-flow", tmp_path / "flows") == 0
    np.testing.assert_allclose(read_flow(out / "a.flo").flow, from_network(network, *pair, start=start), atol=1e-3)


def test_results_are_initial_flows_of_several_clips_and_both_directions(estimate, tmp_path, out):
    for clip in ("one", "two"):
        for number, frame in enumerate(noisy_frames(3, *SIZE)):
            write_image(tmp_path / clip / f"{number}.png", frame)
    words = (tmp_path / "one", tmp_path / "two", "--backward")
    assert estimate(*words) == 0
    assert estimate(*words, "--initial-flow", out, "--output", tmp_path / "again") == 0
    clips = json.loads((tmp_path / "again/summary.json").read_text())["clips"]
    for clip, name in zip(clips, ("one", "two"), strict=True):
        assert [flow["initial_flow"] for flow in clip["flows"]] == [str(out / name / f"{n}.flo") for n in (0, 1)]
        back = [str(out / name / f"{number}_backward.flo") for number in (0, 1)]
        assert [flow["initial_flow_backward"] for flow in clip["flows"]] == back


def test_resize_has_the_initial_flow_at_the_computed_size(estimate, network, pair, out, tmp_path):
    write(tmp_path / "flows/a.flo", torch.full((1, 2, *SIZE), 8.0))
    starts = []
    with pytest.MonkeyPatch.context() as patch:
        match = FlowNetwork.match
        patch.setattr(FlowNetwork, "match", lambda *a, **o: (starts.append(o["initial_flow"]), match(*a, **o))[1])
        assert estimate(*pair, "--initial-flow", tmp_path / "flows", "--resize", "0.5", "--polish") == 0
    ((found,),) = [starts]
    torch.testing.assert_close(found, torch.full((1, 2, 24, 32), 4.0))
    assert read_flow(out / "a.flo").flow.shape == (*SIZE, 2)


def test_tiles_have_their_part_of_one_initial_flow_and_the_polish_comes_after_blending(network, monkeypatch):
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in noisy_frames(2, 136, 320)]
    starts, polished = [], []
    match = network.match
    monkeypatch.setattr(network, "match", lambda *a, **o: (starts.append(o["initial_flow"]), match(*a, **o))[1])
    monkeypatch.setattr(
        "flowgru.estimation.steps.polish",
        lambda first, second, flow, begun: (polished.append((flow, begun)), flow)[1],
    )
    way = Way(1, "dis", 1, True)
    (found,) = pair_flows([StreamFrame(frame, 0) for frame in frames], network, way, tiles=(1, 2))
    whole = dis_start(frames[0][0], frames[1][0])
    assert len(starts) == 2 and torch.equal(starts[0][0], whole[..., : starts[0].shape[3]])
    assert torch.equal(starts[1][0], whole[..., -starts[1].shape[3] :])
    ((flow, begun),) = polished
    assert flow.shape == (136, 320, 2) and np.array_equal(begun, whole.permute(1, 2, 0).numpy())
    assert found.initial_flows == ("dis",)


def test_a_warm_start_replaces_the_initial_flow_but_for_the_first_pair_and_after_a_cut(network):
    quiet = [frame // 4 for frame in noisy_frames(5, *SIZE)]
    frames = [*quiet[:3], *(frame + 128 for frame in quiet[3:])]
    tensors = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in frames]
    way = Way(1, "dis", 1)
    found = list(pair_flows(map(StreamFrame, tensors, range(5)), network, way, warm_start=True, backward=True))
    assert [pair.initial_flows for pair in found] == [("dis",) * 2, ("warm",) * 2, ("dis",) * 2, ("warm",) * 2]
    with torch.no_grad():
        begun = network(*tensors[:2], iterations=1, hold=1, initial_flow=dis_start(tensors[0][0], tensors[1][0])[None])
        carried = splat(begun.coarse, begun.coarse)
        expected = network(*tensors[1:3], iterations=1, hold=1, initial_coarse=carried).flows[-1][0]
    torch.testing.assert_close(found[1].forward, expected, rtol=1e-4, atol=1e-4)


def test_16_bit_and_grey_pictures_begin_at_dis(estimate, out, tmp_path):
    import cv2

    clip = render_clip(SyntheticSettings(height=64, width=96, num_textures=4, seed=1), 0, 2).frames
    for kind in ("deep", "grey"):
        for number, frame in enumerate(clip):
            grey = to_levels(frame)[..., 0]
            stored = grey.astype(np.uint16) * 257 if kind == "deep" else grey
            (tmp_path / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(tmp_path / kind / f"{number}.png"), stored)
        assert estimate(tmp_path / kind, *FULL, "--output", out / kind) == 0
        assert flows_of(out / kind)[0]["initial_flow"] == "dis"
    assert np.array_equal(read_flow(out / "deep/0.flo").flow, read_flow(out / "grey/0.flo").flow)


def test_where_dis_cannot_run_the_start_is_zero_without_a_message(estimate, network, out, tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path, frame in zip(paths, noisy_frames(2, 9, 40), strict=True):
        write_image(path, frame)
    assert estimate(*paths, *FULL) == 0
    assert flows_of(out)[0]["initial_flow"] == "zero" and "warning" not in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hold", "-1"], "--hold is -1: it must be 0 or more"),
        (["--initial-flow", "nowhere"], "--initial-flow is 'nowhere': expected dis, zero, or a folder of flow files"),
    ],
)
def test_a_request_without_sense_is_one_line(estimate, pair, out, capsys, options, said):
    assert estimate(*pair, *options) == 2
    assert said in only_error(capsys) and not out.exists()
    assert main(["evaluate", "sintel", *options]) == 2 and said in only_error(capsys)
    assert main(["submit", "sintel", "--output", str(out), *options]) == 2 and said in only_error(capsys)


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        (None, "has no initial flow a: expected a file a with one of .flo, .png, .npz, .flo5, .pfm, .npy"),
        (
            torch.zeros(1, 2, 20, 30),
            "is 30x20 and the pictures are 64x48: an initial flow has the size of its pictures",
        ),
        (torch.full((1, 2, *SIZE), torch.nan), "has no known pixel: an initial flow must be known somewhere"),
    ],
)
def test_a_file_that_cannot_be_is_one_line(estimate, pair, tmp_path, capsys, flow, said):
    (tmp_path / "flows").mkdir()
    if flow is not None:
        write(tmp_path / "flows/a.flo", flow)
    assert estimate(*pair, "--initial-flow", tmp_path / "flows") == 3
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]


# evaluate and submit


@pytest.fixture
def set_of_two(tmp_path):
    """A manifest of two generated pairs."""
    clip = render_clip(SyntheticSettings(height=64, width=96, num_textures=4, seed=1), 0, 3)
    for number, frame in enumerate(clip.frames):
        write_image(tmp_path / f"set/{number}.png", to_levels(frame))
    for number in (0, 1):
        write(tmp_path / f"set/{number}.flo", torch.zeros(1, 2, 64, 96))
    path = tmp_path / "set/pairs.csv"
    path.write_text("first,second,flow,name\n0.png,1.png,0.flo,x/0\n1.png,2.png,1.flo,x/1\n")
    return path


def rows_of(folder) -> list[dict]:
    with (folder / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluate_names_the_way_and_where_each_pair_began(set_of_two, model, tmp_path, capsys):
    words = ["evaluate", str(set_of_two), "--model", model, "--device", "cpu", "--static", "1", "--worst", "0"]
    assert main([*words, *FULL, "--output", str(tmp_path / "dis")]) == 0
    title = " ".join(capsys.readouterr().out.split())
    assert "way from DIS > hold 2 > network 2 > gate > variational refinement" in title
    rows = rows_of(tmp_path / "dis")
    assert [*rows[0]][:3] == ["pair", "set", "epe"] and [*rows[0]][-1] == "initial_flow"
    assert [row["initial_flow"] for row in rows] == ["dis", "dis"]
    report = json.loads((tmp_path / "dis/evaluation.json").read_text())
    assert report["method"]["way"].startswith("from DIS") and report["method"]["hold"] == 2
    assert set(next(iter(report["sets"].values()))["initial_flows"].values()) == {"dis"}

    assert main([*words, "--warm-start", *DIS, "--output", str(tmp_path / "warm")]) == 0
    assert [row["initial_flow"] for row in rows_of(tmp_path / "warm")] == ["dis", "warm"]

    capsys.readouterr()
    assert (
        main([*words, "--initial-flow", "zero", "--hold", "0", "--no-polish", "--output", str(tmp_path / "zero")]) == 0
    )
    assert "way the network alone, 2 refinements" in " ".join(capsys.readouterr().out.split())
    assert [row["initial_flow"] for row in rows_of(tmp_path / "zero")] == ["zero", "zero"]
    assert main(["evaluate", str(set_of_two), "--baseline", "zero", "--output", str(tmp_path / "base")]) == 0
    assert [row["initial_flow"] for row in rows_of(tmp_path / "base")] == ["", ""]


def test_evaluate_takes_flow_files_that_are_named_as_its_pairs(set_of_two, model, tmp_path, capsys):
    words = ["evaluate", str(set_of_two), "--model", model, "--device", "cpu", "--static", "0", "--worst", "0"]
    write(tmp_path / "flows/pairs/x/0.flo", torch.zeros(1, 2, 64, 96))
    words += ["--initial-flow", str(tmp_path / "flows"), "--output", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(words) == 3  # the other pair has none
    assert "this pair was left out" in capsys.readouterr().err
    (row,) = rows_of(tmp_path / "out")
    assert row["initial_flow"] == str(tmp_path / "flows/pairs/x/0.flo")


def test_baselines_have_no_way(capsys):
    for option in (("--hold", "1"), DIS, ("--no-polish",)):
        assert main(["evaluate", "sintel", "--baseline", "dis", *option]) == 2
        assert "--baseline has no --model, --iterations, --initial-flow" in only_error(capsys)


def test_submit_takes_flow_files_that_are_named_as_those_it_writes(tmp_path, small, monkeypatch, capsys):
    MAKERS["kitti2012"](tmp_path)
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(None if start is None else start.name)
        return Estimate(torch.zeros(1, 2, *first.shape[2:]))

    monkeypatch.setattr("flowgru.commands.submit.open_estimator", lambda *_: estimate)
    words = ["submit", "kitti2012", "--root", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    folder = tmp_path / "flows"
    folder.mkdir()
    for path in (tmp_path / "out").glob("*_10.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    assert main([*words, "--overwrite", "--initial-flow", str(folder)]) == 0
    assert starts == [None, None, *(str(folder / name) for name in ("000000_10.png", "000010_10.png"))]
    (folder / "000010_10.png").unlink()
    capsys.readouterr()
    assert main([*words, "--overwrite", "--initial-flow", str(folder)]) == 3
    assert "has no initial flow 000010_10" in capsys.readouterr().err


def test_a_network_that_keeps_detail_is_not_exported(tmp_path, capsys):
    network = FlowNetwork(NetworkConfig(keep_detail=True))
    named = {"preset": "compact", "operator": "conv_min_gru", "keep_detail": True}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), {"network": named})
    words = ["export", "--model", str(tmp_path / "model.safetensors"), "--output", str(tmp_path / "flow.onnx")]
    assert main(words) == 2
    assert "keeps the detail of its initial flow, which an exported file cannot" in only_error(capsys)

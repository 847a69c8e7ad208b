"""`flowgru estimate` begins where it is asked to, and says where that was."""

import copy
import json

import numpy as np
import pytest
import torch
from estimates import SIZE, image, only_error, write
from media import noisy_frames

from flowgru.cli import main
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.clip import render_clip
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.estimation.matching.steps import finish, grey_of
from flowgru.model.flow_network import FlowNetwork

DIS = ("--initial-flow", "dis")
FULL = (*DIS, "--hold", "2", "--polish")


@pytest.fixture
def start() -> torch.Tensor:
    """An initial flow for the frames of the fixtures."""
    return 2 * torch.randn(1, 2, *SIZE)


@torch.no_grad()
def from_network(network, first, second, start=None, hold=0, iterations=1) -> np.ndarray:
    frames = image(first), image(second)
    flow = network(*frames, iterations=iterations, initial_flow=start, hold=hold, final_only=True).flows[-1][0]
    return flow.permute(1, 2, 0).numpy()


def flows_of(out) -> list[dict]:
    return json.loads((out / "summary.json").read_text())["clips"][0]["flows"]


def test_dis_hold_and_polish_are_what_the_options_say(estimate, network, pair, output):
    assert estimate(*pair, *FULL, "--backward") == 0
    way, network = Way(1, "dis", 2, True), copy.deepcopy(network).for_inference()
    for name, (first, second) in (("a", pair), ("a_backward", pair[::-1])):
        frames = image(first), image(second)
        begun = InitialFlow("dis", dis_start(frames[0][0], frames[1][0])[None])
        flow = torch.from_numpy(from_network(network, first, second, begun.flow, 2)).permute(2, 0, 1)[None]
        expected = finish(way, flow, begun, *(grey_of(way, frame) for frame in frames))[0].permute(1, 2, 0)
        np.testing.assert_allclose(read_flow(output / f"{name}.flo").flow, expected, atol=1e-3)
    (record,) = flows_of(output)
    assert (record["initial_flow"], record["initial_flow_backward"]) == ("dis", "dis")
    settings = json.loads((output / "summary.json").read_text())["settings"]
    assert {name: settings[name] for name in ("iterations", "initial_flow", "hold", "polish")} == {
        "iterations": 1,
        "initial_flow": "dis",
        "hold": 2,
        "polish": True,
    }


@pytest.mark.parametrize("ending", [".flo", ".npz", ".png", ".npy", ".pfm"])
def test_flow_files_of_any_format_are_begun_at(estimate, network, pair, output, tmp_path, start, ending):
    start = (64 * start).round() / 64  # what KITTI's format keeps
    path = tmp_path / f"flows/a{ending}"
    if ending == ".npy":
        path.parent.mkdir()
        np.save(path, start[0].permute(1, 2, 0).numpy())
    else:
        write(path, start)
    assert estimate(*pair, "--initial-flow", path.parent, "--hold", 1) == 0
    np.testing.assert_allclose(
        read_flow(output / "a.flo").flow, from_network(network, *pair, start=start, hold=1), atol=1e-3
    )
    assert flows_of(output)[0]["initial_flow"] == str(path)


def test_unknown_pixels_of_a_file_are_filled(estimate, network, pair, output, tmp_path):
    start = torch.full((1, 2, *SIZE), 3.0)
    holes = start.clone()
    holes[..., 10:30, 20:40] = torch.nan
    write(tmp_path / "flows/a.flo", holes)
    assert estimate(*pair, "--initial-flow", tmp_path / "flows") == 0
    np.testing.assert_allclose(read_flow(output / "a.flo").flow, from_network(network, *pair, start=start), atol=1e-3)


def test_results_are_initial_flows_of_several_clips_and_both_directions(estimate, tmp_path, output):
    for clip in ("one", "two"):
        for number, frame in enumerate(noisy_frames(3, *SIZE)):
            write_image(tmp_path / clip / f"{number}.png", frame)
    words = (tmp_path / "one", tmp_path / "two", "--backward")
    assert estimate(*words) == 0
    assert estimate(*words, "--initial-flow", output, "--output", tmp_path / "again") == 0
    clips = json.loads((tmp_path / "again/summary.json").read_text())["clips"]
    for clip, name in zip(clips, ("one", "two"), strict=True):
        assert [flow["initial_flow"] for flow in clip["flows"]] == [str(output / name / f"{n}.flo") for n in (0, 1)]
        back = [str(output / name / f"{number}_backward.flo") for number in (0, 1)]
        assert [flow["initial_flow_backward"] for flow in clip["flows"]] == back


def test_resize_has_the_initial_flow_at_the_computed_size(estimate, network, pair, output, tmp_path):
    write(tmp_path / "flows/a.flo", torch.full((1, 2, *SIZE), 8.0))
    starts = []
    with pytest.MonkeyPatch.context() as patch:
        match = FlowNetwork.match
        patch.setattr(FlowNetwork, "match", lambda *a, **o: (starts.append(o["initial_flow"]), match(*a, **o))[1])
        assert estimate(*pair, "--initial-flow", tmp_path / "flows", "--resize", "0.5", "--polish") == 0
    ((found,),) = [starts]
    torch.testing.assert_close(found, torch.full((1, 2, 24, 32), 4.0))
    assert read_flow(output / "a.flo").flow.shape == (*SIZE, 2)


def test_16_bit_and_grey_pictures_begin_at_dis(estimate, output, tmp_path):
    import cv2

    clip = render_clip(SyntheticSettings(height=64, width=96, num_textures=4, seed=1), 0, 2).frames
    for kind in ("deep", "grey"):
        for number, frame in enumerate(clip):
            grey = to_levels(frame)[..., 0]
            stored = grey.astype(np.uint16) * 257 if kind == "deep" else grey
            (tmp_path / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(tmp_path / kind / f"{number}.png"), stored)
        assert estimate(tmp_path / kind, *FULL, "--output", output / kind) == 0
        assert flows_of(output / kind)[0]["initial_flow"] == "dis"
    assert np.array_equal(read_flow(output / "deep/0.flo").flow, read_flow(output / "grey/0.flo").flow)


def test_where_dis_cannot_run_the_start_is_zero_without_a_message(estimate, network, output, tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path, frame in zip(paths, noisy_frames(2, 9, 40), strict=True):
        write_image(path, frame)
    assert estimate(*paths, *FULL) == 0
    assert flows_of(output)[0]["initial_flow"] == "zero" and "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hold", "-1"], "--hold is -1: it must be 0 or more"),
        (["--initial-flow", "nowhere"], "--initial-flow is 'nowhere': expected dis, zero, or a folder of flow files"),
    ],
)
def test_a_request_without_sense_is_one_line(estimate, pair, output, capsys, options, said):
    assert estimate(*pair, *options) == 2
    assert said in only_error(capsys) and not output.exists()
    assert main(["evaluate", "sintel", *options]) == 2 and said in only_error(capsys)
    assert main(["submit", "sintel", "--output", str(output), *options]) == 2 and said in only_error(capsys)


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        (
            None,
            "expected a file a with one of .flo, .png, .npz, .flo5, .pfm, .npy; add it, or leave --initial-flow out",
        ),
        (
            torch.zeros(1, 2, 20, 30),
            "is 20x30 and the pictures are 48x64 px (height x width): the initial flow of a pair has the size of",
        ),
        (
            torch.full((1, 2, *SIZE), torch.nan),
            "has no known pixel: the initial flow of a pair must be known somewhere",
        ),
    ],
)
def test_a_file_that_cannot_be_is_one_line(estimate, pair, tmp_path, capsys, flow, said):
    (tmp_path / "flows").mkdir()
    if flow is not None:
        write(tmp_path / "flows/a.flo", flow)
    assert estimate(*pair, "--initial-flow", tmp_path / "flows") == 3
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]


def test_a_missing_backward_flow_says_how_to_go_on(estimate, pair, tmp_path, start, capsys):
    (tmp_path / "flows").mkdir()
    write(tmp_path / "flows/a.flo", start)
    assert estimate(*pair, "--initial-flow", tmp_path / "flows", "--backward") == 3
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "has no initial flow a_backward: " in error[0]
    assert error[0].endswith("too: estimate them with --backward, or leave --backward out")


def test_initial_flows_that_have_changed_are_an_input_that_has_changed(estimate, pair, output, tmp_path, start, capsys):
    words = (*pair, "--initial-flow", tmp_path / "flows")
    write(tmp_path / "flows/a.flo", start)
    assert estimate(*words) == 0 and estimate(*words) == 0
    before = read_flow(output / "a.flo").flow
    (tmp_path / "flows/a.flo").unlink()
    write(tmp_path / "flows/a.flo", -start)
    capsys.readouterr()
    assert estimate(*words) == 2
    assert f"{output} already holds the flows of a, whose initial flows have changed since: give" in only_error(capsys)
    assert estimate(*words, "--overwrite") == 0 and not np.array_equal(read_flow(output / "a.flo").flow, before)


def test_a_record_that_does_not_note_initial_flows_is_taken_for_the_same(estimate, pair, output, tmp_path, start):
    words = (*pair, "--initial-flow", tmp_path / "flows")
    write(tmp_path / "flows/a.flo", start)
    assert estimate(*words) == 0
    summary = json.loads((output / "summary.json").read_text())
    del summary["request"]["initial_flows"]
    (output / "summary.json").write_text(json.dumps(summary))
    assert estimate(*words) == 0


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--format", "npz")])
def test_results_do_not_replace_the_initial_flows(estimate, pair, output, start, capsys, options):
    write(output / "a.flo", start)
    before = (output / "a.flo").read_bytes()
    assert estimate(*pair, "--initial-flow", output, *options) == 2
    only_error(capsys)
    assert estimate(*pair, "--initial-flow", output, "--overwrite") == 2
    assert f"results in {output} could replace the initial flows there: name another --output" in only_error(capsys)
    assert (output / "a.flo").read_bytes() == before and len(list(output.iterdir())) == 1


def test_overwriting_does_not_take_initial_flows_away(estimate, pair, folder, output, capsys):
    assert estimate(*pair, folder) == 0
    capsys.readouterr()
    assert estimate(*pair, "--initial-flow", output / "a", "--overwrite") == 2
    assert "a.flo away, which is an input: name another --output" in only_error(capsys)
    assert (output / "a/a.flo").is_file()

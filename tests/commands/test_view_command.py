"""`flowgru view` says and shows what is in flow files; `flowgru demo` needs nothing but the sample."""

import numpy as np
import pytest
import torch
from media import moving_frames

from flowgru.cli import main
from flowgru.commands import demo
from flowgru.config import NetworkConfig
from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.data.formats.images import read_image, write_image
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.view.colour_wheel import flow_to_image


@pytest.fixture
def flow() -> np.ndarray:
    """(3, 4) everywhere, in a picture too small for a legend."""
    return np.full((20, 30, 2), (3, 4), np.float32)


@pytest.fixture
def path(tmp_path, flow) -> str:
    valid = np.ones((20, 30), bool)
    valid[:5] = False
    write_flow(tmp_path / "a.flo", flow, valid)
    return str(tmp_path / "a.flo")


def test_statistics_count_known_pixels_only(path, capsys):
    assert main(["view", path]) == 0
    said = capsys.readouterr().out
    assert (
        f"{path}: 20x30 px (height x width), 75.0% known" in said
        and "mean 5.00 median 5.00 95% 5.00 max 5.00 px" in said
    )


def test_a_picture_has_the_wheels_colours_and_black_where_nothing_is_known(path, tmp_path, flow, capsys):
    assert main(["view", path, "--output", str(tmp_path / "out"), "--max-flow", "10"]) == 0
    picture = read_image(tmp_path / "out" / "a.png")
    assert np.array_equal(picture[5:], flow_to_image(flow, 10.0)[5:]) and not picture[:5].any()
    assert "full colour at 10 px" in capsys.readouterr().out


def test_a_name_that_cannot_be_looked_at_is_one_line_and_the_others_are_shown(path, capsys):
    assert main(["view", 300 * "a" + ".flo", path]) == 3
    said = capsys.readouterr()
    assert "cannot read aaa" in said.err and len(said.err.splitlines()) == 1 and "mean 5.00" in said.out


def test_several_pictures_share_one_scale(path, tmp_path, flow):
    write_flow(tmp_path / "b.flo", 10 * flow)
    assert main(["view", path, str(tmp_path / "b.flo"), "--output", str(tmp_path / "out")]) == 0
    assert np.array_equal(read_image(tmp_path / "out" / "a.png")[5:], flow_to_image(flow, 50.0)[5:])
    assert np.array_equal(read_image(tmp_path / "out" / "b.png"), flow_to_image(10 * flow, 50.0))


def test_the_scale_is_that_of_known_flow_however_little_is_known(tmp_path, capsys):
    known = np.full((40, 40, 2), np.nan, np.float32)
    known[:2, :3] = (30, 40)
    write_flow(tmp_path / "sparse.png", known)
    assert main(["view", str(tmp_path / "sparse.png"), "--output", str(tmp_path / "out")]) == 0
    assert "50 px" in capsys.readouterr().out


def test_a_large_picture_has_a_legend(tmp_path):
    flow = np.zeros((300, 400, 2), np.float32)
    write_flow(tmp_path / "a.flo", flow)
    assert main(["view", str(tmp_path / "a.flo"), "--output", str(tmp_path), "--max-flow", "5"]) == 0
    corner = read_image(tmp_path / "a.png")[200:, 300:]
    assert (corner != 255).any()


@pytest.mark.parametrize(
    ("format", "suffix"), [(name, format.suffix) for name, format in FLOW_FORMATS.items() if format.encode]
)
def test_conversion_keeps_flow_and_known_pixels(path, tmp_path, format, suffix):
    assert main(["view", path, "--output", str(tmp_path / "out"), "--format", format]) == 0
    before, after = read_flow(path), read_flow(tmp_path / "out" / f"a{FLOW_FORMATS[format].suffix}")
    assert np.array_equal(before.flow, after.flow) and np.array_equal(before.valid, after.valid)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_values_that_are_no_flow_are_black_and_not_counted(tmp_path, flow, value, capsys):
    flow[0, 0] = value
    write_flow(tmp_path / "a.flo", flow)
    assert main(["view", str(tmp_path / "a.flo"), "--output", str(tmp_path)]) == 0
    assert "max 5.00 px" in capsys.readouterr().out
    picture = read_image(tmp_path / "a.png")
    assert not picture[0, 0].any() and np.array_equal(picture[1:], flow_to_image(flow, 5.0)[1:])


def test_a_flow_of_zeros_is_white_and_one_without_a_known_pixel_black(tmp_path, capsys):
    zeros = np.zeros((20, 30, 2), np.float32)
    write_flow(tmp_path / "still.flo", zeros)
    write_flow(tmp_path / "unknown.flo", zeros + np.float32(np.nan))
    assert main(["view", str(tmp_path / "still.flo"), str(tmp_path / "unknown.flo"), "--output", str(tmp_path)]) == 0
    assert (read_image(tmp_path / "still.png") == 255).all() and not read_image(tmp_path / "unknown.png").any()
    assert "20x30 px (height x width), 0.0% known" in capsys.readouterr().out


def test_a_flow_that_cannot_be_read_is_named_and_the_others_are_shown(path, tmp_path, capsys):
    bad = tmp_path / "bad.flo"
    bad.write_bytes(b"PIEH\x05\x00\x00\x00\x05\x00\x00\x00short")
    assert main(["view", str(bad), path, "--output", str(tmp_path / "out")]) == 3
    captured = capsys.readouterr()
    assert "error: " in captured.err and "bad.flo" in captured.err and "Traceback" not in captured.err
    assert "a.flo: 20x30" in captured.out and [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "{0}", "--format", "flo"], "would replace a flow"),
        (["--output", "{0}"], "a.png is already there: give --overwrite"),
        (["--output", "{0}/a.flo"], "is a file"),
        (["--output", "{0}/a.flo/out"], "a.flo, which is a file: name a folder"),
        (["--output", "{0}/out", "--max-flow", "-1"], "--max-flow is -1"),
        (["--format", "flo"], "--format has no effect without --output; leave it out"),
        (["--format", "png"], "--format has no effect without --output"),
        (["--max-flow", "3"], "--max-flow has no effect without --output"),
        (["--overwrite"], "--overwrite has no effect without --output"),
        (
            ["--output", "{0}/out", "--format", "png16", "--max-flow", "3"],
            "--max-flow has no effect with --format png16, which has no colours; leave it out",
        ),
        (["--format", "gif"], "expected one of png, flo, png16, npz, flo5"),
    ],
)
def test_requests_that_make_no_sense_change_nothing(path, tmp_path, capsys, words, said):
    (tmp_path / "a.png").write_bytes(b"precious")
    assert main(["view", path, *(word.format(tmp_path) for word in words)]) == 2
    text = capsys.readouterr().err
    assert said in text and len(text.splitlines()) == 1
    assert (tmp_path / "a.png").read_bytes() == b"precious" and not (tmp_path / "out").exists()


def test_two_flows_of_one_name_get_distinct_ones(path, tmp_path, flow, capsys):
    write_flow(tmp_path / "b" / "a.flo", flow)
    assert main(["view", path, str(tmp_path / "b" / "a.flo"), "--output", str(tmp_path / "out")]) == 0
    assert f"2 flows are called 'a': their results are called {tmp_path.name}_a, b_a" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted([f"{tmp_path.name}_a.png", "b_a.png"])


def test_a_flow_that_is_given_twice_is_written_twice(path, tmp_path, capsys):
    assert main(["view", path, path, "--output", str(tmp_path / "out")]) == 0
    assert "2 flows are called 'a': their results are called a_1, a_2" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_1.png", "a_2.png"]


def test_a_folder_names_the_patterns_of_its_flow_files(path, tmp_path, flow, capsys):
    write_image(tmp_path / "a_occlusion.png", np.zeros((20, 30, 3), np.uint8))
    assert main(["view", str(tmp_path)]) == 3
    assert capsys.readouterr().err == f"error: {tmp_path} is a folder: give its flow files: {tmp_path}/*.flo\n"
    write_flow(tmp_path / "b.png", flow)
    assert main(["view", str(tmp_path)]) == 3
    assert f"flow files: {tmp_path}/*.flo {tmp_path}/*.png\n" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["view", str(tmp_path / "empty")]) == 3
    assert "empty is a folder: expected files of .flo, .png, .npz, .flo5, .pfm, .npy" in capsys.readouterr().err


# The demo


@pytest.fixture
def model(tmp_path) -> str:
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru"))
    for parameter in network.flow_head.parameters():
        torch.nn.init.zeros_(parameter)
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 1}
    write_model_file(tmp_path / "still.safetensors", network.state_dict(), card)
    return str(tmp_path / "still.safetensors")


def test_the_demo_prints_the_error_and_leaves_a_video_and_a_picture(tmp_path, model, monkeypatch, capsys):
    sample = tmp_path / "sample"
    for number, frame in enumerate(moving_frames(3), start=1):
        write_image(sample / "frames" / f"frame_{number:04d}.png", frame)
    for number in (1, 2):
        write_flow(
            sample / "flow" / f"frame_{number:04d}.png", np.full((48, 64, 2), (3 * number, 4 * number), np.float32)
        )
    monkeypatch.setattr(demo, "SAMPLE", sample)
    out = tmp_path / "flow_out"
    for _ in range(2):  # a second demo replaces the first
        assert main(["demo", "--output", str(out), "--model", model, "--device", "cpu"]) == 0
        said = capsys.readouterr().out
        # The network says that nothing moves.
        assert "EPE of this model against the exact flow: 7.500 px, mean of 2 pairs" in said and "EPE of DIS" in said
        for name in ("flow.mp4", "demo.png"):
            assert str(out / name) in said and (out / name).exists()


@pytest.mark.parametrize("after_a_demo", [False, True])
def test_the_demo_replaces_nothing_but_a_demo(tmp_path, model, monkeypatch, capsys, after_a_demo):
    frames = moving_frames(3)
    for folder in ("sample", "mine"):
        for number, frame in enumerate(frames[:2] if folder == "mine" else frames, start=1):
            write_image(tmp_path / folder / "frames" / f"frame_{number:04d}.png", frame)
    for number in (1, 2):
        write_flow(tmp_path / f"sample/flow/frame_{number:04d}.png", np.zeros((48, 64, 2), np.float32))
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "sample")
    given = ["--output", str(tmp_path / "out"), "--model", model, "--device", "cpu"]
    if after_a_demo:
        assert main(["demo", *given]) == 0
    assert main(["estimate", str(tmp_path / "mine/frames"), *given, *["--overwrite"] * after_a_demo]) == 0
    assert (tmp_path / "out/demo.png").exists() == after_a_demo
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert main(["demo", *given]) == 2
    assert "give --overwrite or another --output" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/demo.png").write_bytes(b"mine")
    assert main(["demo", *given, "--output", str(tmp_path / "pictures")]) == 2
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["demo.png"]
    assert main(["demo", *given, "--overwrite"]) == 0 and (tmp_path / "out/demo.png").exists()


def test_without_the_sample_the_demo_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "SAMPLE", tmp_path)
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "flowgru estimate clip.mp4 --output flow_out --video" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_lack_of_memory_blames_no_correlation(path, capsys, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("flowgru.data.formats.flow_files.read_flow", no_memory)
    assert main(["view", path]) == 4
    assert capsys.readouterr().err == "error: not enough memory: close other programs, or use a machine with more\n"

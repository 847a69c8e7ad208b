"""`flowgru estimate`: every option does what it says, and every bad input ends in one clear line."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from media import moving_frames, noisy_frames, write_clip

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.flow_files import read_flow
from flowgru.data.frames import Frame, FrameSource
from flowgru.data.images import read_image, to_tensor, write_image
from flowgru.data.video import VideoReader
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.model_file import write_model_file
from flowgru.tasks import estimation
from flowgru.tasks.flow_geometry import occlusion_mask
from flowgru.tasks.flow_stream import estimate_flow

SIZE = (48, 64)


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru")).eval()
    with torch.no_grad():
        for parameter in network.flow_head.parameters():
            parameter *= 0.1  # random weights give flows far out of the picture
    return network


@pytest.fixture(scope="module")
def model(network, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 2}
    write_model_file(path, network.state_dict(), card)
    return str(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Eleven frames, whose names sort differently as texts and as numbers."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for number, frame in enumerate(noisy_frames(11, *SIZE), start=1):
        write_image(folder / f"frame_{number}.png", frame)
    return folder


@pytest.fixture
def pair(tmp_path) -> list[str]:
    names = [str(tmp_path / f"{name}.png") for name in ("a", "b")]
    for name, frame in zip(names, noisy_frames(2, *SIZE), strict=True):
        write_image(name, frame)
    return names


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def estimate(model, out):
    """Runs the command with a small model on the CPU and returns its exit code."""

    def run(*words: object) -> int:
        given = [str(word) for word in words]
        options = {"--output": str(out), "--model": model, "--iterations": "1", "--device": "cpu"}
        missing = [part for option in options.items() if option[0] not in given for part in option]
        return main(["estimate", *given, *missing])

    return run


def image(path: Path | str) -> torch.Tensor:
    return to_tensor(read_image(path))[None]


@torch.no_grad()
def expected_flow(network: FlowNetwork, first: Path | str, second: Path | str, iterations: int = 1) -> np.ndarray:
    """Straight through the network."""
    flow = network(image(first), image(second), iterations=iterations, final_only=True).flows[-1][0]
    return flow.permute(1, 2, 0).numpy()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def only_error(capsys) -> str:
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1 and text.startswith("error: ") and "Traceback" not in text, text
    return text.strip()


# What is computed and written


def test_n_frames_give_n_minus_1_flows_named_after_the_first_frame(estimate, folder, out, network, capsys):
    assert estimate(folder) == 0
    assert names(out) == sorted([*(f"frame_{number}.flo" for number in range(1, 11)), "summary.json"])
    for first in (2, 9, 10):  # 9 comes before 10
        found = read_flow(out / f"frame_{first}.flo")
        truth = expected_flow(network, folder / f"frame_{first}.png", folder / f"frame_{first + 1}.png")
        assert found.valid.all() and np.abs(found.flow - truth).max() < 1e-4
    captured = capsys.readouterr()
    assert "10/10 frames" in captured.err and "frames/s" in captured.err and captured.err.isascii()
    assert "wrote 10 flows" in captured.out


def test_the_summary_says_what_was_done(estimate, folder, out, model):
    assert estimate(folder, "--end", 3) == 0
    summary = json.loads((out / "summary.json").read_text())
    (clip,) = summary["clips"]
    assert summary["card"]["network"] == asdict(NetworkConfig("compact", "conv_min_gru"))
    assert summary["settings"]["model"] == model and summary["settings"]["iterations"] == 1
    assert summary["peak_memory_mib"] > 50 and summary["frames_per_second"] > 0 and clip["problems"] == []
    assert [flow["name"] for flow in clip["flows"]] == ["frame_1", "frame_2"]
    lengths = np.linalg.norm(read_flow(out / "frame_2.flo").flow, axis=2)
    second = clip["flows"][1]
    assert abs(second["mean"] - lengths.mean()) < 1e-3 and abs(second["max"] - lengths.max()) < 1e-3
    assert not second["damaged"] and second["seconds"] > 0


def test_the_summary_of_a_flow_that_is_not_finite_is_still_json(network, pair, out, tmp_path):
    weights = network.state_dict()
    weights |= {name: torch.full_like(weights[name], 3e38) for name in weights if name.startswith("flow_head")}
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}}
    write_model_file(tmp_path / "broken.safetensors", weights, card)
    words = [
        "estimate",
        *pair,
        "--output",
        str(out),
        "--model",
        str(tmp_path / "broken.safetensors"),
        "--iterations",
        "1",
    ]
    assert main([*words, "--device", "cpu"]) == 0
    (flow,) = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)["clips"][0]["flows"]
    assert flow["mean"] is None and flow["max"] is None


def test_a_video_gives_the_same_as_its_frames(estimate, tmp_path, out, network):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(5, *SIZE))
    assert estimate(video) == 0
    assert names(out) == [*(f"frame_{number:06d}.flo" for number in range(1, 5)), "summary.json"]
    with VideoReader(video) as reader:
        frames = [frame.image for frame in reader]
    flows = list(estimate_flow(frames, network, iterations=1))
    assert np.abs(read_flow(out / "frame_000003.flo").flow - flows[2].permute(1, 2, 0).numpy()).max() < 1e-4


def test_several_clips_get_a_folder_each(estimate, folder, tmp_path, out):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(3, *SIZE))
    assert estimate(video, folder, "--end", 3) == 0
    assert names(out) == ["clip", "summary.json", "walk"]
    assert names(out / "clip") == ["frame_000001.flo", "frame_000002.flo"]
    assert names(out / "walk") == ["frame_1.flo", "frame_2.flo"]


def test_a_pattern_of_frames(estimate, folder, out):
    assert estimate(folder / "frame_1?.png") == 0
    assert names(out) == ["frame_10.flo", "summary.json"]


@pytest.mark.parametrize(
    ("kind", "suffix", "tolerance"),
    [("flo", ".flo", 0), ("png16", ".png", 1 / 128), ("npz", ".npz", 0), ("flo5", ".flo5", 0)],
)
def test_every_format_holds_the_same_flow(estimate, pair, out, network, kind, suffix, tolerance):
    assert estimate(*pair, "--format", kind) == 0
    assert names(out) == [f"a{suffix}", "summary.json"]
    assert np.abs(read_flow(out / f"a{suffix}").flow - expected_flow(network, *pair)).max() <= tolerance + 1e-4


def test_iterations_come_from_the_card_unless_given(estimate, pair, out, network, model):
    assert main(["estimate", *pair, "--output", str(out), "--device", "cpu", "--model", model]) == 0
    assert np.abs(read_flow(out / "a.flo").flow - expected_flow(network, *pair, iterations=2)).max() < 1e-4
    assert estimate(*pair, "--iterations", 3, "--overwrite") == 0
    assert np.abs(read_flow(out / "a.flo").flow - expected_flow(network, *pair, iterations=3)).max() < 1e-4


@pytest.mark.parametrize("iterations", ["many", 0, 2.5])
def test_a_card_without_a_number_of_iterations_is_refused(pair, out, network, tmp_path, capsys, iterations):
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": iterations}
    write_model_file(tmp_path / "odd.safetensors", network.state_dict(), card)
    words = ["estimate", *pair, "--output", str(out), "--device", "cpu", "--model", str(tmp_path / "odd.safetensors")]
    assert main(words) == 2
    assert f"card has iterations {iterations!r}" in only_error(capsys)
    assert not out.exists()


def test_confidence_is_written_as_a_picture_by_a_model_that_has_it(estimate, folder, out, tmp_path, capsys):
    torch.manual_seed(0)
    sure = FlowNetwork(NetworkConfig("compact", "conv_min_gru", confidence=True)).eval()
    card = {"network": {"preset": "compact", "operator": "conv_min_gru", "confidence": True}, "iterations": 2}
    write_model_file(tmp_path / "sure.safetensors", sure.state_dict(), card)
    assert estimate(folder, "--end", 2, "--confidence", "--model", tmp_path / "sure.safetensors") == 0
    assert sorted(path.name for path in out.iterdir()) == ["frame_1.flo", "frame_1_confidence.png", "summary.json"]
    first, second = (to_tensor(read_image(folder / f"frame_{number}.png"))[None] for number in (1, 2))
    with torch.inference_mode():
        expected = sure(first, second, iterations=1, final_only=True).confidence
    assert expected is not None and expected.std() > 0
    found = read_image(out / "frame_1_confidence.png")
    np.testing.assert_allclose(found[..., 0], 255 * expected[0].numpy(), atol=0.51)
    capsys.readouterr()
    assert estimate(folder, "--end", 2, "--confidence", "--overwrite") == 2
    assert "does not say how sure it is" in only_error(capsys)


def test_confidence_has_the_frames_size_where_the_flow_is_computed_at_another(estimate, folder, out, tmp_path):
    sure = FlowNetwork(NetworkConfig("compact", "conv_min_gru", confidence=True))
    card = {"network": {"preset": "compact", "operator": "conv_min_gru", "confidence": True}, "iterations": 1}
    write_model_file(tmp_path / "sure.safetensors", sure.state_dict(), card)
    words = ("--end", 2, "--confidence", "--resize", "0.7", "--model", tmp_path / "sure.safetensors")
    assert estimate(folder, *words) == 0
    assert read_image(out / "frame_1_confidence.png").shape == (*SIZE, 3)


def test_backward_adds_the_other_direction_and_the_occlusions(estimate, folder, out, network):
    assert estimate(folder, "--end", 3, "--backward") == 0
    frames = [f"frame_{number}{what}" for number in (1, 2) for what in (".flo", "_backward.flo", "_occlusion.png")]
    assert names(out) == sorted([*frames, "summary.json"])
    back = read_flow(out / "frame_2_backward.flo").flow
    assert np.abs(back - expected_flow(network, folder / "frame_3.png", folder / "frame_2.png")).max() < 1e-4
    mask = read_image(out / "frame_2_occlusion.png")
    forward = read_flow(out / "frame_2.flo").flow
    tensors = [torch.from_numpy(flow).permute(2, 0, 1) for flow in (forward, back)]
    assert set(np.unique(mask)) <= {0, 255}
    assert np.array_equal(mask[..., 0] > 0, occlusion_mask(*tensors).numpy())


def test_stride_pairs_frames_that_far_apart(estimate, folder, out, network):
    assert estimate(folder, "--stride", 4) == 0
    assert names(out) == ["frame_1.flo", "frame_5.flo", "summary.json"]
    truth = expected_flow(network, folder / "frame_5.png", folder / "frame_9.png")
    assert np.abs(read_flow(out / "frame_5.flo").flow - truth).max() < 1e-4


def test_start_and_end_choose_frames_and_keep_their_names(estimate, tmp_path, out):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(8, *SIZE))
    assert estimate(video, "--start", 3, "--end", 5) == 0
    assert names(out) == ["frame_000003.flo", "frame_000004.flo", "summary.json"]


@pytest.mark.parametrize(("given", "size"), [("32x96", (32, 96)), ("0.5", (24, 32)), ("2", (96, 128))])
def test_resize_computes_at_that_size_and_writes_at_the_pictures(estimate, pair, out, network, given, size):
    assert estimate(*pair, "--resize", given) == 0
    found = read_flow(out / "a.flo").flow
    assert found.shape[:2] == SIZE
    resized = [torch.nn.functional.interpolate(image(path), size, mode="bilinear", antialias=True) for path in pair]
    with torch.no_grad():
        small = network(*resized, iterations=1).flows[-1]
    scale = torch.tensor([SIZE[1] / size[1], SIZE[0] / size[0]])[:, None, None]
    truth = (torch.nn.functional.interpolate(small, SIZE, mode="bilinear") * scale)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - truth).max() < 1e-4


def test_a_video_shows_frames_beside_their_flow(estimate, tmp_path, out):
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(5, 90, 122))
    assert estimate(clip, "--video", "--max-flow", 7) == 0
    with VideoReader(out / "flow.mp4") as video:
        plain = [frame.image for frame in video]
        assert video.frame_rate == 10
    assert len(plain) == 4 and plain[0].shape == (90, 244, 3)
    assert np.abs(plain[2][:, :122].astype(int) - moving_frames(5, 90, 122)[2]).mean() < 6
    assert json.loads((out / "summary.json").read_text())["clips"][0]["colour_scale"] == 7
    assert estimate(clip, "--arrows", "--overwrite", "--format", "npz") == 0  # arrows imply a video
    with VideoReader(out / "flow.mp4") as video:
        arrows = [frame.image for frame in video]
    assert np.abs(plain[2][:, :122].astype(int) - arrows[2][:, :122]).mean() > 1
    scale = json.loads((out / "summary.json").read_text())["clips"][0]["colour_scale"]
    flows = [read_flow(path).flow for path in out.glob("*.npz")]
    assert scale >= max(np.percentile(np.linalg.norm(flow, axis=2), 99) for flow in flows) > 0


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_precision_changes_the_flow_a_little(estimate, pair, out, network, precision):
    assert estimate(*pair, "--precision", precision) == 0
    found, truth = read_flow(out / "a.flo").flow, expected_flow(network, *pair)
    assert 0 < np.abs(found - truth).max() < 0.1 * np.abs(truth).max()


# What is refused before any work


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--iterations", "0"], "--iterations is 0"),
        (["--stride", "0"], "--stride is 0"),
        (["--start", "0"], "--start is 0"),
        (["--start", "4", "--end", "4"], "--end is 4"),
        (["--max-flow", "0"], "--max-flow is 0"),
        (["--output", ""], "--output is empty"),
        (["--resize", "big"], "--resize is 'big'"),
        (["--resize", "0x5"], "--resize is '0x5'"),
        (["--resize", "0"], "--resize is '0'"),
        (["--format", "gif"], "expected one of flo, png16, npz, flo5"),
        (["--precision", "64"], "expected one of 32, bf16, 16"),
        (["--on-error", "ignore"], "expected one of fail, skip"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--model", "nowhere.pth"], "nowhere.pth"),
        (["--itertions", "3"], "did you mean --iterations?"),
    ],
)
def test_settings_out_of_range_are_one_line_and_exit_2(estimate, pair, out, capsys, options, said):
    assert estimate(*pair, *options) == 2
    assert said in only_error(capsys)
    assert not out.exists()


def test_nothing_is_overwritten_unasked(estimate, pair, out, capsys, monkeypatch):
    out.mkdir()
    (out / "old.flo").write_bytes(b"precious")
    monkeypatch.setattr(estimation, "load_model", lambda *_: pytest.fail("work was begun"))
    assert estimate(*pair) == 2
    assert "already holds old.flo: give --overwrite" in only_error(capsys)
    assert names(out) == ["old.flo"] and (out / "old.flo").read_bytes() == b"precious"


def test_overwrite_replaces_a_link_and_never_writes_through_it(estimate, pair, out, tmp_path):
    out.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (out / "a.flo").symlink_to(victim)
    (out / "summary.json").symlink_to(victim)
    assert estimate(*pair) == 2
    assert estimate(*pair, "--overwrite") == 0
    assert victim.read_bytes() == b"precious" and not (out / "a.flo").is_symlink()


def test_a_link_does_not_lead_the_results_elsewhere(estimate, folder, tmp_path, out, capsys):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(3, *SIZE))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "clip").symlink_to(elsewhere)
    assert estimate(video, folder) == 2
    assert "outside --output" in only_error(capsys)
    assert names(elsewhere) == []


@pytest.mark.parametrize("options", [["--format", "png16"], ["--backward"], ["--confidence"]])
def test_results_do_not_join_the_frames(estimate, folder, capsys, options):
    before = names(folder)
    assert estimate(folder, "--output", folder, "--overwrite", *options) == 2
    assert "could replace the input" in only_error(capsys)
    assert names(folder) == before


def test_results_do_not_join_frames_that_a_pattern_found(estimate, folder, capsys):
    (frame,) = folder.glob("frame_1.png")
    before = frame.read_bytes()
    pattern = folder.parent / "w*" / "*.png"
    assert estimate(pattern, "--output", folder, "--overwrite", "--format", "png16") == 2
    assert "could replace the input pictures" in only_error(capsys)
    assert frame.read_bytes() == before


def test_a_video_is_not_replaced_by_its_own_results(estimate, tmp_path, capsys):
    video = write_clip(tmp_path / "flow.mp4", moving_frames(3, *SIZE))
    before = video.read_bytes()
    assert estimate(video, "--output", tmp_path, "--overwrite", "--video") == 2
    assert "could replace the input" in only_error(capsys)
    assert video.read_bytes() == before


def test_an_output_that_cannot_be_a_folder(estimate, pair, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert estimate(*pair, "--output", tmp_path / "file") == 2
    assert "is a file" in only_error(capsys)
    assert estimate(*pair, "--output", "/proc/flowgru") == 4
    assert "cannot write into /proc/flowgru" in only_error(capsys)


def test_a_full_disk_is_the_machines_error(estimate, pair, out, capsys, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    assert estimate(*pair) == 4
    assert "No space left on device" in only_error(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lack_of_memory_is_explained(estimate, pair, out, capsys, monkeypatch, error):
    def no_memory(*_, **__):
        raise error

    monkeypatch.setattr(FlowNetwork, "match", no_memory)
    assert estimate(*pair) == 4
    assert "not enough memory" in only_error(capsys)
    assert not out.exists()


def test_pictures_whose_results_would_have_one_name_are_refused(estimate, tmp_path, out, capsys):
    names = ["f.png", "f_backward.png", "g.png"]
    for name, frame in zip(names, moving_frames(3, 40, 48), strict=True):
        write_image(tmp_path / name, frame)
    assert estimate(*(tmp_path / name for name in names), "--backward") == 2
    assert "f.png and f_backward.png would have one name" in only_error(capsys)
    assert estimate(*(tmp_path / name for name in names)) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_cuda_auto_computes_on_the_cpu_and_says_so(estimate, pair, out, capsys):
    assert estimate(*pair, "--device", "cuda") == 4
    assert "the device cuda cannot be used" in only_error(capsys)
    assert not out.exists()
    assert estimate(*pair, "--device", "auto") == 0
    assert "computing on the CPU: no CUDA device was found" in capsys.readouterr().err


# Inputs that cannot be read


def bad_video(path: Path, kind: str) -> Path:
    """A file that is no readable video."""
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "without its index":
        whole = write_clip(path, noisy_frames(8, *SIZE)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "one frame":
        write_clip(path, moving_frames(1, *SIZE))
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "without its index", "one frame"])
def test_a_bad_video_is_one_line_and_exit_3(estimate, tmp_path, out, capsys, kind):
    assert estimate(bad_video(tmp_path / "clip.mp4", kind)) == 3
    assert "clip.mp4" in only_error(capsys)
    assert not out.exists()


def test_on_error_skip_goes_on_with_the_other_inputs(estimate, tmp_path, folder, out, capsys):
    bad = bad_video(tmp_path / "bad.mp4", "text")
    assert estimate(bad, folder, "--end", 3) == 3
    assert "bad.mp4" in only_error(capsys) and not out.exists()
    assert estimate(bad, folder, "--end", 3, "--on-error", "skip") == 3
    assert "error: " in capsys.readouterr().err
    assert names(out) == ["summary.json", "walk"] and names(out / "walk") == ["frame_1.flo", "frame_2.flo"]
    clips = json.loads((out / "summary.json").read_text())["clips"]
    assert len(clips[0]["problems"]) == 1 and clips[0]["flows"] == [] and clips[1]["problems"] == []


def test_a_video_that_ends_before_the_start_does_not_stop_the_others(estimate, tmp_path, out, capsys):
    videos = [write_clip(tmp_path / f"{count}.mp4", moving_frames(count, *SIZE)) for count in (3, 8)]
    assert estimate(*videos, "--start", 6, "--on-error", "skip") == 3
    assert "3.mp4 has 3 frames, but frames from 6 on were asked for" in capsys.readouterr().err
    assert names(out / "8") == ["frame_000006.flo", "frame_000007.flo"] and (out / "summary.json").exists()


def test_a_truncated_video_gives_what_can_be_decoded_and_exit_3(estimate, tmp_path, out, capsys):
    whole = write_clip(tmp_path / "whole.mkv", noisy_frames(20, *SIZE), codec_options={"g": "1", "bf": "0"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert estimate(cut, "--video") == 3
    said = capsys.readouterr().err
    assert "error: " in said and "frames, the file ends early" in said and "Traceback" not in said
    (clip,) = json.loads((out / "summary.json").read_text())["clips"]
    assert len(clip["problems"]) >= 1 and 5 < len(clip["flows"]) < 19
    assert len(list(out.glob("*.flo"))) == len(clip["flows"]) and (out / "flow.mp4").exists()


class FakeSource(FrameSource):
    """A video of which frame 3 is damaged and that changes its size after frame 4."""

    name, paths, frame_rate, expected_frames = "fake", (), None, None

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __iter__(self):
        self.problems = ["fake: 1 damaged frames from 3 on"]
        for index, frame in enumerate([*noisy_frames(4, *SIZE), *noisy_frames(2, 40, 72)]):
            yield Frame(frame, f"f{index + 1}", None, int(index >= 4), index == 2)


def test_flow_across_a_damaged_frame_is_marked_and_a_new_size_begins_anew(estimate, out, capsys, monkeypatch):
    monkeypatch.setattr(estimation, "open_frames", lambda *_: [FakeSource()])
    assert estimate("fake.mp4", "--video") == 3
    assert "error: fake: 1 damaged frames from 3 on" in capsys.readouterr().err
    (clip,) = json.loads((out / "summary.json").read_text())["clips"]
    assert [flow["damaged"] for flow in clip["flows"]] == [False, True, True, False]
    assert [flow["name"] for flow in clip["flows"]] == ["f1", "f2", "f3", "f5"]
    for name, num_frames in (("flow.mp4", 3), ("flow_2.mp4", 1)):
        with VideoReader(out / name) as video:
            assert len(list(video)) == num_frames


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("http://example.com/clip.mp4", 2, "is a URL"),
        ("clip.m3u8", 2, "is a playlist"),
        ("empty folder", 2, "need at least 2 frames"),
        ("folder of one", 2, "need at least 2 frames"),
        ("one picture", 2, "need at least 2 frames"),
        ("nothing*.png", 2, "matches nothing"),
    ],
)
def test_inputs_that_are_none(estimate, tmp_path, pair, out, capsys, given, code, said):
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "folder of one").mkdir()
    write_image(tmp_path / "folder of one" / "a.png", moving_frames(1)[0])
    path = given if ":" in given else pair[0] if given == "one picture" else tmp_path / given
    assert estimate(path) == code
    assert said in only_error(capsys)
    assert not out.exists()


def damaged_picture(path: Path, kind: str) -> Path:
    write_image(path, noisy_frames(1, *SIZE)[0], overwrite=True)
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 255
    elif kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "huge":  # a header that claims 40000x40000
        header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
        checked = b"IHDR" + header
        data = bytearray(
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + checked + struct.pack(">I", zlib.crc32(checked))
        )
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "kind"), [("b.png", "flipped"), ("b.jpg", "truncated"), ("b.png", "huge")])
def test_a_damaged_picture_is_named_and_exit_3(estimate, pair, tmp_path, out, capsys, name, kind):
    assert estimate(pair[0], damaged_picture(tmp_path / name, kind)) == 3
    assert name in only_error(capsys)
    assert not out.exists()


def test_flows_before_a_damaged_picture_are_kept(estimate, folder, out, capsys):
    damaged_picture(folder / "frame_4.png", "truncated")
    assert estimate(folder) == 3
    assert "frame_4.png" in capsys.readouterr().err
    assert names(out) == ["frame_1.flo", "frame_2.flo", "summary.json"]


def test_two_sizes_are_both_named(estimate, pair, tmp_path, out, capsys):
    write_image(tmp_path / "c.png", moving_frames(1, 40, 72)[0])
    assert estimate(pair[0], tmp_path / "c.png") == 3
    assert "a is 64x48 and c 72x40: both frames of a pair must have one size" in only_error(capsys)
    assert not out.exists()


# Interruption


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_whole_files_only(model, tmp_path, out, number, code):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(120, *SIZE))
    words = ["estimate", str(video), "--output", str(out), "--model", model, "--iterations", "20", "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-m", "flowgru", *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(out.glob("*.flo")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    left = names(out)
    assert 1 <= len(left) < 119 and all(name.endswith(".flo") for name in left)
    for name in left:
        assert read_flow(out / name).flow.shape[:2] == SIZE


def test_work_goes_on_when_nobody_reads_the_output(model, pair, out):
    reading, writing = os.pipe()
    os.close(reading)
    words = ["estimate", *pair, "--output", str(out), "--model", model, "--iterations", "1", "--device", "cpu"]
    run = subprocess.run([sys.executable, "-m", "flowgru", *words], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert run.returncode == 0 and "Error" not in run.stderr and names(out) == ["a.flo", "summary.json"]

"""`flowgru estimate`: every option does what it says."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from estimates import SIZE, expected_flow, image, names, only_error
from media import moving_frames, write_clip

from flowgru import estimate_flow
from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.data.video.reader import VideoReader
from flowgru.estimation.geometry import occlusion_mask
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file


def test_n_frames_give_n_minus_1_flows_named_after_the_first_frame(estimate, folder, output, network, capsys):
    assert estimate(folder) == 0
    assert names(output) == sorted([*(f"frame_{number}.flo" for number in range(1, 11)), "summary.json"])
    for first in (2, 9, 10):  # 9 comes before 10
        found = read_flow(output / f"frame_{first}.flo")
        truth = expected_flow(network, folder / f"frame_{first}.png", folder / f"frame_{first + 1}.png")
        assert found.valid.all() and np.abs(found.flow - truth).max() < 1e-4
    captured = capsys.readouterr()
    assert "10/10 pairs" in captured.err and "pairs/s" in captured.err and captured.err.isascii()
    assert "wrote 10 flows" in captured.out and "pairs/s)" in captured.out


def test_the_summary_says_what_was_done(estimate, folder, output, model):
    assert estimate(folder, "--end", 3) == 0
    summary = json.loads((output / "summary.json").read_text())
    (clip,) = summary["clips"]
    assert summary["card"]["network"] == asdict(NetworkConfig("compact", "conv_min_gru"))
    assert summary["settings"]["model"] == model and summary["settings"]["iterations"] == 1
    assert summary["peak_memory_mib"] > 50 and summary["frames_per_second"] > 0 and clip["problems"] == []
    assert [flow["name"] for flow in clip["flows"]] == ["frame_1", "frame_2"]
    lengths = np.linalg.norm(read_flow(output / "frame_2.flo").flow, axis=2)
    second = clip["flows"][1]
    assert abs(second["mean"] - lengths.mean()) < 1e-3 and abs(second["max"] - lengths.max()) < 1e-3
    assert not second["damaged"] and second["seconds"] > 0


def test_the_summary_of_a_flow_that_is_not_finite_is_still_json(network, pair, output, tmp_path):
    weights = network.state_dict()
    weights |= {name: torch.full_like(weights[name], 3e38) for name in weights if name.startswith("flow_head")}
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}}
    write_model_file(tmp_path / "broken.safetensors", weights, card)
    words = [
        "estimate",
        *pair,
        "--output",
        str(output),
        "--model",
        str(tmp_path / "broken.safetensors"),
        "--iterations",
        "1",
    ]
    assert main([*words, "--device", "cpu"]) == 0
    (flow,) = json.loads((output / "summary.json").read_text(), parse_constant=pytest.fail)["clips"][0]["flows"]
    assert flow["mean"] is None and flow["max"] is None


def test_a_video_gives_the_same_as_its_frames(estimate, tmp_path, output, network):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(5, *SIZE))
    assert estimate(video) == 0
    assert names(output) == [*(f"frame_{number:06d}.flo" for number in range(1, 5)), "summary.json"]
    with VideoReader(video) as reader:
        frames = [frame.image for frame in reader]
    flows = list(estimate_flow(frames, network, iterations=1))
    assert np.abs(read_flow(output / "frame_000003.flo").flow - flows[2].permute(1, 2, 0).numpy()).max() < 1e-4


def test_fps_chooses_frames_by_their_times_and_sets_the_speed_of_the_video(estimate, tmp_path, output):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(7, *SIZE))  # 10 frames a second
    assert estimate(video, "--fps", 5, "--video") == 0
    assert names(output) == ["flow.mp4", *(f"frame_{number:06d}.flo" for number in (1, 3, 5)), "summary.json"]
    with VideoReader(output / "flow.mp4") as reader:
        assert reader.frame_rate == 5
    assert estimate(video, "--fps", 0, "--overwrite") == 2


def test_several_clips_get_a_folder_each(estimate, folder, tmp_path, output):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(3, *SIZE))
    assert estimate(video, folder, "--end", 3) == 0
    assert names(output) == ["clip", "summary.json", "walk"]
    assert names(output / "clip") == ["frame_000001.flo", "frame_000002.flo"]
    assert names(output / "walk") == ["frame_1.flo", "frame_2.flo"]


def test_a_pattern_of_frames(estimate, folder, output):
    assert estimate(folder / "frame_1?.png") == 0
    assert names(output) == ["frame_10.flo", "summary.json"]


@pytest.mark.parametrize(
    ("kind", "suffix", "tolerance"),
    [("flo", ".flo", 0), ("png16", ".png", 1 / 128), ("npz", ".npz", 0), ("flo5", ".flo5", 0), ("pfm", ".pfm", 0)],
)
def test_every_format_holds_the_same_flow(estimate, pair, output, network, kind, suffix, tolerance):
    assert estimate(*pair, "--format", kind) == 0
    assert names(output) == [f"a{suffix}", "summary.json"]
    assert np.abs(read_flow(output / f"a{suffix}").flow - expected_flow(network, *pair)).max() <= tolerance + 1e-4


def test_iterations_come_from_the_card_unless_given(estimate, pair, output, network, model):
    assert main(["estimate", *pair, "--output", str(output), "--device", "cpu", "--model", model]) == 0
    assert np.abs(read_flow(output / "a.flo").flow - expected_flow(network, *pair, iterations=2)).max() < 1e-4
    assert estimate(*pair, "--iterations", 3, "--overwrite") == 0
    assert np.abs(read_flow(output / "a.flo").flow - expected_flow(network, *pair, iterations=3)).max() < 1e-4


@pytest.mark.parametrize("iterations", ["many", 0, 2.5])
def test_a_card_without_a_number_of_iterations_is_refused(pair, output, network, tmp_path, capsys, iterations):
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": iterations}
    write_model_file(tmp_path / "odd.safetensors", network.state_dict(), card)
    words = [
        "estimate",
        *pair,
        "--output",
        str(output),
        "--device",
        "cpu",
        "--model",
        str(tmp_path / "odd.safetensors"),
    ]
    assert main(words) == 2
    assert f"card has iterations {json.dumps(iterations)}" in only_error(capsys)
    assert not output.exists()


def test_confidence_is_written_as_a_picture_by_a_model_that_has_it(estimate, folder, output, tmp_path, capsys):
    torch.manual_seed(0)
    sure = FlowNetwork(NetworkConfig("compact", "conv_min_gru", confidence=True)).eval()
    card = {"network": {"preset": "compact", "operator": "conv_min_gru", "confidence": True}, "iterations": 2}
    write_model_file(tmp_path / "sure.safetensors", sure.state_dict(), card)
    assert estimate(folder, "--end", 2, "--confidence", "--model", tmp_path / "sure.safetensors") == 0
    assert sorted(path.name for path in output.iterdir()) == ["frame_1.flo", "frame_1_confidence.png", "summary.json"]
    first, second = (to_tensor(read_image(folder / f"frame_{number}.png"))[None] for number in (1, 2))
    with torch.inference_mode():
        expected = sure(first, second, iterations=1, final_only=True).confidence
    assert expected is not None and expected.std() > 0
    found = read_image(output / "frame_1_confidence.png")
    np.testing.assert_allclose(found[..., 0], 255 * expected[0].numpy(), atol=0.51)
    capsys.readouterr()
    assert estimate(folder, "--end", 2, "--confidence", "--overwrite") == 2
    assert "does not say how sure it is" in only_error(capsys)


def test_confidence_has_the_frames_size_where_the_flow_is_computed_at_another(estimate, folder, output, tmp_path):
    sure = FlowNetwork(NetworkConfig("compact", "conv_min_gru", confidence=True))
    card = {"network": {"preset": "compact", "operator": "conv_min_gru", "confidence": True}, "iterations": 1}
    write_model_file(tmp_path / "sure.safetensors", sure.state_dict(), card)
    words = ("--end", 2, "--confidence", "--resize", "0.7", "--model", tmp_path / "sure.safetensors")
    assert estimate(folder, *words) == 0
    assert read_image(output / "frame_1_confidence.png").shape == (*SIZE, 3)


def test_backward_adds_the_other_direction_and_the_occlusions(estimate, folder, output, network):
    assert estimate(folder, "--end", 3, "--backward") == 0
    frames = [f"frame_{number}{what}" for number in (1, 2) for what in (".flo", "_backward.flo", "_occlusion.png")]
    assert names(output) == sorted([*frames, "summary.json"])
    back = read_flow(output / "frame_2_backward.flo").flow
    assert np.abs(back - expected_flow(network, folder / "frame_3.png", folder / "frame_2.png")).max() < 1e-4
    mask = read_image(output / "frame_2_occlusion.png")
    forward = read_flow(output / "frame_2.flo").flow
    tensors = [torch.from_numpy(flow).permute(2, 0, 1) for flow in (forward, back)]
    assert set(np.unique(mask)) <= {0, 255}
    assert np.array_equal(mask[..., 0] > 0, occlusion_mask(*tensors).numpy())


def test_stride_pairs_frames_that_far_apart(estimate, folder, output, network):
    assert estimate(folder, "--stride", 4) == 0
    assert names(output) == ["frame_1.flo", "frame_5.flo", "summary.json"]
    truth = expected_flow(network, folder / "frame_5.png", folder / "frame_9.png")
    assert np.abs(read_flow(output / "frame_5.flo").flow - truth).max() < 1e-4


def test_start_and_end_choose_frames_and_keep_their_names(estimate, tmp_path, output):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(8, *SIZE))
    assert estimate(video, "--start", 3, "--end", 5) == 0
    assert names(output) == ["frame_000003.flo", "frame_000004.flo", "summary.json"]


@pytest.mark.parametrize(("given", "size"), [("32x96", (32, 96)), ("0.5", (24, 32)), ("2", (96, 128))])
def test_resize_computes_at_that_size_and_writes_at_the_pictures(estimate, pair, output, network, given, size, capsys):
    assert estimate(*pair, "--resize", given) == 0
    warned = "warning: resize 32x96 changes the aspect of frames of 48x64 px (height x width) by 125%"
    assert (warned in capsys.readouterr().err) == (given == "32x96")
    found = read_flow(output / "a.flo").flow
    assert found.shape[:2] == SIZE
    resized = [torch.nn.functional.interpolate(image(path), size, mode="bilinear", antialias=True) for path in pair]
    with torch.no_grad():
        small = network(*resized, iterations=1).flows[-1]
    scale = torch.tensor([SIZE[1] / size[1], SIZE[0] / size[0]])[:, None, None]
    truth = (torch.nn.functional.interpolate(small, SIZE, mode="bilinear") * scale)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - truth).max() < 1e-4


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_precision_changes_the_flow_a_little(estimate, pair, output, network, precision):
    assert estimate(*pair, "--precision", precision) == 0
    found, truth = read_flow(output / "a.flo").flow, expected_flow(network, *pair)
    assert 0 < np.abs(found - truth).max() < 0.1 * np.abs(truth).max()


def test_refinement_stops_once_the_flow_stands_still_and_the_summary_says_when(estimate, pair, output, network):
    assert estimate(*pair, "--iterations", 3, "--stop-below", 1000) == 0
    flow = json.loads((output / "summary.json").read_text())["clips"][0]["flows"][0]
    assert flow["refinements"] == 1
    np.testing.assert_allclose(read_flow(output / "a.flo").flow, expected_flow(network, *pair, iterations=1), atol=1e-4)
    assert estimate(*pair, "--iterations", 3, "--stop-below", 1e-9, "--overwrite") == 0
    flow = json.loads((output / "summary.json").read_text())["clips"][0]["flows"][0]
    assert flow["refinements"] == 3


@pytest.mark.parametrize("options", [("--backward", "--confidence"), ("--warm-start", "--format", "png16", "--video")])
def test_reading_and_writing_beside_the_computation_change_no_byte(estimate, folder, output, tmp_path, options):
    config = NetworkConfig("compact", "conv_gru", confidence=True)
    card = {"network": asdict(config)}
    write_model_file(tmp_path / "sure.safetensors", FlowNetwork(config).state_dict(), card)
    model = ("--model", tmp_path / "sure.safetensors", "--iterations", 1)
    assert estimate(folder, *model, *options) == 0
    assert estimate(folder, *model, *options, "--no-overlap", "--output", tmp_path / "plain") == 0
    assert names(output) == names(tmp_path / "plain")
    for name in set(names(output)) - {"summary.json"}:
        assert (output / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name
    flows = [
        [{**flow, "seconds": 0} for flow in json.loads((place / "summary.json").read_text())["clips"][0]["flows"]]
        for place in (output, tmp_path / "plain")
    ]
    assert flows[0] == flows[1]

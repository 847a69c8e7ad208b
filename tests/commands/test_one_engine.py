"""`flowgru evaluate` and `submit` compute as `estimate` does: tiles, precision, memory, and any kind of network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimates import only_error
from layouts.split_trees import run as submit
from media import noisy_frames

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import Way
from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.formats.images import to_tensor, write_image
from flowgru.errors import MachineError
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.evaluation.evaluate import NetworkEstimator
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory_estimate import MemoryEstimate
from flowgru.model.pair_network import PairNetwork
from flowgru.model.prediction import FlowPrediction

HEIGHT, WIDTH = 136, 320


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Two pairs that follow each other."""
    for number, frame in enumerate(noisy_frames(3, HEIGHT, WIDTH)):
        write_image(tmp_path / f"set/{number}.png", frame // 4)
    for number in (0, 1):
        write_flow(tmp_path / f"set/{number}.flo", np.ones((HEIGHT, WIDTH, 2), np.float32))
    path = tmp_path / "set/pairs.csv"
    path.write_text("first,second,flow\n0.png,1.png,0.flo\n1.png,2.png,1.flo\n")
    return path


def images(num_frames: int, height: int = HEIGHT, width: int = WIDTH) -> list[torch.Tensor]:
    return [to_tensor(frame // 4)[None] for frame in noisy_frames(num_frames, height, width)]


@torch.no_grad()
def lacking(network: FlowNetwork, monkeypatch: pytest.MonkeyPatch, fits) -> list[tuple[str, int]]:
    """Lets `match` lack memory but where (correlation, height) fits; returns what was tried."""
    match, tried = network.match, []

    def limited(first, second, **options):
        tried.append((options["plan"].correlation, first.picture_shape[2]))
        if not fits(*tried[-1]):
            raise MemoryError
        return match(first, second, **options)

    monkeypatch.setattr(network, "match", limited)
    return tried


@pytest.mark.parametrize("tiles", [(1, 1), (1, 2)])
def test_an_estimator_gives_the_flows_of_the_stream_warm_starts_and_all(network, tiles):
    frames = images(3)
    expected = list(
        pair_flows(map(StreamFrame, frames, range(3)), network, MatchSettings(Way(2), warm_start=True, tiles=tiles))
    )
    estimate = NetworkEstimator(network, MatchSettings(Way(2), warm_start=True, tiles=tiles))
    first = estimate(frames[0], frames[1])
    assert first.carried is not None and len(first.carried.coarse or ()) == tiles[1]
    second = estimate(frames[1], frames[2], first.carried)
    for found, pair in zip((first, second), expected, strict=True):
        assert found.flow[0].equal(pair.forward) and (found.initial_flow,) == pair.initial_flows
    assert not estimate(frames[1], frames[2]).flow.equal(second.flow)


def test_what_was_carried_along_in_other_tiles_is_left(network, monkeypatch):
    frames = images(3, 512, 520)
    estimate = NetworkEstimator(network, MatchSettings(Way(1), warm_start=True))
    begun = estimate(frames[0], frames[1])
    lacking(network, monkeypatch, fits=lambda correlation, height: height < 400)
    with pytest.warns(UserWarning, match="computing in 2x2 tiles"):
        found = estimate(frames[1], frames[2], begun.carried)
    assert found.initial_flow == "zero" and found.carried is not None and len(found.carried.coarse or ()) == 4


def test_a_lack_of_memory_leaves_the_callers_network_as_it_was(network, monkeypatch):
    tried = lacking(network, monkeypatch, fits=lambda correlation, height: correlation == "on_demand")
    estimate, (first, second) = NetworkEstimator(network, MatchSettings(Way(1))), images(2)
    with pytest.warns(UserWarning, match="computing with the correlation on demand"):
        estimate(first, second)
    estimate(first, second)
    assert [correlation for correlation, _ in tried] == ["auto", "on_demand", "on_demand"]
    assert network.plan == MatchPlan()


def test_only_frames_of_the_size_that_lacks_memory_are_cut_into_tiles(network, monkeypatch):
    """Frames of 128 rows cannot be cut in two: the tiles would be too small."""
    tried = lacking(network, monkeypatch, fits=lambda correlation, height: height < 400)
    frames = [*images(2, 512, 520), *images(2, 128, 136)]
    with pytest.warns(UserWarning, match="computing in 2x2 tiles"):
        found = list(pair_flows(map(StreamFrame, frames, range(4)), network, MatchSettings(Way(1))))
    assert [pair.forward.shape[1:] for pair in found] == [(512, 520), (128, 136)]
    assert tried[-1] == ("auto", 128)


def test_a_lack_of_memory_can_end_the_stream_instead(network, monkeypatch):
    tried = lacking(network, monkeypatch, fits=lambda *_: False)
    with pytest.raises(MachineError, match=r"^not enough memory for frames of 136x320 px .height x width. on cpu$"):
        list(pair_flows(map(StreamFrame, images(2), range(2)), network, MatchSettings(Way(1), on_lack="fail")))
    assert len(tried) == 1


def evaluate(manifest: Path, output: Path, *words: object) -> dict[str, Any]:
    given = [str(manifest), "--static", "0", "--worst", "0", "--device", "cpu", "--output", str(output)]
    assert main(["evaluate", *given, *map(str, words)]) == 0
    return json.loads((output / "evaluation.json").read_text())


def test_evaluate_takes_tiles_precision_and_correlation(manifest, model, tmp_path):
    plain = evaluate(manifest, tmp_path / "plain", "--model", model)
    assert not {"tiles", "precision", "correlation"} & {*plain["method"]}
    words = ("--tiles", "1x2", "--precision", "bf16", "--correlation", "on_demand")
    other = evaluate(manifest, tmp_path / "other", "--model", model, *words)
    said = {name: other["method"][name] for name in ("tiles", "precision", "correlation")}
    assert said == {"tiles": "1x2", "precision": "bf16", "correlation": "on_demand"}
    errors = [report["sets"][manifest.name]["metrics"]["epe"] for report in (plain, other)]
    assert errors[0] != errors[1] and errors[1] == pytest.approx(errors[0], rel=0.2)


def test_submit_takes_tiles(network, model, tmp_path):
    pictures = noisy_frames(2, HEIGHT, WIDTH)
    for number, picture in enumerate(pictures, start=1):
        for kind in ("clean", "final"):
            write_image(tmp_path / f"Sintel/test/{kind}/cave_3/frame_{number:04}.png", picture)
    words = ("sintel", "--root", tmp_path, "--model", model, "--partial", "--device", "cpu", "--tiles", "1x2")
    assert submit(*words, "--output", tmp_path / "out") == 0
    first, second = (to_tensor(picture)[None] for picture in pictures)
    whole, tiled = (
        NetworkEstimator(network, MatchSettings(Way(2), tiles=tiles))(first, second) for tiles in ((1, 1), (1, 2))
    )
    assert not whole.flow.equal(tiled.flow)
    found = read_flow(tmp_path / "out/clean/cave_3/frame0001.flo").flow
    torch.testing.assert_close(torch.from_numpy(found).permute(2, 0, 1), tiled.flow[0])


@pytest.mark.parametrize("command", [("evaluate", "sintel"), ("submit", "sintel", "--output", "o")])
def test_tiles_that_are_none_are_refused_before_any_work(command, capsys):
    assert main([*command, "--tiles", "0x2"]) == 2
    assert "--tiles is '0x2': expected ROWSxCOLUMNS" in only_error(capsys)


def test_a_lack_of_memory_does_not_advise_what_evaluate_does_not_have(manifest, model, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise MemoryError

    monkeypatch.setattr(FlowNetwork, "match", never)
    assert main(["evaluate", str(manifest), "--model", model, "--device", "cpu"]) == 4
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error.endswith("with the correlation on demand: use more tiles, such as --tiles 2x2")


class OnePixelRight:
    """A network of a third kind: everything moves by one pixel."""

    def __init__(self) -> None:
        self.card: dict[str, Any] = {"iterations": 3}
        self.config = NetworkConfig()
        self.plan = MatchPlan()
        self.device = torch.device("cpu")

    def encode(self, frame, *, with_context=True, padding="sintel"):
        return frame

    def match(self, first, second, **options) -> FlowPrediction:
        flow = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, *first.shape[2:])
        return FlowPrediction((flow,), flow[:, :, ::8, ::8] / 8, num_refinements=options["iterations"])

    def smaller_plan(self, plan: MatchPlan) -> MatchPlan | None:
        return None

    def expected_memory(self, height, width, **options) -> MemoryEstimate:
        return MemoryEstimate(self.device, "all_pairs", 1)


def test_any_class_that_keeps_the_protocol_is_a_network(manifest, tmp_path, monkeypatch):
    assert isinstance(OnePixelRight(), PairNetwork) and isinstance(FlowNetwork(NetworkConfig()), PairNetwork)
    monkeypatch.setattr("flowgru.estimation.opening.open_exported", lambda settings: OnePixelRight())
    monkeypatch.setattr("flowgru.estimation.opening.description", lambda network: "one pixel to the right")
    report = evaluate(manifest, tmp_path / "scores", "--model", "right.onnx")
    assert report["sets"][manifest.name]["metrics"]["epe"] == 1 and report["method"]["iterations"] == 3
    clip = [str(manifest.parent / f"{number}.png") for number in range(3)]
    assert main(["estimate", *clip, "--model", "right.onnx", "--output", str(tmp_path / "flows")]) == 0
    flow = read_flow(tmp_path / "flows/1.flo").flow
    np.testing.assert_array_equal(flow, np.broadcast_to(np.array([1, 0], np.float32), flow.shape))


def test_settings_find_what_the_model_is_asked_for():
    settings = ModelSettings(iterations=4, polish=False)
    assert settings.way({"iterations": 6, "hold": 3, "polish": True, "initial_flow": "dis"}) == Way(4, "dis", 3)
    assert settings.rows_and_columns() == (1, 1)

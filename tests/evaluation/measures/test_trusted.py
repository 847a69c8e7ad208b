"""`flowgru evaluate --trust`: how well each sign tells the errors, on data made for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import only_error
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.config.evaluation.measures import MeasureSettings
from flowgru.config.way import Way
from flowgru.data.sets.opening import open_dataset
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator, picture_estimator
from flowgru.evaluation.measures.subjects import Subject
from flowgru.evaluation.measures.trusted import TrustMeasure, measure_trust
from flowgru.evaluation.trust import calibration, kept_errors
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def table(folder: Path, name: str = "trust") -> list[dict[str, str]]:
    return csv_rows(folder / f"{name}.csv")


def test_what_disagrees_with_its_way_back_is_known_to_be_wrong(pairs):
    """The flow is wrong in the right half, by as much as the way back, which is right everywhere, says."""
    seen = []

    def method(first, second):
        seen.append(first[0, 0, 0])
        flow = np.zeros((24, 40, 2), np.float32)
        flow[..., 0] = 2.0 if len(seen) % 2 else -2.0  # each pair is asked for in both directions
        if len(seen) % 2:
            flow[:, 20:, 0] -= np.linspace(1, 6, 20)
        return flow

    data = open_dataset(str(pairs), ".")
    section = measure_trust([Subject(data, picture_estimator(method), None)], MeasureSettings())
    found = {row[1]: row for row in section.tables[0].rows}
    _, _, ause, risk_80, _, epe, calibration = found["forward-backward"]
    assert ause == pytest.approx(0, abs=0.01) and calibration is None
    errors = np.concatenate([np.zeros(20), np.linspace(1, 6, 20)])
    assert epe == pytest.approx(errors.mean(), abs=0.01)
    assert risk_80 == pytest.approx(np.sort(errors)[:32].mean(), abs=0.05)
    assert found["confidence"][2] is None and found["last update"][2] is None
    bins = [row for row in section.tables[1].rows if row[1] == "forward-backward"]
    assert len(bins) == 10 and [row[2] for row in bins] == list(range(1, 11))
    assert bins[0][5] == pytest.approx(0) and bins[9][5] == pytest.approx(np.sort(errors)[36:].mean(), abs=0.05)
    assert sum(row[6] for row in bins) == pytest.approx(1)  # pyright: ignore


def test_the_way_back_says_nothing_where_the_flow_leaves_the_picture(pairs):
    """Both ways are 0.5 px to the right: inside, the flow is 1 px from the opposite of the way back."""

    def method(first, second):
        flow = np.zeros((24, 40, 2), np.float32)
        flow[..., 0] = 0.5
        return flow

    subject = Subject(open_dataset(str(pairs), "."), picture_estimator(method), None)
    found = TrustMeasure(subject, MeasureSettings()).measure().signs["forward-backward"][0]
    assert found.isinf().sum() == 24 and found[found.isfinite()].tolist() == pytest.approx([1.0] * (24 * 39 - 1))
    _, rows = calibration(found, torch.zeros(len(found)), stated=False)
    assert [value for _, value, *_ in rows] == pytest.approx([1.0] * 10)


def test_a_model_has_all_four_signs(pairs, tmp_path):
    network = FlowNetwork(NetworkConfig(confidence=True))
    said = {"preset": "compact", "operator": "conv_min_gru", "confidence": True}
    card = {"network": said, "iterations": 2}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), card, overwrite=False)
    out = tmp_path / "out"
    words = (pairs, "--model", tmp_path / "model.safetensors", "--device", "cpu", "--trust", "--output", out)
    assert run(*words) == 0
    rows = {row["sign"]: row for row in table(out)}
    assert list(rows) == ["confidence", "forward-backward", "last update", "census"]
    assert all(row["ause"] and row["risk_80"] and row["risk_90"] for row in rows.values())
    assert rows["confidence"]["calibration_error"] and not rows["census"]["calibration_error"]
    assert {float(row["epe"]) for row in rows.values()} == {float(rows["census"]["epe"])}
    for sign, falls in (("confidence", True), ("last update", False)):  # in both the most trusted come first
        values = [float(row["value"]) for row in table(out, "trust_bins") if row["sign"] == sign]
        assert values == sorted(values, reverse=falls) and values


class OpenedFile(ExportedFlow):
    """An exported file, without a runtime, that moves everything by 2 px to the right and back."""

    def __init__(self) -> None:
        self.path, self.card, self.config = Path("flow.onnx"), {"iterations": 2}, NetworkConfig(confidence=True)
        self.iterations, self.hold, self.max_size, self.warm_start = 2, 0, 256, False
        self.device, self.plan = torch.device("cpu"), MatchPlan("all_pairs")
        self.num_runs = 0

    def _run(self, inputs):
        height, width = inputs["first"].shape[2:]
        flow = torch.zeros(1, 2, height, width)
        flow[:, 0] = -2.0 if self.num_runs % 2 else 2.0  # each pair is asked for in both directions
        self.num_runs += 1
        sure = torch.linspace(0, 1, width).expand(1, height, width)
        return {"flow": flow, "coarse_flow": torch.zeros(1, 2, height // 8, width // 8), "confidence": sure}


def test_an_exported_file_has_the_signs_that_it_can_have(pairs):
    network, way = OpenedFile(), Way(2)
    data = open_dataset(str(pairs), ".")
    section = measure_trust(
        [Subject(data, NetworkEstimator(network, MatchSettings(way)), None, network, way)], MeasureSettings()
    )
    found = {row[1]: row for row in section.tables[0].rows}
    assert network.num_runs == 2 * len(data)
    assert found["last update"][2:] == [None] * 5  # it gives no flow but the last
    assert all(found[sign][3] == pytest.approx(0) for sign in ("confidence", "forward-backward", "census"))
    assert found["confidence"][6] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", ["flow.pt2", "flow.torchscript.pt2"])
def test_a_file_that_is_not_run_is_refused_before_any_work(pairs, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"exported")
    assert run(pairs, "--model", tmp_path / name, "--trust", "--output", tmp_path / "out") == 2
    assert "is named like an exported model" in only_error(capsys) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("tiles", "polish"), [((1, 1), False), ((1, 2), True)])
def test_the_last_update_is_what_one_refinement_more_has_changed(tiles, polish, monkeypatch):
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(confidence=True)).for_inference()
    first, second = torch.rand(2, 1, 3, 128, 264)
    way = Way(4, initial_flow="dis", hold=1, polish=polish)
    upsample, kept = network.upsample, []
    monkeypatch.setattr(network, "upsample", lambda *given: (kept.append(1), upsample(*given))[1])
    found = PairMatcher(
        network, MatchSettings(way, tiles=tiles, backward=True, last_update=True, confidence=True)
    ).match(first, second)
    assert len(kept) == (2 + 1) * tiles[1] and found.num_refinements == 4  # 1 of the way back
    plain = PairMatcher(network, MatchSettings(way, tiles=tiles, backward=True, confidence=True)).match(first, second)
    bare = replace(way, polish=False)
    last, before = (
        PairMatcher(network, MatchSettings(way, tiles=tiles)).match(first, second).forward
        for way in (bare, replace(bare, iterations=3))
    )
    assert found.last_update is not None and found.last_update.abs().max() > 0
    # Without the head of confidence some processors sum in another order.
    torch.testing.assert_close(found.last_update, last - before, rtol=0, atol=5e-6)
    assert torch.equal(found.forward, plain.forward) and plain.last_update is None
    assert found.backward is not None and plain.backward is not None and torch.equal(found.backward, plain.backward)
    assert found.confidence is not None and plain.confidence is not None
    assert torch.equal(found.confidence, plain.confidence)


def test_data_without_true_flow_is_named_in_one_line(pairs, frames, tmp_path, capsys):
    words = (pairs, frames, "--baseline", "farneback", "--trust", "--corruptions", "fog", "--output", tmp_path / "out")
    assert run(*words) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "true flow" in line]
    assert said == ["walk has no true flow: --trust compares errors, which need one."]
    assert {row["set"] for row in table(tmp_path / "out")} == {"pairs.csv"}


def test_risk_is_the_error_of_what_is_trusted_most():
    errors, confidence = torch.tensor([5.0, 1.0, 3.0, 2.0]), torch.tensor([0.1, 0.9, 0.2, 0.8])
    assert [kept_errors(errors, confidence, share) for share in (0.25, 0.5, 0.75, 1.0)] == [1, 1.5, 2, 2.75]
    assert np.isnan(kept_errors(errors, confidence, 0.0))

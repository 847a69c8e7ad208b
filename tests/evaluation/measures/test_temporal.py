"""`flowgru evaluate --temporal`: flicker, drift and still pairs, of methods whose every flow is known."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
import torch
from tables import csv_rows
from torch import Tensor

from flowgru.cli import main
from flowgru.config.way import Way
from flowgru.data.synthetic.scene import Scene
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator
from flowgru.evaluation.measures.subjects import estimated, estimated_clip
from flowgru.evaluation.measures.temporal import carried_difference, measure_clip, scene_of

SIZE = (48, 64)


@pytest.fixture(scope="module", params=[True, False], ids=["constant", "generated"])
def scene(request) -> Scene:
    return scene_of(*SIZE, 0, constant=request.param)


def exact(scene: Scene, wrong: Callable[[int], float]) -> Callable[[Iterable[Tensor]], Iterator[Tensor]]:
    """The exact flow of one pair after the other, too long by this many pixels to the right."""

    def estimate(frames: Iterable[Tensor]) -> Iterator[Tensor]:
        for time, _ in enumerate(pairwise(frames)):
            yield scene.frame(time).flow.double() + torch.tensor([wrong(time), 0.0])[:, None, None]

    return estimate


def test_the_true_flow_neither_flickers_nor_drifts(scene):
    found = measure_clip(scene, 9, exact(scene, lambda time: 0.0), lambda *_: None)
    assert found.error == 0 and found.flicker == pytest.approx(0, abs=1e-9)
    # What is read between two pixels at the edge of a layer is between two motions.
    assert found.drift[-1][0] < 0.25 and 0.3 < found.drift[-1][1] <= 1


def test_a_steady_mistake_drifts_and_does_not_flicker(scene):
    exactly, wrong = (measure_clip(scene, 9, exact(scene, lambda time, e=e: e), lambda *_: None) for e in (0.0, 0.5))
    assert wrong.error == pytest.approx(0.5) and wrong.flicker == pytest.approx(0, abs=1e-6)
    assert wrong.drift[7][0] == pytest.approx(8 * 0.5, abs=exactly.drift[7][0] + 0.5)


def test_a_mistake_that_turns_flickers(scene):
    found = measure_clip(scene, 5, exact(scene, lambda time: 0.5 if time % 2 else -0.5), lambda *_: None)
    assert found.error == pytest.approx(0.5) and found.flicker == pytest.approx(1, abs=0.01)
    assert found.drift[3][0] < 0.5


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_network_encodes_each_frame_of_a_clip_once_and_gives_the_flows_of_single_pairs(
    network, warm_start, monkeypatch
):
    frames, encode, encoded = [*torch.rand(4, 3, *SIZE) / 4], network.encode, []
    estimator = NetworkEstimator(network, MatchSettings(Way(2), warm_start=warm_start))
    expected = [estimated(estimator, first, second) for first, second in pairwise(frames)]
    monkeypatch.setattr(network, "encode", lambda *a, **options: (encoded.append(1), encode(*a, **options))[1])
    found = list(estimated_clip(estimator, iter(frames)))
    assert len(encoded) == 4 and all(map(torch.equal, found, expected)) and len(found) == 3


def test_constant_motion_is_constant():
    scene = scene_of(*SIZE, 1, constant=True)
    first, later = scene.frame(0), scene.frame(5)
    for number in range(len(scene.layers)):
        vectors = [frame.flow[:, frame.tops == number] for frame in (first, later)]
        assert all(each.numel() == 0 or (each - each[:, :1]).abs().max() < 1e-4 for each in vectors)
        if all(each.numel() for each in vectors):
            assert torch.allclose(vectors[0][:, 0], vectors[1][:, 0], atol=1e-4)


def test_a_change_is_carried_along_and_leaves_the_picture():
    along = torch.zeros(2, 6, 8, dtype=torch.float64)
    along[0] = 2
    following = torch.zeros_like(along)
    following[0] = torch.arange(8.0)
    change, inside = carried_difference(along, following, along)
    assert torch.allclose(change[0, 0, :6], torch.arange(8.0)[2:].double() - 2)
    assert inside[:, :6].all() and not inside[:, 6:].any()


def test_single_pairs_are_named_and_consecutive_ones_measured(pairs, frames, tmp_path, capsys):
    out = tmp_path / "out"
    small = ("--temporal", "--clip-size", "32x48", "--clip-frames", 10)
    assert main(["evaluate", *map(str, (pairs, frames, "--baseline", "zero", *small, "--output", out))]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "single pairs" in line]
    assert len(said) == 1 and said[0].startswith("pairs.csv has single pairs, none of which goes on where another ends")
    rows = {row["clips"]: row for row in csv_rows(out / "temporal.csv")}
    assert list(rows) == ["generated: constant motion", "generated: generated motion", "walk"]
    constant = rows["generated: constant motion"]
    # Who sees no motion is as far off as the motion is long, after eight frames eight times as far.
    assert float(constant["flicker"]) == pytest.approx(0, abs=1e-5) and constant["drift_16"] == ""
    assert float(constant["drift_8"]) > 4 * float(constant["epe"]) > 0.5
    assert (float(rows["walk"]["flicker"]), rows["walk"]["epe"]) == (0, "")
    assert [float(row["static_flow"]) for row in csv_rows(out / "still.csv")] == [0, 0, 0]

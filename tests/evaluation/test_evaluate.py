"""Evaluation measures networks and baselines by the same code, and reports every pair."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from flowgru.config import NetworkConfig
from flowgru.config.way import Way
from flowgru.data.classical import zero_flow
from flowgru.data.formats.images import to_tensor
from flowgru.data.lettering import lettered
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.errors import InputFileError, RequestError
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import Estimate, NetworkEstimator, evaluate, picture_estimator
from flowgru.evaluation.metrics import METRICS
from flowgru.evaluation.worst import WorstPairs
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork
from flowgru.view.legend import colour_wheel_legend
from flowgru.view.panels import error_panel


def make_samples(*lengths: float) -> list[FlowSample]:
    """Pairs whose flow is everywhere (length, 0)."""
    samples = []
    for number, length in enumerate(lengths):
        flow = torch.zeros(2, 6, 8)
        flow[0] = length
        pictures = torch.rand(2, 3, 6, 8)
        samples.append(
            FlowSample(pictures[0], pictures[1], flow, torch.ones(6, 8, dtype=torch.bool), None, f"pair/{number}")
        )
    return samples


def test_every_pair_and_the_whole_set_are_measured():
    samples, seen = make_samples(1.0, 4.0), []

    def estimate(first, second, start=None, /):
        seen.append((first, second))
        return Estimate(torch.zeros(1, 2, *first.shape[2:]))

    metrics, pairs, *_ = evaluate(estimate, samples)
    assert [(pair.name, pair.metrics["epe"]) for pair in pairs] == [("pair/0", 1), ("pair/1", 4)]
    assert metrics["epe"] == 2.5 and [*metrics] == [*METRICS]
    for sample, (first, second) in zip(samples, seen, strict=True):
        assert first.equal(sample.first[None]) and second.equal(sample.second[None])


def test_a_method_on_pictures_gets_their_bytes_and_its_flow_comes_back():
    levels = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    given = []

    def method(first, second):
        given.extend([first, second])
        return np.dstack([np.full((16, 16), 2.0), np.full((16, 16), -3.0)]).astype(np.float32)

    first = to_tensor(levels)
    flow = picture_estimator(method)(first[None], first.flip(2)[None]).flow
    np.testing.assert_array_equal(given[0], levels)
    np.testing.assert_array_equal(given[1], levels[:, ::-1])
    assert flow.shape == (1, 2, 16, 16) and (flow[0, 0] == 2).all() and (flow[0, 1] == -3).all()


def test_a_network_is_measured_after_its_last_refinement():
    network = FlowNetwork(NetworkConfig()).eval()
    sample = make_samples(1.0)[0]
    with torch.inference_mode():
        expected = network(sample.first[None], sample.second[None], iterations=3).flows[-1]
        found = NetworkEstimator(network, MatchSettings(Way(3)))(sample.first[None], sample.second[None])
    assert found.flow.equal(expected) and found.carried is None
    with pytest.raises(RequestError, match="iterations is 0: it must be 1 or more"):
        NetworkEstimator(network, MatchSettings(Way(0)))


class Listed(list[FlowSample]):
    """A data set that says which files its pairs are read from, and their groups."""

    def __init__(self, samples: list[FlowSample], files: list[str], groups: list[str] | None = None) -> None:
        super().__init__(samples)
        self.pairs = [
            GroupedFiles(Path(first), Path(second), group)
            for (first, second), group in zip(map(str.split, files), groups or [None] * len(files), strict=True)
        ]


class Gap(Listed):
    """One whose second pair cannot be read."""

    def __getitem__(self, index):
        if index == 1:
            raise InputFileError("damaged")
        return super().__getitem__(index)


class GroupedFiles(NamedTuple):
    first: Path
    second: Path
    set: str | None


def test_only_a_pair_that_begins_with_the_file_that_ended_the_last_one_starts_where_that_one_leads():
    files = ["clean/a/1 clean/a/2", "clean/a/2 clean/a/3", "clean/b/1 clean/b/2", "final/a/1 final/a/2", "f/2 f/3"]
    starts = []

    def estimate(first, second, start=None, /):
        if not first.equal(second):
            starts.append(None if start is None else start.coarse[0].flatten()[0].item())
        elif start is not None:
            raise AssertionError("a static pair starts anew")
        carried = InitialFlow("warm", coarse=(torch.full((1, 2, 1, 1), float(len(starts))),))
        return Estimate(torch.zeros(1, 2, *first.shape[2:]), carried)

    evaluate(estimate, Listed(make_samples(1.0, 2.0, 3.0, 4.0, 5.0), files), static_pairs=5)
    assert starts == [None, 1, None, None, None]
    starts.clear()
    evaluate(estimate, make_samples(1.0, 2.0))  # nothing says that these follow each other
    assert starts == [None, None]


def test_the_way_back_starts_anew():
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(start)
        return Estimate(torch.zeros(1, 2, *first.shape[2:]), InitialFlow("warm"))

    evaluate(estimate, Listed(make_samples(1.0, 2.0, 3.0), ["1 2", "2 1", "1 3"]))
    assert [start is None for start in starts] == [True, True, False]


def test_static_pairs_are_few_and_spread_over_the_set():
    samples, seen = make_samples(*range(1, 11)), []

    def estimate(first, second, start=None, /):
        if first.equal(second):
            seen.append(next(index for index, sample in enumerate(samples) if sample.first.equal(first[0])))
        return Estimate(torch.ones(1, 2, *first.shape[2:]))

    for number, expected in ((0, []), (3, [0, 3, 6]), (20, list(range(10)))):
        seen.clear()
        static_flow = evaluate(estimate, samples, static_pairs=number).metrics["static_flow"]
        assert seen == expected
        assert static_flow == pytest.approx(2**0.5 if expected else math.nan, nan_ok=True)


def test_a_warm_start_is_the_coarse_flow_carried_along_by_itself():
    network = FlowNetwork(NetworkConfig()).eval()
    first, second, third = torch.rand(3, 1, 3, 40, 56)
    warm = NetworkEstimator(network, MatchSettings(Way(2), warm_start=True))
    with torch.inference_mode():
        begun = network(first, second, iterations=2)
        expected = network(second, third, iterations=2, initial_coarse=splat(begun.coarse, begun.coarse)).flows[-1]
        assert warm(second, third, warm(first, second).carried).flow.equal(expected)
        assert not warm(second, third).flow.equal(expected)


def test_a_network_that_gives_no_finite_flow_carries_nothing_along():
    network = FlowNetwork(NetworkConfig()).eval()
    with torch.no_grad():
        next(network.flow_head.parameters()).fill_(torch.nan)
    picture = torch.rand(1, 3, 40, 56)
    with torch.inference_mode():
        assert NetworkEstimator(network, MatchSettings(Way(1), warm_start=True))(picture, picture).carried is None


@pytest.mark.parametrize(
    "name, mode",
    [("kitti2012", "kitti"), ("kitti2015", "kitti"), ("sintel_clean", "sintel"), ("kitti_own.csv", "sintel")],
)
def test_pictures_are_padded_as_is_usual_for_their_set(name, mode):
    network = FlowNetwork(NetworkConfig()).eval()
    pair = torch.rand(1, 3, 133, 140), torch.rand(1, 3, 133, 140)
    with torch.inference_mode():
        found = NetworkEstimator(network, MatchSettings(Way(1), padding=padding_mode(name)))(*pair).flow
        assert found.equal(network(*pair, iterations=1, padding=mode).flows[0])
        assert found.equal(network(*pair, iterations=1).flows[0]) == (mode == "sintel")


def test_pairs_are_also_measured_by_group():
    samples = Listed(make_samples(1.0, 4.0, 7.0, 20.0), ["a b"] * 4, ["near", "near", "far", ""])
    found = evaluate(picture_estimator(zero_flow), samples)
    assert {group: metrics["epe"] for group, metrics in found.groups.items()} == {"near": 2.5, "far": 7}
    assert found.metrics["epe"] == 8
    assert [pair.group for pair in found.pairs] == ["near", "near", "far", None]
    assert evaluate(picture_estimator(zero_flow), make_samples(1.0)).groups == {}


def test_the_worst_pairs_are_kept_with_their_pictures():
    samples = make_samples(2.0, 9.0, 1.0, 30.0, 9.0)
    samples[3] = samples[3]._replace(valid=torch.zeros(6, 8, dtype=torch.bool))
    worst = WorstPairs(2)
    with pytest.warns(UserWarning, match="no pixel with valid flow"):
        evaluate(picture_estimator(zero_flow), samples, watch=worst)
    assert [(pair.name, pair.error) for pair in worst.pairs] == [("pair/1", 9), ("pair/4", 9)]
    top = len(lettered("pair/1: mean end-point error 9 px")) + len(lettered("first frame"))
    first = (samples[1].first * 255).round().permute(1, 2, 0)
    np.testing.assert_array_equal(worst.pairs[0].picture[top : top + 6, :8], first)

    def breaks_down(first, second, start=None, /):
        return Estimate(torch.full((1, 2, 6, 8), torch.nan))

    evaluate(breaks_down, make_samples(1.0), watch=worst)
    assert worst.pairs[0].error == float("inf")
    none = WorstPairs(0)
    evaluate(picture_estimator(zero_flow), make_samples(1.0), watch=none)
    assert none.pairs == []


def test_a_picture_of_one_pair_shows_its_frames_its_flows_and_its_error():
    height, width = 200, 260
    first, second = np.random.default_rng(0).integers(0, 255, (2, height, width, 3), np.uint8)
    truth = np.zeros((height, width, 2), np.float32)
    truth[..., 0] = 7.0
    valid = np.ones((height, width), bool)
    valid[:, 30:] = False
    flow = np.where(np.arange(width)[None, :, None] < 10, truth, truth * 2)
    picture = error_panel(first, second, flow, truth, valid, "walk/0001: mean end-point error 3.5 px")
    head, name = lettered("walk/0001: mean end-point error 3.5 px"), lettered("first frame")
    np.testing.assert_array_equal(picture[: len(head), : head.shape[1]], head)
    rows = [picture[len(head) + row * (len(name) + height) :][: len(name) + height] for row in range(3)]
    np.testing.assert_array_equal(rows[0][: len(name), : name.shape[1]], name)
    frames, flows, errors = (row[len(name) :] for row in rows)
    np.testing.assert_array_equal(frames, np.concatenate([first, second], axis=1))
    np.testing.assert_array_equal(flows[:, :10], flows[:, width : width + 10])
    assert not flows[:, width + 30 :].any()  # unknown
    assert (errors[:, :10] == 255).all() and (errors[:, 10:30] == (90, 0, 40)).all()
    assert not errors[:, 30:width].any()
    np.testing.assert_array_equal(errors[:, width:][:80, :80], colour_wheel_legend(7.0, 80)[:80])
    titled = error_panel(first[:9, :9], second[:9, :9], flow[:9, :9], truth[:9, :9], valid[:9, :9], "a title")
    for text in ("a title", "first frame"):  # small frames do not cut the words
        ink = lettered(text)
        assert any((titled[top : top + len(ink), : ink.shape[1]] == ink).all() for top in range(len(titled) - len(ink)))


def test_a_damaged_pair_ends_a_measurement_that_does_not_ask_to_go_on():
    samples = make_samples(1.0, 2.0)
    pairs = Gap(samples, ["1 2", "2 3"])
    with pytest.raises(InputFileError, match="damaged"):
        evaluate(picture_estimator(zero_flow), pairs)
    told = []
    found = evaluate(picture_estimator(zero_flow), pairs, on_left_out=told.append)
    assert found.left_out == ("damaged",) == tuple(told) and [pair.name for pair in found.pairs] == ["pair/0"]


def test_nothing_is_carried_over_a_damaged_pair():
    starts = []

    def estimate(first, second, start=None, /):
        starts.append(start)
        return Estimate(torch.zeros(1, 2, *first.shape[2:]), InitialFlow("warm"))

    evaluate(estimate, Gap(make_samples(1.0, 2.0, 3.0, 4.0), ["1 2", "2 3", "3 4", "4 5"]), on_left_out=str)
    assert [start is None for start in starts] == [True, True, False]

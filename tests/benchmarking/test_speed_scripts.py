"""The scripts of benchmarks/ that take the time of one part of the work, each on little of it."""

from dataclasses import replace

import pytest
import torch
from tables import rows, rows_without_times
from tiny_run import TINY, write_config

from flowgru.config import STAGES
from flowgru.data.sample import FlowSample


def test_generated_pairs_are_counted_by_size(script, monkeypatch, tmp_path):
    throughput = script("synthetic_throughput", "--uses", 2, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr(throughput, "SIZES", ((64, 80, 4), (80, 64, 2)))
    clock = iter([10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(throughput, "CLOCKS", {"processor": lambda: next(clock)})
    throughput.main()
    assert [(row["size"], row["pairs/s"]) for row in rows_without_times(tmp_path / "a.jsonl")] == [
        ("64x80", 2.0),
        ("80x64", 0.5),
    ]


def test_the_sets_of_a_stage_are_averaged_as_often_as_they_are_mixed(script, monkeypatch, tmp_path):
    throughput = script("augmentation_throughput", "--pairs", 1, "--json", tmp_path / "a.jsonl")
    often, seldom = (replace(STAGES["things"][0], name=name, repeats=repeats) for name, repeats in (("a", 3), ("b", 1)))
    monkeypatch.setattr(throughput, "STAGES", {"one": (often,), "both": (often, seldom)})
    monkeypatch.setattr(throughput, "SETS", {"a": (64, 80, 10, 1.0), "b": (80, 64, 20, 0.5)})
    costs = iter([5.0, 4.0, 2.0])
    monkeypatch.setattr(throughput, "milliseconds_a_pair", lambda pairs, count: pairs[0] and next(costs))
    throughput.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [(row["stage"], row["set"]) for row in found[:3]] == [("one", "a"), ("both", "a"), ("both", "b")]
    assert found[-1]["ms a pair"] == pytest.approx((30 * 4.0 + 20 * 2.0) / 50)
    assert found[-1]["pairs/s on one core"] == pytest.approx(1000 / 3.2)


def test_a_training_is_timed_with_pairs_that_are_made_and_with_one_batch(script, monkeypatch, tmp_path):
    config = write_config(tmp_path / "tiny.yaml", TINY)
    words = ("--config", config, "--steps", 2, "--rounds", 2, "--workers", 0, "--json", tmp_path / "a.jsonl")
    data_wait = script("data_wait", *words)
    monkeypatch.setattr(data_wait, "WARM_UP", 1)
    data_wait.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    forms = ["pairs of the configuration", "one repeated batch"]
    assert [row["round"] for row in found] == [1, 1, 2, 2, "median", "median"]
    assert [row["pairs"] for row in found] == 3 * forms and all(row["steps/s"] > 0 for row in found)
    assert all(0 <= row["part of the time waiting for data"] <= 1 for row in found[:4])
    made, repeated = (sum(row["part of the time waiting for data"] for row in found[at:4:2]) for at in (0, 1))
    assert made > repeated


@pytest.mark.parametrize("off, timed", [(0.0, True), (0.1, False)])
def test_a_convolution_is_timed_once_it_is_right(script, monkeypatch, tmp_path, off, timed):
    convolution = script("convolution", "--size", "64x64", "--rounds", 1, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr(convolution, "LAYERS", {"one": (8, 8, (3, 3), 4)})
    right = convolution.filtered
    monkeypatch.setattr(convolution, "filtered", lambda *given: right(*given) + off)
    times = {"direct": [0.006], "filtered": [0.002], "transforming": [0.001]}
    monkeypatch.setattr(convolution, "interleaved_seconds", lambda *given, **more: times)
    if timed:
        convolution.main()
        (row,) = rows(tmp_path / "a.jsonl")
        assert (row["direct, ms"], row["filtered, ms"], row["transforming the weight, ms"]) == (6, 2, 1)
        assert row["times as fast (range)"]["median"] == 3 and row["error, direct"] < row["filtered"] < 1e-5
    else:
        with pytest.raises(SystemExit, match=r"one: 1\.0e-01 off, the direct convolution"):
            convolution.main()


def test_half_precision_is_told_by_the_errors_with_and_without_it(script, model, monkeypatch, tmp_path):
    precision = script("precision", "--models", model, "--sets", "known", "--json", tmp_path / "a.jsonl")
    picture = torch.zeros(3, 4, 5)
    pair = FlowSample(picture, picture, torch.zeros(2, 4, 5), torch.ones(4, 5) > 0, None, "known")
    pairs = [pair._replace(flow=torch.full((2, 4, 5), moved)) for moved in (0.0, 3.0)]
    monkeypatch.setattr(precision, "opened", lambda names, root: [(*names, pairs)])
    flows = {"32": torch.zeros(1, 2, 4, 5), "bf16": torch.tensor([3.0, 4.0])[:, None, None].expand(1, 2, 4, 5)}
    monkeypatch.setattr(precision, "estimate", lambda network, pair, kind, *given: flows[kind])
    precision.main()
    (row,) = rows_without_times(tmp_path / "a.jsonl")
    zero, far = 0.0, 3 * 2**0.5  # errors of the flow in 32 bits; of the other one they are 5 and 1
    assert (row["EPE per image in 32 bits"], row["EPE per image"]) == pytest.approx(((zero + far) / 2, 3.0))
    assert row["difference"] == pytest.approx(3 - far / 2) and row["worst pair"] == 5
    assert (row["flows apart, mean"], row["flows apart, 99 %"]) == (5, 5)


def test_the_longer_of_both_times_is_expected_of_a_gpu(script, tmp_path):
    few = ("--networks", "compact", "--size", "128x128", "--iterations", 1, "--training-size", "128x128", "--batch", 1)
    expected = script("expected_times", *few, "--training-iterations", 1, "--json", tmp_path / "a.jsonl")
    expected.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    for precision in ("32", "bf16"):
        of_one = [row for row in found if row["precision"] == precision]
        assert [row["kernels"] for row in of_one] == ["PyTorch", *2 * ["PyTorch", "Triton", "CUDA graph"]]
        for several in (of_one[1:4], of_one[4:]):  # of one thing
            launches = [row["launches"] for row in several]
            assert launches == sorted(launches, reverse=True) and launches[0] > launches[-1]
    for row in found:
        assert row["host ms"] == pytest.approx(row["launches"] * 6e-3)
        assert row["expected ms"] == max(row["GPU ms"], row["host ms"])

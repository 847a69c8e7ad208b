"""The runs of a comparison begin alike, and one that diverges is measured as such."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comparisons import TINY

from flowgru.commands.compare import compare
from flowgru.comparison.comparison import Comparison
from flowgru.comparison.errors import PARTS
from flowgru.comparison.plan import reference_network, run_config
from flowgru.comparison.runs import measured_pairs, measured_sets, train_and_measure, zero_error
from flowgru.config import NetworkConfig
from flowgru.data.starts import StartedPairs, dis_start
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.transfer import transfer
from flowgru.training.run import new_network
from flowgru.training.step import Diverged


def test_networks_begin_with_the_same_weights_where_they_fit():
    torch.manual_seed(7)
    source = FlowNetwork(reference_network(TINY))
    started = []
    for row in TINY.rows:
        torch.manual_seed(0)
        run = run_config(TINY, NetworkConfig(operator=row.operator), 0, 5, Path("initial"))
        started.append(new_network(run, source, announce=False).state_dict())
    for weights in started:
        for name, value in source.state_dict().items():
            if not name.startswith("operator."):
                assert torch.equal(weights[name], value), name


def test_only_the_initial_parts_are_taken_over():
    torch.manual_seed(1)
    source, target = (FlowNetwork(NetworkConfig(operator="conv_gru")) for _ in range(2))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    left = transfer(source, target, parts=["motion_encoder"])
    for name, value in target.state_dict().items():
        taken = name.startswith("motion_encoder.")
        assert torch.equal(value, (source.state_dict() if taken else before)[name]) and (name in left) != taken
    with pytest.raises(RequestError, match="initial_parts is operator: it must be out of feature_encoder, "):
        replace(TINY, initial_parts=("operator",))


def test_a_training_that_diverges_has_errors_that_are_not_finite(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise Diverged("10 steps in a row gave no finite loss")

    monkeypatch.setattr("flowgru.comparison.runs.train", diverge)
    run = run_config(TINY, NetworkConfig(), 1, 5, Path("initial"))
    measured = train_and_measure(TINY, run, tmp_path, "cpu", False, ("synthetic",))
    assert [one.of_row("r", "a")[:-1] for one in measured] == [
        ("r", "a", 1, measure, "synthetic", count, None) for measure in ("epe_per_image", *PARTS) for count in (1, 3)
    ]
    assert all(math.isnan(one.value) for one in measured)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("minutes", [None, 1.0])
def test_the_trainings_are_compiled_where_it_is_asked_for(tmp_path, monkeypatch, compile, minutes):
    class Asked(Exception):
        pass

    def train(_config, _output, *, device, compile):
        raise Asked(device, compile)

    monkeypatch.setattr("flowgru.comparison.runs.train", train)
    monkeypatch.setattr(
        "flowgru.comparison.comparison.run_jobs", lambda jobs, **_: jobs[0].function(*jobs[0].arguments)
    )
    with pytest.raises(Asked) as asked:
        compare(replace(TINY, minutes=minutes), str(tmp_path / "results"), device="cpu", compile=compile)
    assert asked.value.args == ("cpu", compile)
    command = json.loads((tmp_path / "results/comparison.json").read_text())["command"]
    assert command.endswith(" --compile") == compile


def test_steps_that_are_known_are_not_measured_again_when_a_regime_comes_later(tmp_path, monkeypatch):
    """Both regimes share the trainings of the reference: its later row takes over the steps of the earlier one."""
    measured = []

    def run_jobs(jobs, *, ended, **_rest):
        for job in jobs:
            measured.append(job.name)
            ended(job, (60 * len(measured), float(len(measured))))

    monkeypatch.setattr("flowgru.comparison.comparison.run_jobs", run_jobs)
    for part in ("measure_zero_flow", "measure_costs"):
        monkeypatch.setattr(Comparison, part, lambda self: None)
    monkeypatch.setattr(Comparison, "train", lambda self: {})
    monkeypatch.setattr("flowgru.comparison.run.write_report", lambda folder: [])
    config = replace(TINY, minutes=1.0)
    for regimes, operators in (
        (("equal_parameters",), ("conv_min_gru",)), (("equal_width",), ("conv_gru",)), (config.regimes, ())
    ):  # fmt: skip
        compare(replace(config, regimes=regimes), str(tmp_path / "results"), operators, device="cpu")
    assert len(measured) == len({*measured})
    rows = json.loads((tmp_path / "results/comparison.json").read_text())["rows"]
    steps = {(row["folder"], row["steps"]) for regime in rows.values() for row in regime.values()}
    assert len(steps) == len(measured)


def test_errors_are_measured_from_every_initial_flow():
    config = replace(TINY, test=replace(TINY.test, initial_flows=("zero", "dis")))
    assert measured_sets(config) == ("synthetic", "synthetic from dis")
    from_zero, from_dis = (measured_pairs(config, name) for name in measured_sets(config))
    alone, started = from_zero[0], from_dis[0]
    assert torch.equal(alone.flow, started.flow) and alone.initial_flow is None
    assert started.initial_flow is not None
    assert torch.equal(started.initial_flow, dis_start(alone.first, alone.second))
    assert isinstance(from_dis, StartedPairs) and from_dis.hold == config.training.hold
    assert zero_error(config, "synthetic from dis") == zero_error(config, "synthetic")
    for wrong in ((), ("dis", "dis")):
        with pytest.raises(RequestError, match=r"test\.initial_flows is .*: it must be zero, dis or both"):
            replace(TINY.test, initial_flows=wrong)

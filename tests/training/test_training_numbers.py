"""Errors and gradients that are not finite, what validation measures, and numbers that are drawn at random."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from tiny_run import TINY, final_weights, log_lines, new_run

from flowgru.config import NetworkConfig, OptimizerConfig
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import MachineError
from flowgru.evaluation.metrics import endpoint_error
from flowgru.evaluation.validation import pair_errors
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS
from flowgru.operators.conv_gru import ConvGRU
from flowgru.processes.fabric import connect
from flowgru.training import engine, step
from flowgru.training.feeding.pairs import started_by_dis
from flowgru.training.feeding.sampler import collate
from flowgru.training.losses import loss_of
from flowgru.training.run import train
from flowgru.training.run_state import ExponentialMovingAverage, make_optimizer, one_cycle

CPU = torch.device("cpu")


def test_a_network_that_diverges_on_one_pair_is_not_measured_on_the_others(monkeypatch):
    network = FlowNetwork(TINY.network)
    pairs = SyntheticPairs(TINY.data, length=3)
    samples = [pairs[0], pairs[1]._replace(first=pairs[1].first * float("nan")), pairs[2]]
    samples[2] = samples[2]._replace(valid=torch.zeros_like(samples[2].valid))
    monkeypatch.setattr(SyntheticPairs, "__getitem__", lambda self, index: samples[index])
    errors = pair_errors(network, pairs, (1,), torch.device("cpu"))[:, 0].tolist()
    assert math.isfinite(errors[0]) and errors[1] == math.inf and math.isnan(errors[2])


def test_an_error_that_is_not_a_number_is_never_the_best_one(monkeypatch):
    run = new_run()
    fabric, found = Fabric(accelerator="cpu", devices=1), []
    for error in (math.nan, 2.0, math.inf, math.nan, 3.0, 1.0):
        monkeypatch.setattr(engine, "pair_errors", lambda *_, e=error, **__: torch.tensor([[e]], dtype=torch.float64))
        assert engine.validate_run(fabric, run, TINY, {"synthetic": SyntheticPairs(TINY.data)}, None, ()) is None
        found.append(run.is_best)
    assert found == [False, True, False, False, False, True]


def overflowing(loss):
    """The same loss, with a gradient that is not finite."""
    loss.register_hook(lambda gradient: gradient * math.inf)
    return loss


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_skipped_step_in_sixteen_bit_changes_no_weight_and_the_next_one_goes_on(poison):
    plugin = MixedPrecision("bf16-mixed", "cpu")  # the scaler is all that differs from 16-mixed
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    run, wrapped = engine.begin_run(fabric, TINY, lambda: FlowNetwork(TINY.network), None, compile=False)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}

    def poisoned(prediction, batch, config):
        loss = loss_of(prediction, batch, config)
        return loss + math.inf if poison == "loss" else overflowing(loss)

    run.loss = poisoned
    batch = collate([SyntheticPairs(TINY.data)[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's about a schedule whose first step was skipped
        skipped = step.training_step(fabric, wrapped, run, TINY, batch).read()
    assert skipped.loss is None and skipped.lowered_scale == (None if poison == "loss" else 512.0)
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())
    assert run.scaler is not None and run.scaler.get_scale() == (1024.0 if poison == "loss" else 512.0)
    run.loss = loss_of
    assert step.training_step(fabric, wrapped, run, TINY, batch).read().loss is not None
    assert any(not torch.equal(value, before[name]) for name, value in run.network.state_dict().items())


def test_an_overflow_is_the_scales_fault_until_the_scale_is_one():
    plugin = MixedPrecision("bf16-mixed", "cpu")
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    run, wrapped = engine.begin_run(fabric, TINY, lambda: FlowNetwork(TINY.network), None, compile=False)
    run.loss = lambda *inputs: overflowing(loss_of(*inputs))
    batch = collate([SyntheticPairs(TINY.data)[0]])
    results = [step.training_step(fabric, wrapped, run, TINY, batch).read() for _ in range(2)]
    assert [result.lowered_scale for result in results] == [1.0, None]  # the scale is a half after the second
    assert [result.names for result in results] == [(), batch.names]


@pytest.mark.parametrize("scale", [8.0, None])
def test_a_scale_that_is_being_lowered_is_no_reason_to_give_up_and_blames_no_sample(tmp_path, monkeypatch, scale):
    skipped = step.StepResult(None, None, ("a",), None, scale)
    monkeypatch.setattr(engine, "training_step", lambda *_: step.TakenStep(lambda: skipped))
    config = replace(TINY, steps=12, checkpoint_every=12, validation=replace(TINY.validation, every=12))
    if scale:
        train(config, str(tmp_path), device="cpu")
        assert log_lines(tmp_path)[0] == {"step": 1, "lowered_scale": 8.0}
    else:
        with pytest.raises(MachineError, match=r"10 steps in a row .* the last of them step 10;"):
            train(config, str(tmp_path), device="cpu")
        assert log_lines(tmp_path)[0] == {"step": 1, "skipped": ["a"]}


def test_a_set_is_padded_in_validation_as_its_published_errors_were(monkeypatch):
    run = new_run()
    pairs = SyntheticPairs(replace(TINY.data, height=129, width=128), length=1)
    pair = pairs[0]
    engine.validate_run(
        Fabric(accelerator="cpu", devices=1), run, TINY, {"kitti2015": pairs, "sintel_clean": pairs}, None, ()
    )
    with torch.inference_mode():
        for name, padding in (("kitti2015", "kitti"), ("sintel_clean", "sintel")):
            flow = run.network(pair.first[None], pair.second[None], iterations=1, padding=padding).flows[0]
            expected = endpoint_error(flow, pair.flow[None], pair.valid[None]).item()
            assert run.validation[name][1] == pytest.approx(expected, rel=1e-6)
    assert run.validation["kitti2015"] != run.validation["sintel_clean"]


class DropsAndHolds(ConvGRU):
    """An operator with dropout, and a buffer of four axes."""

    def __init__(self, hidden_size, motion_size, context_size):
        super().__init__(hidden_size, motion_size, context_size)
        self.register_buffer("kernel", torch.ones(2, 2, 3, 3))

    def step(self, motion, state):
        return super().step(torch.nn.functional.dropout(motion, 0.5, self.training), state)


def test_what_an_operator_draws_at_random_is_the_same_after_a_stop(tmp_path, monkeypatch):
    monkeypatch.setitem(UPDATE_OPERATORS, "mine", DropsAndHolds)
    config = replace(TINY, network=NetworkConfig("compact", "mine"), optimizer=OptimizerConfig(schedule="constant"))
    whole = final_weights(replace(config, steps=3), tmp_path / "whole")
    train(replace(config, steps=1), str(tmp_path / "parts"), device="cpu")
    torch.rand(7)
    parts = final_weights(replace(config, steps=3), tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    other = final_weights(replace(config, steps=3, seed=1), tmp_path / "other")
    assert not all(torch.equal(value, other[name]) for name, value in whole.items())


def one_step(**changes):
    """The result of the first step of a run with another configuration, and its gradient, as the optimizer has had it."""
    config = replace(TINY, batch_size=2, **changes)
    fabric = connect(torch.device("cpu"), 1, config.precision)
    run, network = engine.begin_run(fabric, config, lambda: FlowNetwork(config.network), None, compile=False)
    pairs = SyntheticPairs(TINY.data, length=2)
    found = step.training_step(fabric, network, run, config, collate([pairs[0], pairs[1]])).read()
    return found, {name: weight.grad for name, weight in run.network.named_parameters() if weight.grad is not None}


def length_of(gradient):
    return torch.stack([value.norm() for value in gradient.values()]).norm().item()


def test_parts_of_a_batch_have_the_loss_the_error_and_the_gradient_of_the_whole():
    unclipped = OptimizerConfig(clip_norm=1e9)
    whole, gradient = one_step(optimizer=unclipped)
    parts, other = one_step(optimizer=unclipped, gradient_accumulation_steps=2)
    assert parts[:2] == pytest.approx(whole[:2], rel=1e-4)
    assert length_of({name: other[name] - value for name, value in gradient.items()}) < 1e-3 * length_of(gradient)


def test_the_error_of_a_step_is_the_mean_of_its_pairs(monkeypatch):
    monkeypatch.setattr("flowgru.training.objective.endpoint_error", lambda *_: torch.tensor([2.0, 5.0]))
    assert one_step()[0].error == 3.5


def test_gradients_are_clipped_to_the_length_that_is_asked_for():
    _, free = one_step(optimizer=OptimizerConfig(clip_norm=1e9))
    _, clipped = one_step(optimizer=OptimizerConfig(clip_norm=0.25))
    assert length_of(free) > 1 and length_of(clipped) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("method", ["adamw", "muon"])
def test_weights_decay_and_learn_as_the_configuration_says(method):
    settings = OptimizerConfig(method=method, learning_rate=0.25, weight_decay=0.125)
    optimizer = make_optimizer([torch.nn.Parameter(torch.ones(2, 2, 3, 3))], replace(TINY, optimizer=settings), CPU)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.125}
    assert max(group["lr"] for group in optimizer.param_groups) == 0.25


def test_one_cycle_is_at_its_top_where_the_warm_up_ends():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    schedule = one_cycle(optimizer, OptimizerConfig(learning_rate=1.0, warmup_share=0.3), 900)
    rates = []
    for _ in range(900):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates.index(max(rates)) == 299 and max(rates) == pytest.approx(1.0)  # three tenths of a hundred steps more


def test_the_moving_average_forgets_random_weights_soon():
    average = ExponentialMovingAverage({"a": torch.zeros(1)}, decay=0.9)
    found = []
    for number in range(0, 200, 50):
        average.update({"a": torch.ones(1)}, number)
        found.append(1 - average.weights["a"].item())
        average.weights["a"].zero_()
    assert found == pytest.approx([0.1, 51 / 60, 0.9, 0.9])


def test_a_validation_measures_the_average_from_the_held_flow_and_the_worst_number_counts(monkeypatch):
    run, fabric, best = new_run(), Fabric(accelerator="cpu", devices=1), []
    for value in run.average.weights.values():
        value.fill_(0)

    def measured(network, data, iterations, device, **rest):
        assert not any(value.any() for value in network.state_dict().values())
        return torch.tensor([errors.pop(0)], dtype=torch.float64)

    monkeypatch.setattr(engine, "pair_errors", measured)
    trained = {name: value.clone() for name, value in run.network.state_dict().items()}
    config = replace(TINY, validation=replace(TINY.validation, iterations=(1, 2)))
    errors = [[1.0, 5.0], [2.0, 4.0], [0.5, 4.5]]
    for _ in range(3):
        assert engine.validate_run(fabric, run, config, {"synthetic": SyntheticPairs(TINY.data)}, None, ()) is None
        best.append(run.is_best)
    assert best == [True, True, False]
    assert all(torch.equal(value, trained[name]) for name, value in run.network.state_dict().items())


@pytest.mark.parametrize("hold", [0, 2])
def test_a_validation_begins_at_the_initial_flow_and_holds_it(hold):
    pairs, asked = started_by_dis(SyntheticPairs(TINY.data, length=1), replace(TINY, hold=hold)), []

    class Noting(FlowNetwork):
        def forward(self, *pictures, **options):
            asked.append((options["hold"], options["initial_flow"]))
            return super().forward(*pictures, **options)

    pair_errors(Noting(TINY.network), pairs, (1,), CPU)
    ((held, start),) = asked
    expected = pairs[0].initial_flow
    assert held == hold and expected is not None and torch.equal(start[0], expected)

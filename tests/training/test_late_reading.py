"""A GPU is not waited for in each step: what came of one is read after the next was asked for, and nothing else changes."""

import math
import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from fake_cuda import Waits, fake_cuda
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tiny_run import TINY, log_lines
from torch.utils._python_dispatch import TorchDispatchMode

from flowgru.config import NetworkConfig
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.processes.signals import Stopped
from flowgru.training import engine, objective, run_state, step
from flowgru.training.feeding.sampler import FlowBatch, collate
from flowgru.training.losses import loss_of
from flowgru.training.run import train
from flowgru.training.step import Diverged

CONFIG = replace(TINY, checkpoint_every=3, keep_checkpoints=9, precision="bf16")
"""Of six steps, of which four are read late."""


def read_late(patch: pytest.MonkeyPatch) -> None:
    """The optimizer of a GPU, so that steps are read late."""
    make = run_state.make_optimizer
    patch.setattr(engine, "make_optimizer", lambda trained, config, _: make(trained, config, torch.device("cuda")))


@pytest.fixture
def as_on_cuda(monkeypatch):
    read_late(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run of CONFIG that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        read_late(patch)
        train(CONFIG, str(folder), device="cpu")
    return folder


def poison(monkeypatch, steps):
    """Makes the loss of these steps, counted from 0, infinite; returns what was asked for, and what was read."""
    taken, real, real_loss = [], engine.training_step, engine.loss_of
    at = 0

    def noted(*inputs):
        nonlocal at
        at = inputs[2].step
        taken.append(f"asked {at + 1}")
        found = real(*inputs)

        def read(number=at + 1):
            taken.append(f"read {number}")
            return found.read()

        return step.TakenStep(read, late=found.late)

    monkeypatch.setattr(engine, "training_step", noted)
    monkeypatch.setattr(engine, "loss_of", lambda *inputs: real_loss(*inputs) + (math.inf if at in steps else 0.0))
    return taken


def test_a_step_is_read_after_the_next_was_asked_for_but_before_a_checkpoint(tmp_path, monkeypatch, as_on_cuda):
    order = poison(monkeypatch, ())
    train(CONFIG, str(tmp_path), device="cpu")
    third, sixth = ["asked 3", "read 2", "read 3"], ["asked 6", "read 5", "read 6"]
    assert order == ["asked 1", "asked 2", "read 1", *third, "asked 4", "asked 5", "read 4", *sixth]


def test_a_step_that_is_read_late_changes_neither_weights_nor_log(tmp_path, monkeypatch, as_on_cuda):
    poison(monkeypatch, (1, 3))
    train(CONFIG, str(tmp_path / "late"), device="cpu")
    monkeypatch.setattr(step, "leaves_out_steps", lambda optimizer: False)
    train(CONFIG, str(tmp_path / "at_once"), device="cpu")
    late, at_once = (log_lines(tmp_path / name) for name in ("late", "at_once"))
    assert late[:-1] == at_once[:-1] and [line for line in late if "skipped" in line] == [
        {"step": 2, "skipped": ["synthetic/0/1"]},
        {"step": 4, "skipped": ["synthetic/0/3"]},
    ]
    for file in ("step-00000003/model.safetensors", "step-00000006/model.safetensors"):
        weights, expected = (load_file(tmp_path / name / file) for name in ("late", "at_once"))
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    average, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("late", "at_once"))
    torch.testing.assert_close(average, expected, rtol=1e-6, atol=1e-8)


def test_a_run_that_is_read_late_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch, as_on_cuda):
    real = engine.training_step

    def killed(*inputs):
        if inputs[2].step == 5:
            raise KeyboardInterrupt
        return real(*inputs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "training_step", killed)
        train(CONFIG, str(tmp_path), device="cpu")
    train(CONFIG, str(tmp_path), device="cpu")
    expected, cut = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path))
    assert all(torch.equal(expected[name], cut[name]) for name in expected)
    assert log_lines(whole) == log_lines(tmp_path)


def test_a_signal_is_seen_at_most_a_step_late_and_all_steps_are_in_the_log(whole, tmp_path, monkeypatch, as_on_cuda):
    config, real = replace(CONFIG, checkpoint_every=6), engine.training_step

    def interrupted(*inputs):
        if inputs[2].step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*inputs)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(engine, "training_step", interrupted)
        train(config, str(tmp_path), device="cpu")
    assert (tmp_path / "step-00000003").is_dir()
    assert [line["step"] for line in log_lines(tmp_path)] == [1, 2, 3]
    train(config, str(tmp_path), device="cpu")
    expected, cut = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path))
    assert all(torch.equal(expected[name], cut[name]) for name in expected)


def test_a_run_that_diverges_gives_up_a_step_late_and_every_checkpoint_is_finite(tmp_path, monkeypatch, as_on_cuda):
    order = poison(monkeypatch, range(1, 99))
    monkeypatch.setattr(step, "MAX_SKIPPED_STEPS", 4)
    config = replace(CONFIG, steps=20, checkpoint_every=2)
    with pytest.raises(Diverged, match="the last of them step 5;"):
        train(config, str(tmp_path), device="cpu")
    assert order[-2:] == ["asked 6", "read 5"]
    for number in (2, 4):
        checkpoint = torch.load(tmp_path / f"step-{number:08}" / "train.pt", weights_only=True)
        steps = {int(state["step"]) for state in checkpoint["optimizer"]["state"].values()}
        assert steps == {1}  # the one before the first that was skipped
        weights = load_file(tmp_path / f"step-{number:08}" / "model.safetensors")
        assert all(value.isfinite().all() for value in [*weights.values(), *checkpoint["mean"].values()])


def test_the_statistics_of_many_norms_are_kept_and_put_back_by_few_copies():
    network = torch.nn.Sequential(*(torch.nn.BatchNorm2d(channels) for channels in range(1, 16)))
    before = {name: value.clone() for name, value in network.named_buffers()}
    launched = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            launched.extend([name] * (name not in ("view", "split_with_sizes")))
            return func(*args, **(kwargs or {}))

    with Copies():
        statistics = step.Statistics(network)
    for kept in (True, False):
        for value in network.buffers():
            value.add_(1)
        changed, finite = {name: value.clone() for name, value in network.named_buffers()}, torch.tensor(kept)
        with Copies():
            statistics.put_back(finite)
        for name, value in network.named_buffers():
            assert torch.equal(value, (changed if kept else before)[name])
    assert len(launched) <= 2 + 2 * 2 * 3 and len(before) == 45, launched


def test_the_statistics_of_batch_norm_forget_a_step_that_was_left_out(as_on_cuda):
    config = replace(TINY, network=NetworkConfig("large", "conv_gru"))
    fabric = Fabric(accelerator="cpu", devices=1)
    run, wrapped = engine.begin_run(fabric, config, lambda: FlowNetwork(config.network), None, compile=False)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.loss = lambda *inputs: loss_of(*inputs) * math.nan
    taken = step.training_step(fabric, wrapped, run, config, collate([SyntheticPairs(TINY.data)[0]]))
    assert taken.late and taken.read().loss is None
    for weights in (run.network.state_dict(), run.average.weights):
        assert all(torch.equal(value, before[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("preset", "started", "coarse_first"),
    [("compact", True, False), ("compact", True, True), ("large", False, False), ("large", False, True)],
)
def test_no_step_on_a_gpu_waits_for_what_it_computes(monkeypatch, preset, started, coarse_first):
    """Fake tensors have no values: whoever reads one fails. The backward pass and the norm are left out."""
    config = replace(TINY, network=NetworkConfig(preset, "conv_min_gru"))
    with fake_cuda():
        device = torch.device("cuda")
        network = FlowNetwork(config.network)
        optimizer = run_state.make_optimizer(list(network.parameters()), config, device)
        schedule = run_state.one_cycle(optimizer, config.optimizer, config.steps)
        average = run_state.ExponentialMovingAverage(network.state_dict(), 0.9)
        run = run_state.Run(network, optimizer, schedule, average)
        with torch.device("cpu"):  # where a batch comes from
            pictures = torch.zeros(2, 1, 3, 128, 128, dtype=torch.uint8)
            maps, valid = torch.rand(1, 2, 128, 128), torch.ones(1, 128, 128, dtype=torch.bool)
        batch = FlowBatch(pictures[0], pictures[1], maps, valid, ("a",), maps if started else None)

        def backward(loss):
            for weight in network.parameters():
                weight.grad = torch.zeros_like(weight)

        fabric = Mock(
            spec=Fabric,
            device=device,
            world_size=1,
            global_rank=0,
            no_backward_sync=lambda *_, **__: nullcontext(),
            backward=backward,
            clip_gradients=lambda *_, **__: torch.zeros((), device=device),
            all_reduce=lambda values, reduce_op: values,
        )
        read = []
        monkeypatch.setattr(step, "HostCopy", lambda values: read.append(values))
        monkeypatch.setattr(objective, "drawn_refinements", lambda *_: run_state.DrawnRefinements(1, 1, coarse_first))
        with Waits(), torch.device("cpu"):  # what is made there and sent is seen
            taken = step.training_step(fabric, network, run, config, batch, (signal.SIGTERM,))
    assert taken.late and [values.device.type for values in read] == ["cuda"]

"""A CUDA graph gives the gradient of a step to the bit, and the head can be trained alone."""

import copy
import warnings
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from fake_cuda import CalledGraphs
from safetensors.torch import load_file
from tiny_run import TINY, log_lines

from flowgru.cli import main
from flowgru.config import NetworkConfig, OptimizerConfig
from flowgru.errors import RequestError
from flowgru.layers.graphs import Graphs
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.prediction import FlowPrediction
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.processes.fabric import connect
from flowgru.training import engine, objective, run_state, step
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import compiled_loss, loss_of
from flowgru.training.ranks import Fabric
from flowgru.training.run import train

HEAD = replace(
    TINY,
    init_from="trunk.safetensors",
    network=NetworkConfig("compact", "conv_gru", confidence=True),
    loss="mixture",
    part="confidence",
    optimizer=OptimizerConfig(ema_decay=0.0),
    steps=4,
    checkpoint_every=4,
)


@pytest.fixture
def trunk(tmp_path):
    """Weights of a network that does not say how sure it is."""
    network = FlowNetwork(NetworkConfig("compact", "conv_gru"))
    path = tmp_path / "trunk.safetensors"
    write_model_file(path, network.state_dict(), {"network": {"preset": "compact", "operator": "conv_gru"}})
    return path


def test_only_the_head_learns(trunk, tmp_path):
    ends = []
    for steps in (1, 4):
        folder = tmp_path / str(steps)
        train(replace(HEAD, init_from=str(trunk), steps=steps), str(folder), device="cpu")
        ends.append(load_file(folder / "model.safetensors"))
    before = load_file(trunk)
    heads = [name for name in ends[0] if name.startswith("mixture_head.")]
    assert {*before} | {*heads} == {*ends[0]} and heads
    assert all(torch.equal(end[name], before[name]) for end in ends for name in before)
    assert all(not torch.equal(ends[0][name], ends[1][name]) for name in heads)


def test_the_head_is_not_trained_without_its_loss():
    with pytest.raises(RequestError, match="part is confidence: it must be all, unless the loss is mixture"):
        replace(TINY, part="confidence")


def test_a_trunk_that_lacks_weights_or_is_none_is_refused(trunk, tmp_path):
    with pytest.raises(RequestError, match="part is confidence: it must be all, unless init_from"):
        replace(HEAD, init_from=None)
    other = replace(HEAD, network=NetworkConfig("compact", "conv_lstm", confidence=True), init_from=str(trunk))
    with pytest.raises(RequestError, match=r"lacks operator\..* which part confidence does not train"):
        train(other, str(tmp_path / "run"), device="cpu")


class Small(FlowNetwork):
    """Whatever takes time is left out of it; its batch norm has statistics."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.norm, self.conv = torch.nn.BatchNorm2d(3), torch.nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, first, second, *, iterations, initial_coarse, hold, no_grad_iterations, pairs_in_clip=1):
        flow = self.conv(torch.cat([self.norm(first), self.norm(second)], dim=1)) * (1 + hold + no_grad_iterations)
        if initial_coarse is not None:
            flow = flow + initial_coarse.mean()
        return FlowPrediction((flow.float(),) * iterations, flow[..., ::8, ::8])


@pytest.fixture
def recorder(monkeypatch):
    """As on CUDA: gradients come from graphs, which are functions that are called, and steps are read late."""
    make, recorder = run_state.make_optimizer, CalledGraphs()

    def made(fabric, network, config):
        options = {"each": "step", "agree": objective._agree, "trained": network, "recorder": recorder}
        return Graphs(fabric.device, most=9, **options)

    cuda = torch.device("cuda")
    monkeypatch.setattr(engine, "gradient_graphs", made)
    monkeypatch.setattr(engine, "make_optimizer", lambda trained, config, _: make(trained, config, cuda))
    return recorder


DRAWN = replace(TINY, batch_size=2, steps=20, hold=1, no_grad_iterations=1)


def begun(config=DRAWN, **options):
    fabric = connect(torch.device("cpu"), 1, config.precision)
    return fabric, *engine.begin_run(fabric, config, Small, None, compile=False, **options)


def batch_of(step, *, start=False, bad=()):
    """In 8 bits; with `bad` steps in floating point, of which those have a picture that is not finite."""
    generator = torch.Generator().manual_seed(step)
    pictures = torch.randint(256, (2, 2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    if bad:
        pictures = pictures / (0 if step in bad else 255)
    flow, valid = torch.randn(2, 2, 16, 16, generator=generator), torch.rand(2, 16, 16, generator=generator) < 0.8
    first, second = pictures
    return FlowBatch(first, second, flow, valid, ("a", "b"), flow + 1 if start else None)


def steps(fabric, run, network, config=DRAWN, *, until=20, **options):
    """What came of the steps, and all that they have changed."""
    found = []
    while run.step < until:
        found.append(step.training_step(fabric, network, run, config, batch_of(run.step, **options)).read()[:2])
        run.step += 1
    state = run.state()
    return found, run.network.state_dict(), state["mean"], state["optimizer"]["state"], state["step"]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"start": True}),
        ({"gradient_accumulation_steps": 2}, {}),
        ({"precision": "bf16"}, {}),
        ({}, {"bad": (0, 5, 9, 10, 15)}),
        ({"freeze_batch_norm": True}, {}),
        ({"coarse_first": 1.0}, {"start": True}),
        ({"coarse_first": 1.0}, {}),
    ],
)
def test_steps_that_are_replayed_have_the_same_bits(recorder, changes, options):
    config = replace(DRAWN, **changes)
    found = steps(*begun(config), config, **options)
    assert 1 < recorder.num_recorded < recorder.num_replayed - 5
    expected = steps(*begun(config, cuda_graph=False), config, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert [number for number, each in enumerate(found[0]) if each[0] is None] == [*options.get("bad", ())]


def test_a_run_that_goes_on_and_replays_other_steps_has_the_same_bits(recorder):
    whole = steps(*begun())
    num_replayed = recorder.num_replayed
    first, again = begun(), begun()
    steps(*first, until=9)
    again[1].restore(first[1].network.state_dict(), copy.deepcopy(first[1].state()))
    recorder.num_replayed = 0
    found, *rest = steps(*again)
    assert 0 < recorder.num_replayed < num_replayed
    torch.testing.assert_close((whole[0][9:], *whole[1:]), (found, *rest), rtol=0, atol=0)


def test_a_whole_run_has_the_same_bits(tmp_path, recorder):
    config = replace(TINY, steps=3, precision="bf16", checkpoint_every=3, validation=replace(TINY.validation, every=2))
    for name, cuda_graph in (("found", True), ("expected", False)):
        train(config, str(tmp_path / name), device="cpu", cuda_graph=cuda_graph)
    assert (recorder.num_recorded, recorder.num_replayed) == (1, 2)
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("found", "expected"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert log_lines(tmp_path / "found") == log_lines(tmp_path / "expected")


def test_where_memory_lacks_the_graphs_give_theirs_back_and_the_step_begins_anew(recorder, monkeypatch):
    config = replace(DRAWN, gradient_accumulation_steps=2, hold=0)
    expected = steps(*begun(config, cuda_graph=False), config)
    real, lacks = engine.loss_of, []

    def lacking(*given):
        if recorder.num_replayed == 6 and not lacks:
            lacks.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(engine, "loss_of", lacking)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = steps(*begun(config), config)
    assert lacks and recorder.num_replayed == 6
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_lack_of_memory_without_graphs_is_an_error(recorder, monkeypatch):
    def lacking(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "loss_of", lacking)
    with pytest.raises(torch.OutOfMemoryError):
        steps(*begun())


def test_only_a_single_gpu_records_and_not_what_is_compiled(monkeypatch):
    network, cuda = torch.nn.Linear(1, 1), torch.device("cuda")
    for device, world_size, records in ((cuda, 1, True), (cuda, 2, False), (torch.device("cpu"), 1, False)):
        fabric = Mock(spec=Fabric, device=device, world_size=world_size)
        assert (objective.gradient_graphs(fabric, network, TINY) is not None) == records
    graphs = Graphs(cuda, each="step", most=1, agree=objective._agree)
    monkeypatch.setattr(engine, "gradient_graphs", lambda *_: graphs)
    monkeypatch.setattr(engine, "compile_for_training", lambda network: None)
    fabric, found = connect(torch.device("cpu"), 1, "32"), []
    for compile, cuda_graph in ((False, True), (True, True), (False, False)):
        run, _ = engine.begin_run(fabric, DRAWN, Small, None, compile=compile, cuda_graph=cuda_graph)
        found.append((run.graphs, run.loss))
    assert found == [(graphs, loss_of), (None, compiled_loss()), (None, loss_of)]


def test_the_command_has_a_switch_for_the_graphs(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("flowgru.training.run.train", lambda *_, cuda_graph, **__: given.append(cuda_graph))
    for switch in ([], ["--no-cuda-graph"]):
        assert main(["train", "--output", str(tmp_path), *switch]) == 0
    assert given == [True, False]


def test_steps_say_whether_their_graph_is_there(recorder):
    fabric, run, network = begun()
    found, kinds = [], []
    for number in range(20):
        kinds.append(run_state.drawn_refinements(DRAWN, number))
        found.append(step.training_step(fabric, network, run, DRAWN, batch_of(number)).kind)
        run.step += 1
    names = ("first", "recorded", "usual")
    assert found == [names[min(kinds[:number].count(kind), 2)] for number, kind in enumerate(kinds)]
    assert len({*kinds}) == objective.num_kinds(DRAWN) == recorder.num_recorded

"""Every operator and every preset works under the autocast rules of CUDA, which are not those of a CPU."""

import inspect
import itertools
import os
from typing import Any, get_args

import pytest
import torch
from fake_cuda import fake_cuda

from flowgru.config import PRESETS, NetworkConfig
from flowgru.errors import RequestError
from flowgru.grid import sample_windows, window_offsets
from flowgru.model.correlation.choice import CorrelationMethod, MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS, make_operator, option_names
from flowgru.training.losses import mixture_loss, sequence_loss

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

each_precision = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
each_mode = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


def combinations_of_options(name: str, *, alone: bool = False) -> list[dict[str, Any]]:
    """Every combination of the values of an operator's options that are to be counted; `alone`: of one option at most."""
    values: dict[str, tuple[Any, ...]] = {}
    for option in option_names(name):
        annotation = inspect.signature(UPDATE_OPERATORS[name]).parameters[option].annotation
        if found := (False, True) if annotation is bool else get_args(annotation):
            values[option] = found
    if alone:
        return [{}, *({option: value} for option, found in values.items() for value in found)]
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def test_no_test_sees_a_gpu_unasked(pytestconfig):
    if not pytestconfig.getoption("--gpu"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and not torch.cuda.is_available()


def autocast(precision: torch.dtype | None) -> torch.autocast:
    return torch.autocast("cuda", dtype=precision, enabled=precision is not None)


@each_precision
@each_mode
@pytest.mark.parametrize("name", UPDATE_OPERATORS)
def test_every_combination_of_options_steps_in_bf16_and_every_option_in_every_precision(name, training, precision):
    tried = 0
    with fake_cuda(), autocast(precision), torch.set_grad_enabled(training):
        for options in combinations_of_options(name, alone=precision is not torch.bfloat16):
            try:
                operator = make_operator(name, 16, 12, 8, **options)
            except RequestError:  # two options that exclude each other
                continue
            hidden, context, motion = (torch.rand(2, size, 6, 7, dtype=precision) for size in (16, 8, 12))
            state = operator.begin(hidden, context)
            for _ in range(2):
                hidden, state = operator.step(motion, state)
            assert hidden.shape == (2, 16, 6, 7) and hidden.device.type == "cuda"
            assert hidden.dtype == (precision or torch.float32), options
            tried += 1
    assert tried


NETWORKS = [
    NetworkConfig(preset, "seq_conv_gru", confidence=preset == "compact")  # pyright: ignore[reportArgumentType]
    for preset in PRESETS
]


WAYS = [
    (correlation, training, name)
    for correlation, training in itertools.product(("all_pairs", "on_demand"), (True, False))
    for name in PRECISIONS
    if name == "bf16" or training == (correlation == "all_pairs")
]
"""Each correlation in training and inference in bf16; in the other precisions, one for training and one for inference."""


@pytest.mark.parametrize(("correlation", "training", "name"), WAYS)
@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.preset)
def test_a_network_gives_flow_in_float32_in_every_precision(
    config: NetworkConfig, correlation: CorrelationMethod, training, name
):
    precision = PRECISIONS[name]
    with fake_cuda():
        network = FlowNetwork(config).train(training)
        network.plan = MatchPlan(correlation)
        first, second = torch.rand(2, 2, 3, 128, 160)
        with autocast(precision), torch.set_grad_enabled(training):
            found = network(first, second, iterations=2, no_grad_iterations=1, final_only=not training)
        assert len(found.flows) == 1 + training
        assert all(flow.dtype == torch.float32 and flow.shape == (2, 2, 128, 160) for flow in found.flows)
        if training:
            truth, valid = torch.rand(2, 2, 128, 160), torch.ones(2, 128, 160, dtype=torch.bool)
            loss = (
                mixture_loss(found.flows, found.mixtures, truth, valid)
                if config.confidence
                else sequence_loss(found.flows, truth, valid)
            )
            assert loss.dtype == torch.float32 and loss.requires_grad


def test_windows_are_sampled_without_cudnn_which_takes_fewer_than_65536_maps():
    with fake_cuda():
        volumes, centres = torch.rand(70_000, 1, 8, 10), torch.rand(70_000, 2)
        found = sample_windows(volumes, centres, window_offsets(2, like=centres))
    assert found.shape == (70_000, 1, 5, 5)

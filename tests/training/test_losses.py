"""The losses are the published ones, compiled or not."""

from dataclasses import replace

import pytest
import torch
from interpreter import run_alone
from tiny_run import TINY
from torch.distributions import Laplace

from flowgru.evaluation.metrics import endpoint_error
from flowgru.model.heads import narrow_share
from flowgru.model.prediction import FlowPrediction
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import loss_of, mixture_loss, sequence_loss


def test_sequence_loss_is_the_weighted_sum_of_masked_means():
    flows = (torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2, 2), 3.0))
    target = torch.tensor([[[[1.0, 2.0], [500.0, 4.0]], [[0.0, 0.0], [0.0, float("nan")]]]])
    valid = torch.tensor([[[True, True], [True, False]]])
    # Counted are (1, 0) and (2, 0); 500 is too long and the last pixel unknown; the mean runs over all 8 values.
    expected = 0.5 * (1 + 2) / 8 + (2 + 3 + 1 + 3) / 8
    assert sequence_loss(flows, target, valid, gamma=0.5).item() == pytest.approx(expected)


def test_mixture_loss_is_the_negative_log_likelihood_of_two_laplace_distributions():
    flows = tuple(torch.randn(2, 2, 2, 3, 4))
    target, valid = torch.randn(2, 2, 3, 4), torch.rand(2, 3, 4) < 0.7
    mixtures = tuple(3 * torch.randn(2, 2, 3, 3, 4))
    expected = torch.zeros(())
    for weight, flow, mixture in zip((0.8, 1.0), flows, mixtures, strict=True):
        wide, narrow = mixture[:, :2].softmax(dim=1)[:, :, None].unbind(1)
        scale = mixture[:, 2:].clamp(0, 10).exp()
        likelihood = wide * Laplace(flow, scale.expand_as(flow)).log_prob(target).exp()
        likelihood = likelihood + narrow * Laplace(flow, torch.ones_like(flow)).log_prob(target).exp()
        expected = expected - weight * likelihood.log()[valid[:, None].expand_as(flow)].mean()
    torch.testing.assert_close(mixture_loss(flows, mixtures, target, valid), expected)


def test_mixture_loss_has_finite_gradients_where_nothing_is_counted_and_far_off():
    flow = torch.full((1, 2, 2, 2), 300.0, requires_grad=True)
    mixture = torch.zeros(1, 3, 2, 2, requires_grad=True)
    target = torch.full((1, 2, 2, 2), float("nan"))
    valid = torch.zeros(1, 2, 2, dtype=torch.bool)
    for known in (False, True):
        if known:
            target, valid = torch.zeros(1, 2, 2, 2), ~valid
        loss = mixture_loss((flow,), (mixture,), target, valid)
        gradients = torch.autograd.grad(loss, (flow, mixture))
        assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)


def test_endpoint_error_counts_valid_pixels_only():
    flow = torch.zeros(2, 2, 1, 2)
    target = torch.tensor([[[[3.0, 100.0]], [[4.0, 100.0]]], [[[6.0, 0.0]], [[8.0, 0.0]]]])
    valid = torch.tensor([[[True, False]], [[True, True]]])
    assert endpoint_error(flow, target, valid).tolist() == [5.0, 5.0]


COMPILED = """
from dataclasses import replace
import torch
from torch._dynamo.utils import counters
from flowgru.config import NetworkConfig, TrainConfig
from flowgru.model.prediction import FlowPrediction
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import compiled_loss, loss_of

torch.manual_seed(0)
plain = TrainConfig(NetworkConfig("compact", "conv_gru", confidence=True), loss="mixture")
for config in (plain, replace(plain, network=NetworkConfig("compact", "conv_gru"), loss="l1")):
    values = [torch.randn(2, channels, 16, 24, requires_grad=True) for channels in (2, 2, 3, 3)]
    prediction = FlowPrediction((values[0], values[1]), values[0][..., ::8, ::8], mixtures=(values[2], values[3]))
    target, valid = 2 * torch.randn(2, 2, 16, 24), torch.rand(2, 16, 24) < 0.7
    target[0, :, 0, 0], target[1, :, 1, 1] = float("nan"), 1e4
    batch = FlowBatch(*torch.rand(2, 2, 3, 16, 24), target, valid, ())
    found = []
    for loss in (loss_of, compiled_loss()):
        value = loss(prediction, batch, config)
        gradients = torch.autograd.grad(value, values, allow_unused=True)
        found.append([value.detach(), *(each for each in gradients if each is not None)])
    assert len(found[0]) == (5 if config.loss == "mixture" else 3)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-8)
assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"], counters
"""


@pytest.mark.slow
def test_a_compiled_loss_has_the_value_and_the_gradients_of_the_plain_one():
    done = run_alone(COMPILED)  # in a process of its own: PyTorch's compiler cannot trace the tests' type checks
    assert done.returncode == 0, done.stderr


def test_the_loss_weighs_as_the_configuration_says():
    flows = tuple(torch.randn(3, 1, 2, 4, 4))
    flow = torch.full((1, 2, 4, 4), 3.0)
    flow[..., 0], flow[..., 1] = torch.tensor([3.0, 4.0])[None, :, None], torch.tensor([30.0, 40.0])[None, :, None]
    batch = FlowBatch(flow.new_zeros(1, 3, 4, 4), flow.new_zeros(1, 3, 4, 4), flow, torch.ones(1, 4, 4) > 0, ("a",))
    config = replace(TINY, gamma=0.3, max_flow=5.0)  # a flow of exactly 5 px is left out
    prediction = FlowPrediction(flows, flow[..., ::8, ::8])
    counted = torch.tensor([False, False, True, True]).expand(4, 4)
    expected = sum(
        weight * ((each - flow).abs() * counted).mean() for weight, each in zip((0.09, 0.3, 1), flows, strict=True)
    )
    assert loss_of(prediction, batch, config).item() == pytest.approx(float(expected))


def test_a_network_is_sure_where_the_narrow_distribution_has_the_larger_share():
    wide, narrow = torch.tensor([3.0, 0.0, 1.0]), torch.tensor([0.0, 3.0, 1.0])
    mixture = torch.stack([wide, narrow, torch.zeros(3)])[None, :, None]
    assert narrow_share(mixture).flatten().tolist() == pytest.approx([0.0474, 0.9526, 0.5], abs=1e-4)

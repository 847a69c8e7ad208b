"""What training minimises: the losses of RAFT and of SEA-RAFT."""

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.config import TrainConfig
from flowgru.grid import lengths
from flowgru.model.prediction import FlowPrediction
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.types import Flow, Valid

Loss = Callable[[FlowPrediction, FlowBatch, TrainConfig], Float[Tensor, ""]]

MAX_LOG_SCALE = 10.0
"""Largest logarithm, in pixels, of the wide Laplace distribution's scale (SEA-RAFT's var_max)."""


def loss_of(prediction: FlowPrediction, batch: FlowBatch, config: TrainConfig) -> Float[Tensor, ""]:
    """The loss that the configuration names."""
    weighing = {"gamma": config.gamma, "max_flow": config.max_flow}
    if config.loss == "mixture":
        return mixture_loss(prediction.flows, prediction.mixtures, batch.flow, batch.valid, **weighing)
    return sequence_loss(prediction.flows, batch.flow, batch.valid, **weighing)


@cache
def compiled_loss() -> Loss:
    """`loss_of` as one graph of torch.compile."""
    return torch.compile(loss_of, dynamic=False, fullgraph=True)


def sequence_loss(
    flows: tuple[Flow, ...], target: Flow, valid: Valid, *, gamma: float = 0.8, max_flow: float = 400.0
) -> Float[Tensor, ""]:
    """RAFT's loss: the L1 error after every refinement, later ones weighing more (RAFT, equation 7).

    sum_i gamma^(n-1-i) mean(valid |flow_i - target|), the mean over ALL pixels and both components, as RAFT's code has it.
    Pixels whose true flow is unknown, or max_flow pixels or longer, count nothing.
    """
    counted, target = _counted(target, valid, max_flow)
    loss = target.new_zeros(())
    for weight, flow in zip(_weights(len(flows), gamma), flows, strict=True):
        loss = loss + weight * ((flow - target).abs() * counted).mean()
    return loss


def mixture_loss(
    flows: tuple[Flow, ...],
    mixtures: tuple[Float[Tensor, "B 3 H W"], ...],
    target: Flow,
    valid: Valid,
    *,
    gamma: float = 0.8,
    max_flow: float = 400.0,
) -> Float[Tensor, ""]:
    """SEA-RAFT's loss: the negative log-likelihood of a mixture of two Laplace distributions around the flow.

    One has the scale 1 px, the other a predicted one from 1 to e^MAX_LOG_SCALE px, so that a pixel that cannot be matched
    costs little and pulls little (Wang, Lipson and Deng 2024, arXiv 2405.14793, section 3.2):

        -log( sum_k softmax(w)_k / (2 b_k) exp(-|flow - target| / b_k) ),   k = wide, narrow

    for each component of the flow, mean over the counted pixels, refinements weighing as in sequence_loss. Channels of a
    mixture: the logits w (wide, narrow), and log b of the wide one.
    """
    counted, target = _counted(target, valid, max_flow)
    num_counted = counted.sum().clamp(min=1) * target.shape[1]
    loss = target.new_zeros(())
    for weight, flow, mixture in zip(_weights(len(flows), gamma), flows, mixtures, strict=True):
        logits, widest = mixture[:, :2].float(), mixture[:, 2:].float().clamp(0, MAX_LOG_SCALE)
        log_scale = torch.cat([widest, torch.zeros_like(widest)], dim=1)
        distance = (flow - target).abs()[:, :, None] * torch.exp(-log_scale)[
            :, None
        ]  # [B, 2 components, 2 scales, H, W]
        likelihood = torch.logsumexp((logits - math.log(2) - log_scale)[:, None] - distance, dim=2)
        nll = torch.logsumexp(logits, dim=1, keepdim=True) - likelihood
        loss = loss + weight * torch.where(counted, nll, 0).sum() / num_counted
    return loss


def _counted(target: Flow, valid: Valid, max_flow: float) -> tuple[Bool[Tensor, "B 1 H W"], Flow]:
    """Which pixels count, and the target with 0 in the others."""
    counted = (valid & (lengths(target) < max_flow))[:, None]
    return counted, torch.where(counted, target, 0)


def _weights(count: int, gamma: float) -> list[float]:
    return [gamma ** (count - 1 - iteration) for iteration in range(count)]

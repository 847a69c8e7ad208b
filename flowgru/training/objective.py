"""What training makes small, and its gradient."""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from flowgru.config import TrainConfig
from flowgru.errors import lacks_memory
from flowgru.estimation.geometry import computed_size, resize_flow, resize_picture
from flowgru.evaluation.metrics import endpoint_error
from flowgru.layers.graphs import Graphs
from flowgru.model.prediction import FlowPrediction
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.ranks import Fabric
from flowgru.training.run_state import DrawnRefinements, Run, drawn_refinements
from flowgru.types import CoarseFlow, Flow, Valid

MAX_LOG_SCALE = 10.0
"""Largest logarithm, in pixels, of the wide Laplace distribution's scale (SEA-RAFT's var_max)."""

MAX_LOSS_CHANGE = 1e-2
"""How far, as a share, the loss of a CUDA graph may be from the one that was computed without it."""

NUM_LAYOUTS = 4
"""Layouts of a batch: the pictures of its first and of its second frames travel in 8 bits, or in 32."""


def loss_of(prediction: FlowPrediction, batch: FlowBatch, config: TrainConfig) -> Float[Tensor, ""]:
    """The loss that the configuration names."""
    weighing = {"gamma": config.gamma, "max_flow": config.max_flow}
    if config.loss == "mixture":
        return mixture_loss(prediction.flows, prediction.mixtures, batch.flow, batch.valid, **weighing)
    return sequence_loss(prediction.flows, batch.flow, batch.valid, **weighing)


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
    counted = (valid & (target.norm(dim=1) < max_flow))[:, None]
    return counted, torch.where(counted, target, 0)


def _weights(count: int, gamma: float) -> list[float]:
    return [gamma ** (count - 1 - iteration) for iteration in range(count)]


def gradient_graphs(fabric: Fabric, network: nn.Module, config: TrainConfig) -> Graphs | None:
    """What records `gradient` as CUDA graphs, one for each kind of step; None on a CPU, and with several processes."""
    if fabric.device.type != "cuda" or fabric.world_size > 1:
        return None
    most = NUM_LAYOUTS * (config.hold + 1) * (config.no_grad_iterations + 1) * (1 + (config.coarse_first > 0))
    return Graphs(fabric.device, each="step", most=most, agree=_agree, trained=network)


def _agree(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    return torch.allclose(found[0], expected[0], MAX_LOSS_CHANGE, 0, equal_nan=True)


def gradient(
    fabric: Fabric, network: nn.Module, run: Run, config: TrainConfig, batch: FlowBatch, forget: Callable[[], None]
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    """Gives the weights of `network`, as Fabric made it, the gradient of a batch; returns its loss, and each pair's error.

    The batch may lie elsewhere. Where memory lacks, the CUDA graphs give theirs back and all begins anew: `forget` puts
    back what a forward pass changes.
    """
    while True:
        try:
            return _gradient_of_parts(fabric, network, run, config, batch)
        except Exception as error:
            if run.graphs is None or not lacks_memory(error) or not run.graphs.release():
                raise
        forget()  # only here has the error let go of what it held


def _gradient_of_parts(
    fabric: Fabric, network: nn.Module, run: Run, config: TrainConfig, batch: FlowBatch
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    run.optimizer.zero_grad(set_to_none=True)
    drawn, num_parts = drawn_refinements(config, run.step), config.gradient_accumulation_steps
    add = partial(_add_gradient, fabric, network, config, drawn)
    loss, errors = torch.zeros((), dtype=torch.float64, device=fabric.device), []
    for number in range(num_parts):
        tensors = batch.part(number, num_parts).tensors
        with fabric.no_backward_sync(network, enabled=number + 1 < num_parts):
            part_loss, error = add(*tensors) if run.graphs is None else run.graphs.call(drawn, add, tensors)
        loss += part_loss
        errors.append(error)
    return loss, torch.cat(errors)


def _add_gradient(
    fabric: Fabric, network: nn.Module, config: TrainConfig, drawn: DrawnRefinements, *tensors: Tensor
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    """Adds the gradient of a part of a batch; returns its share of the loss, and each pair's error.

    A CUDA graph can hold it: nothing is read from the device, and nothing random is drawn there.
    """
    part = FlowBatch.of(*tensors).to(fabric.device)
    prediction = network(
        part.first,
        part.second,
        iterations=config.iterations,
        initial_coarse=_coarse_start(network, part, config, drawn),
        hold=drawn.hold,
        no_grad_iterations=drawn.no_grad_iterations,
        pairs_in_clip=config.pairs_in_clip,
    )
    loss = loss_of(prediction, part, config) / config.gradient_accumulation_steps
    fabric.backward(loss)
    return loss.detach(), endpoint_error(prediction.flows[-1].detach(), part.flow, part.valid)


def _coarse_start(
    network: nn.Module, part: FlowBatch, config: TrainConfig, drawn: DrawnRefinements
) -> CoarseFlow | None:
    """Where the refinements begin, in coarse pixels: at the initial flow, or where that leads at half the size."""
    if not drawn.coarse_first:
        return part.coarse_start()
    half, start = computed_size(part.first.shape[2:], 0.5), part.initial_flow
    begun = None if start is None else part._replace(initial_flow=resize_flow(start, half)).coarse_start()
    with torch.no_grad():
        found = network(
            resize_picture(part.first, half),
            resize_picture(part.second, half),
            iterations=1,
            initial_coarse=begun,
            hold=drawn.hold,
            no_grad_iterations=config.iterations + drawn.no_grad_iterations - 1,
        )
    return part._replace(initial_flow=resize_flow(found.flows[-1], part.first.shape[2:])).coarse_start()

"""The gradient of what training minimises."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from flowgru.config import TrainConfig
from flowgru.errors import lacks_memory
from flowgru.estimation.geometry import computed_size, resize_flow, resize_picture
from flowgru.evaluation.metrics import endpoint_error
from flowgru.layers.graphs import Graphs
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import Loss
from flowgru.training.ranks import Fabric
from flowgru.training.run_state import DrawnRefinements, Run, drawn_refinements
from flowgru.types import CoarseFlow, Flow, Valid

MAX_LOSS_CHANGE = 1e-2
"""How far, as a share, the loss of a CUDA graph may be from the one that was computed without it."""

LARGEST_SPREAD, LARGEST_BEND = 0.5, 0.1
"""Of the true flow in four pixels, in pixels, and its change from pixel to pixel, where one at half the size has one too."""

NUM_LAYOUTS = 4
"""Layouts of a batch: the pictures of its first and of its second frames travel in 8 bits, or in 32."""


def gradient_graphs(fabric: Fabric, network: nn.Module, config: TrainConfig) -> Graphs | None:
    """What records `gradient` as CUDA graphs, one for each kind of step; None on a CPU, and with several processes."""
    if fabric.device.type != "cuda" or fabric.world_size > 1:
        return None
    return Graphs(fabric.device, each="step", most=NUM_LAYOUTS * num_kinds(config), agree=_agree, trained=network)


def num_kinds(config: TrainConfig) -> int:
    """How many kinds of steps there are, each with a graph of its own; see drawn_refinements."""
    return (config.hold + 1) * (config.no_grad_iterations + 1) * (1 + (config.coarse_first > 0))


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
    add = partial(_add_gradient, fabric, network, config, drawn, run.loss)
    loss, errors = torch.zeros((), dtype=torch.float64, device=fabric.device), []
    for number in range(num_parts):
        tensors = batch.part(number, num_parts).tensors
        with fabric.no_backward_sync(network, enabled=number + 1 < num_parts):
            part_loss, error = add(*tensors) if run.graphs is None else run.graphs.call(drawn, add, tensors)
        loss += part_loss
        errors.append(error)
    return loss, torch.cat(errors)


def _add_gradient(
    fabric: Fabric,
    network: nn.Module,
    config: TrainConfig,
    drawn: DrawnRefinements,
    loss_of: Loss,
    *tensors: Tensor,
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    """Adds the gradient of a part of a batch; returns its share of the loss, and each pair's error.

    A CUDA graph can hold it: nothing is read from the device, and nothing random is drawn there.
    """
    part = FlowBatch.of(*tensors).to(fabric.device)
    start, coarse_loss = part.coarse_start(), None
    if drawn.coarse_first:
        start, coarse_loss = _at_half_size(network, part, config, drawn, loss_of)
    prediction = network(
        part.first,
        part.second,
        iterations=config.iterations,
        initial_coarse=start,
        hold=drawn.hold,
        no_grad_iterations=drawn.no_grad_iterations,
        pairs_in_clip=config.pairs_in_clip,
    )
    loss = loss_of(prediction, part, config)
    if coarse_loss is not None:
        loss = loss + config.coarse_loss * coarse_loss
    loss = loss / config.gradient_accumulation_steps
    fabric.backward(loss)
    return loss.detach(), endpoint_error(prediction.flows[-1].detach(), part.flow, part.valid)


def _at_half_size(
    network: nn.Module, part: FlowBatch, config: TrainConfig, drawn: DrawnRefinements, loss_of: Loss
) -> tuple[CoarseFlow | None, Float[Tensor, ""] | None]:
    """Where the refinements begin, in coarse pixels, once there were as many at half the size; and the loss of those.

    Where config.coarse_loss asks for no loss there is none, and nothing of them has a gradient.
    """
    half, begun = computed_size(part.first.shape[2:], 0.5), part.initial_flow
    pictures = resize_picture(part.first, half), resize_picture(part.second, half)
    initial = None if begun is None else part._replace(initial_flow=resize_flow(begun, half)).coarse_start()
    learned = config.iterations if config.coarse_loss else 1
    with torch.set_grad_enabled(bool(config.coarse_loss)):
        found = network(
            *pictures,
            iterations=learned,
            initial_coarse=initial,
            hold=drawn.hold,
            no_grad_iterations=config.iterations - learned + drawn.no_grad_iterations,
        )
    start = part._replace(initial_flow=resize_flow(found.flows[-1].detach(), part.first.shape[2:])).coarse_start()
    if not config.coarse_loss:
        return start, None
    flow, valid = halved_truth(part.flow, part.valid)
    return start, loss_of(found, part._replace(first=pictures[0], second=pictures[1], flow=flow, valid=valid), config)


def halved_truth(flow: Flow, valid: Valid) -> tuple[Float[Tensor, "B 2 h w"], Bool[Tensor, "B h w"]]:
    """The true flow of pictures of an even size at half of it, in pixels of that size, and where it is known.

    Every pixel there is four of the picture's. It is known where all four are, and they differ by less than LARGEST_SPREAD,
    or as those of one plane that grows or turns fast do: not at the edges of what moves.
    """
    spread = F.max_pool2d(flow, 2) + F.max_pool2d(-flow, 2)
    known = -F.max_pool2d(-valid[:, None].float(), 2)[:, 0] > 0
    one_surface = (spread < LARGEST_SPREAD) | (F.max_pool2d(_bend(flow), 2) < LARGEST_BEND)
    return resize_flow(flow, tuple(known.shape[1:])), known & one_surface.all(dim=1)


def _bend(flow: Flow) -> Float[Tensor, "B 2 H W"]:
    """By how much each pixel differs from what its neighbours left and right, or above and below, have in their middle."""
    across = (flow[..., 2:] - 2 * flow[..., 1:-1] + flow[..., :-2]).abs()
    down = (flow[..., 2:, :] - 2 * flow[..., 1:-1, :] + flow[..., :-2, :]).abs()
    return torch.maximum(F.pad(across, (1, 1)), F.pad(down, (0, 0, 1, 1)))

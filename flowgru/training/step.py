"""One optimizer step of all processes together."""

import math
import signal
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.config import TrainConfig
from flowgru.evaluation.metrics import endpoint_error
from flowgru.model.prediction import FlowPrediction
from flowgru.processes.signals import agreed_signal, as_counts
from flowgru.training.objective import mixture_loss, sequence_loss
from flowgru.training.ranks import Fabric
from flowgru.training.run_state import Run, drawn_refinements
from flowgru.training.sampler import FlowBatch

MIN_SCALE = 1.0
"""A loss that is scaled by no more than this makes no gradient overflow that would not do so by itself."""


class StepResult(NamedTuple):
    """What came of one step, the same in every process."""

    loss: float | None
    """Mean over the whole batch; None where loss or gradient was not finite, and the step was skipped."""
    error: float | None
    """epe_per_image in pixels, over the batch; None as the loss, NaN where no pixel was valid."""
    names: tuple[str, ...]
    """The samples of a step that was skipped because of them."""
    stop: signal.Signals | None
    """The signal by which a process was asked to stop."""
    lowered_scale: float | None = None
    """The new scale of the loss, where the step was skipped because the gradient overflowed in 16 bits with the old one."""


def training_step(
    fabric: Fabric,
    network: nn.Module,
    run: Run,
    config: TrainConfig,
    batch: FlowBatch,
    asked_to_stop: Sequence[int] = (),
) -> StepResult:
    """One optimizer step on this process's share of the batch, in `config.gradient_accumulation_steps` parts."""
    run.network.train()
    if config.freeze_batch_norm or config.part != "all":
        freeze_batch_norm(run.network)
    statistics = {name: value.clone() for name, value in run.network.named_buffers()}
    run.optimizer.zero_grad(set_to_none=True)
    hold, no_grad_iterations = drawn_refinements(config, run.step)
    loss, errors = torch.zeros((), dtype=torch.float64, device=fabric.device), []
    for number in range(1, config.gradient_accumulation_steps + 1):
        part = batch.part(number - 1, config.gradient_accumulation_steps)
        with fabric.no_backward_sync(network, enabled=number < config.gradient_accumulation_steps):
            prediction = network(
                part.first,
                part.second,
                iterations=config.iterations,
                initial_flow=part.initial_flow,
                hold=hold,
                no_grad_iterations=no_grad_iterations,
            )
            part_loss = loss_of(prediction, part, config) / config.gradient_accumulation_steps
            fabric.backward(part_loss)
        loss += part_loss.detach()
        errors.append(endpoint_error(prediction.flows[-1].detach(), part.flow, part.valid))
    norm = fabric.clip_gradients(network, run.optimizer, max_norm=config.optimizer.clip_norm, error_if_nonfinite=False)
    assert norm is not None

    error = torch.cat(errors)
    mine = torch.cat(
        [torch.stack([loss, error.nansum(), (~error.isnan()).sum()]), as_counts(asked_to_stop, loss.device)]
    )
    totals = fabric.all_reduce(mine, reduce_op="sum")
    # All that a step must know is read at once: a GPU is waited for a single time.
    norm, total_loss, total_error, pairs, *counts = torch.cat([norm.detach().reshape(1).to(totals), totals]).tolist()
    stop = agreed_signal(counts)
    if math.isfinite(total_loss) and math.isfinite(norm):
        run.optimizer.step()
        run.average.update(run.network.state_dict(), run.step)
        result = StepResult(total_loss / fabric.world_size, total_error / pairs if pairs else math.nan, (), stop)
    else:
        scale = None
        if run.scaler is not None:
            run.scaler.update()  # lowers its scale where the gradient has overflowed
            if math.isfinite(total_loss) and run.scaler.get_scale() >= MIN_SCALE:
                scale = run.scaler.get_scale()
        for name, value in run.network.named_buffers():  # batch norm has seen the batch
            value.copy_(statistics[name])
        names = _all_names(fabric, batch.names) if scale is None else ()
        result = StepResult(None, None, names, stop, scale)
    with warnings.catch_warnings():  # torch takes a first step that was skipped for one that was forgotten
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        run.schedule.step()
    return result


def loss_of(prediction: FlowPrediction, batch: FlowBatch, config: TrainConfig) -> Float[Tensor, ""]:
    """The loss that the configuration names."""
    weighing = {"gamma": config.gamma, "max_flow": config.max_flow}
    if config.loss == "mixture":
        return mixture_loss(prediction.flows, prediction.mixtures, batch.flow, batch.valid, **weighing)
    return sequence_loss(prediction.flows, batch.flow, batch.valid, **weighing)


def freeze_batch_norm(network: nn.Module) -> None:
    """Normalises by the statistics that were learned before; RAFT does so in every stage after chairs."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _all_names(fabric: Fabric, mine: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the whole batch."""
    gathered: list[Any] = [mine]
    if fabric.world_size > 1:
        gathered = [None] * fabric.world_size
        torch.distributed.all_gather_object(gathered, mine)
    return tuple(name for names in gathered for name in names)

"""One training run, from its configuration to its weights: the only file that calls Lightning Fabric.

Everything random is a function of (seed, step), and the store holds weights, optimizer, schedule, running mean and step,
so a run that was stopped at any moment goes on as if it had not been: on a CPU to the same bits, on a GPU up to the order
in which CUDA adds the look-up's gradients.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from flowgru.config import OptimizerConfig, TrainConfig
from flowgru.data.sample import FlowSample
from flowgru.errors import MachineError
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.checkpoints import CheckpointStore
from flowgru.training.objective import endpoint_error, sequence_loss
from flowgru.training.run_log import RunLog
from flowgru.training.sampler import FlowBatch, StepSampler, collate

MOST_SKIPPED_IN_A_ROW = 10
"""Steps with a loss or gradient that is not finite after which a run gives up."""


class Stopped(Exception):
    """The run was asked to stop by a signal; its state is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; the same command goes on from here")
        self.exit_code = 128 + signal_number


class RunningMean:
    """Exponential moving average of the weights: what is validated, kept and published."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    def update(self, weights: dict[str, Tensor], step: int) -> None:
        """Moves towards the weights after `step`; early steps count more, so that random weights are soon forgotten."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        floating = [name for name, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[name] for name in floating], [weights[name].detach() for name in floating], share
        )
        for name in self.weights.keys() - set(floating):
            self.weights[name].copy_(weights[name])


@dataclass
class Run:
    """All that changes while a run goes on."""

    network: FlowNetwork
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    mean: RunningMean
    step: int = 0
    best_error: float = math.inf
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: tensors and plain values only."""
        return {
            "step": self.step,
            "best_error": self.best_error,
            "seconds": self.seconds,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "mean": self.mean.weights,
        }

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Back to what `state` described."""
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        for name, value in self.mean.weights.items():  # on the network's device; what was loaded is on the CPU
            value.copy_(state["mean"][name])
        self.step, self.best_error, self.seconds = state["step"], state["best_error"], state["seconds"]


def one_cycle(optimizer: torch.optim.Optimizer, settings: OptimizerConfig, steps: int) -> Any:
    """RAFT's schedule: a linear rise, then a linear fall; a hundred steps longer than the run, so it never ends at 0."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=steps + 100,
        pct_start=settings.warmup_share,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def settling_refinements(config: TrainConfig, step: int) -> int:
    """How many refinements run without gradient in this step: none in half of the steps, else 1..config.settling."""
    draw = torch.rand(2, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + step))
    return 0 if draw[0] < 0.5 or not config.settling else 1 + int(draw[1] * config.settling)


def train_network(
    config: TrainConfig,
    store: CheckpointStore,
    log: RunLog,
    make_network: Callable[[], FlowNetwork],
    training_data: Dataset[FlowSample],
    validation_data: Dataset[FlowSample],
    *,
    device: torch.device,
) -> Run:
    """Trains on `device` from the store's newest checkpoint, or without one from make_network(), to config.steps.

    Raises Stopped, after saving, on SIGTERM or SIGINT, and MachineError where nothing finite comes out any more.
    """
    devices = [device.index] if device.type == "cuda" and device.index is not None else 1
    fabric = Fabric(accelerator=device.type, devices=devices, precision=config.precision)
    fabric.launch()
    checkpoint = store.load_newest()
    torch.manual_seed(config.seed)
    network = make_network() if checkpoint is None else FlowNetwork(config.network)
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    settings = config.optimizer
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    wrapped, optimizer = fabric.setup(network, optimizer)
    schedule = one_cycle(optimizer, settings, config.steps)
    run = Run(network, optimizer, schedule, RunningMean(network.state_dict(), settings.ema_decay))
    if checkpoint is not None:
        run.restore(checkpoint.weights, checkpoint.state)
    log.begin(run.step, config.steps, passed_over=store.skipped)

    skipped = 0
    with stop_signals() as asked_to_stop, deterministic():
        waited_since = time.perf_counter()
        for batch in batches(fabric, config, training_data, run.step):
            started = time.perf_counter()
            wait, loss, error = started - waited_since, *training_step(fabric, wrapped, run, config, batch)
            skipped = 0 if loss is not None else skipped + 1
            if loss is None:
                log.skipped(run.step, batch.names)
                if skipped >= MOST_SKIPPED_IN_A_ROW:
                    raise MachineError(
                        f"{skipped} steps in a row gave no finite loss or gradient, the last of them step {run.step}; "
                        "the last finite checkpoint is kept: lower optimizer.learning_rate or look at the samples in the log"
                    )
            run.step += 1
            run.seconds += time.perf_counter() - waited_since
            log.step(run.step, loss, error, schedule.get_last_lr()[0], wait, time.perf_counter() - waited_since)

            last = run.step == config.steps
            validated = last or run.step % config.validation.every == 0
            best = validated and _validate(fabric, run, config, validation_data, log)
            if validated or asked_to_stop or run.step % config.checkpoint_every == 0:
                store.save(run.step, network.state_dict(), run.state(), best=best)
            if asked_to_stop and not last:
                raise Stopped(asked_to_stop[0])
            waited_since = time.perf_counter()
    return run


def batches(fabric: Fabric, config: TrainConfig, data: Dataset[FlowSample], first_step: int) -> Iterator[FlowBatch]:
    """The batches of every step from `first_step` on, on the run's device."""
    loader = DataLoader(
        data,
        batch_sampler=StepSampler(first_step, config.steps, config.batch_size),
        collate_fn=collate,
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=fabric.device.type == "cuda",
    )
    return iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))  # pyright: ignore[reportReturnType]


def training_step(
    fabric: Fabric, network: nn.Module, run: Run, config: TrainConfig, batch: FlowBatch
) -> tuple[float | None, float | None]:
    """One optimizer step: the loss and the end-point error, or None for both where anything was not finite."""
    run.network.train()
    statistics = {name: value.clone() for name, value in run.network.named_buffers()}
    run.optimizer.zero_grad(set_to_none=True)
    prediction = network(
        batch.first,
        batch.second,
        iterations=config.iterations,
        settling=settling_refinements(config, run.step),
    )
    loss = sequence_loss(prediction.flows, batch.flow, batch.valid, gamma=config.gamma, max_flow=config.max_flow)
    fabric.backward(loss)
    norm = fabric.clip_gradients(network, run.optimizer, max_norm=config.optimizer.clip_norm, error_if_nonfinite=False)
    assert norm is not None
    finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(norm))
    if finite:
        run.optimizer.step()
        run.mean.update(run.network.state_dict(), run.step)
    run.schedule.step()
    if not finite:
        for name, value in run.network.named_buffers():  # batch norm has seen the batch
            value.copy_(statistics[name])
        return None, None
    error = endpoint_error(prediction.flows[-1].detach(), batch.flow, batch.valid)
    return loss.item(), error.nanmean().item()


def _validate(fabric: Fabric, run: Run, config: TrainConfig, data: Dataset[FlowSample], log: RunLog) -> bool:
    """Measures the running mean of the weights on the held-back pairs; True where it is the best so far."""
    trained = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.network.load_state_dict(run.mean.weights)
    errors = validate(run.network, data, config.validation.iterations, fabric.device)
    run.network.load_state_dict(trained)
    log.validation(run.step, errors)
    error = max(errors.values())
    best = error < run.best_error
    run.best_error = min(error, run.best_error)
    return best


@torch.inference_mode()
def validate(
    network: FlowNetwork, data: Dataset[FlowSample], iterations: tuple[int, ...], device: torch.device
) -> dict[int, float]:
    """Mean end-point error in pixels over the pairs after each number of refinements, in full precision."""
    network.eval()
    errors: dict[int, list[float]] = {count: [] for count in iterations}
    for index in range(len(data)):  # pyright: ignore[reportArgumentType]
        batch = collate([data[index]])
        target, valid = batch.flow.to(device), batch.valid.to(device)
        flows = network(batch.first.to(device), batch.second.to(device), iterations=iterations[-1]).flows
        for count in iterations:
            errors[count].append(endpoint_error(flows[count - 1], target, valid).item())
    return {count: sum(values) / len(values) for count, values in errors.items()}


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying by them; a second one kills at once."""
    received: list[int] = []

    def remember(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deterministic() -> Iterator[None]:
    """The same operations in the same order on every run; what cannot be promised, on a GPU, warns."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = memory  # pyright: ignore[reportAttributeAccessIssue]

"""One training run, from its configuration to its weights: the only file that calls Lightning Fabric.

Everything random is a function of (seed, step), and the store holds weights, optimizer, schedule, running mean and step,
so a run that was stopped at any moment goes on as if it had not been: on a CPU to the same bits, on a GPU up to the order
in which CUDA adds the look-up's gradients.

A run may be shared by several processes. Each takes its share of every batch; the gradients' mean, the loss and a wish to
stop are agreed in every step, so all of them always take the same way. Only the first one reads and writes files.
"""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from lightning.fabric import Fabric
from torch.utils.data import Dataset

from flowgru.config import TrainConfig
from flowgru.data.sample import FlowSample
from flowgru.errors import MachineError, RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.checkpoints import Checkpoint, CheckpointStore
from flowgru.training.loader import batches
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import Run, RunningMean, one_cycle
from flowgru.training.step import training_step
from flowgru.training.stopping import Stopped, stop_signals
from flowgru.training.validation import pair_errors

MOST_SKIPPED_IN_A_ROW = 10
"""Steps with a loss or gradient that is not finite after which a run gives up."""

MOST_FAILED_SAVES = 3
"""Checkpoints in a row that the disk refuses after which a run gives up."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def connect(device: torch.device, devices: int, precision: Precision) -> Fabric:
    """The processes of a run: `devices` of them on this machine, or those that torchrun has started.

    They are started by `launch`, each with the command line of this one. RequestError for less than one, for one GPU's
    number where there are several processes, and for a precision that the device does not have.
    """
    for name in ("lightning.fabric", "lightning.pytorch"):  # its notes on how processes meet say nothing to a user
        logging.getLogger(name).setLevel(logging.WARNING)
    if devices < 1:
        raise RequestError(f"--devices is {devices}: it must be 1 or more")
    if precision == "16-mixed" and device.type == "cpu":
        raise RequestError("precision is 16-mixed and the device cpu: 16-mixed needs a GPU, use bf16-mixed or 32-true")
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    else:
        nodes = 1
    alone = devices * nodes == 1
    if device.index is not None and not alone:
        raise RequestError(
            f"--device is {device} for {devices * nodes} processes: name {device.type}, and choose GPUs by "
            "CUDA_VISIBLE_DEVICES"
        )
    chosen = [device.index] if alone and device.type == "cuda" and device.index is not None else devices
    strategy = "auto" if alone else "ddp"
    return Fabric(accelerator=device.type, devices=chosen, num_nodes=nodes, strategy=strategy, precision=precision)


def train_network(
    fabric: Fabric,
    config: TrainConfig,
    store: CheckpointStore | None,
    log: RunLog | None,
    make_network: Callable[[], FlowNetwork],
    training_data: Dataset[FlowSample],
    validation_data: Mapping[str, Dataset[FlowSample]],
    *,
    checkpoint: Checkpoint | None = None,
    compile: bool = False,
) -> Run:
    """Trains from `checkpoint`, or without one from make_network(), to config.steps.

    The processes of `fabric` are launched already; store, log and checkpoint are those of the first one and None in the
    others. Raises Stopped, after saving, on SIGTERM or SIGINT, and MachineError where nothing finite comes out any more
    or the disk refuses every checkpoint.
    """
    run, wrapped = _begin(fabric, config, make_network, fabric.broadcast(checkpoint), compile=compile)
    if log:
        log.begin(run.step, config.steps, passed_over=store.skipped if store else [])
    loader = batches(
        training_data,
        config,
        run.step,
        share=fabric.global_rank,
        shares=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )
    skipped = failed_saves = 0
    with stop_signals() as asked_to_stop, deterministic(), together(fabric):
        waited_since = time.perf_counter()
        for batch in loader:
            wait = time.perf_counter() - waited_since
            result = training_step(fabric, wrapped, run, config, batch.to(fabric.device), asked_to_stop)
            skipped = 0 if result.loss is not None else skipped + 1
            if result.loss is None and log:
                log.skipped(run.step, result.names)
            if skipped >= MOST_SKIPPED_IN_A_ROW:
                _end(fabric)
                raise MachineError(
                    f"{skipped} steps in a row gave no finite loss or gradient, the last of them step {run.step}; "
                    "the last finite checkpoint is kept: lower optimizer.learning_rate or look at the samples in the log"
                )
            run.step += 1
            run.seconds += time.perf_counter() - waited_since
            if log:
                rate, seconds = float(run.schedule.get_last_lr()[0]), time.perf_counter() - waited_since
                log.step(run.step, result.loss, result.error, rate, wait, seconds)

            last = run.step == config.steps
            validated = last or run.step % config.validation.every == 0
            best = validated and _validate(fabric, run, config, validation_data, log)
            if validated or result.stop or run.step % config.checkpoint_every == 0:
                refused = _save(store, run, best=best)
                failed_saves = failed_saves + 1 if fabric.broadcast(refused is not None) else 0
                if failed_saves and (last or result.stop or failed_saves == MOST_FAILED_SAVES):
                    _end(fabric)
                    assert refused is not None, "the other processes have ended"
                    raise refused
                if refused is not None and log:
                    run.best_error = math.inf if best else run.best_error  # so that a best one is kept yet
                    log.warn(
                        f"{refused}; training goes on, and saving is tried again every {config.checkpoint_every} steps"
                    )
            if result.stop and not last:
                _end(fabric)
                raise Stopped(result.stop)
            waited_since = time.perf_counter()
    return run


def _begin(
    fabric: Fabric,
    config: TrainConfig,
    make_network: Callable[[], FlowNetwork],
    checkpoint: Checkpoint | None,
    *,
    compile: bool,
) -> tuple[Run, torch.nn.Module]:
    """The run as the checkpoint left it, or at its start, and what Fabric has made of its network."""
    torch.manual_seed(config.seed)
    network = make_network() if checkpoint is None else FlowNetwork(config.network)
    if compile:
        network.compile_parts()
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    settings = config.optimizer
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    wrapped, optimizer = fabric.setup(network, optimizer)
    schedule = one_cycle(optimizer, settings, config.steps)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    run = Run(network, optimizer, schedule, RunningMean(network.state_dict(), settings.ema_decay), scaler=scaler)
    if checkpoint is not None:
        run.restore(checkpoint.weights, checkpoint.state)
    return run, wrapped


def _save(store: CheckpointStore | None, run: Run, *, best: bool) -> MachineError | None:
    """Saves the run where there is a store; returns why the disk has refused."""
    try:
        if store:
            store.save(run.step, run.network.state_dict(), run.state(), best=best)
    except MachineError as error:
        return error
    return None


def _end(fabric: Fabric) -> None:
    """Ends all processes but the first, quietly and once it has saved: the first one says why, by its exit code."""
    fabric.barrier()
    if not fabric.is_global_zero:
        sys.exit(0)


def _validate(
    fabric: Fabric, run: Run, config: TrainConfig, sets: Mapping[str, Dataset[FlowSample]], log: RunLog | None
) -> bool:
    """Measures the running mean of the weights on the validation sets; True where it is the best so far.

    The first set decides, by the worst of its numbers of refinements: what diverges is not good.
    """
    trained = {name: value.clone() for name, value in run.network.state_dict().items()}
    for value in run.mean.weights.values() if fabric.world_size > 1 else ():
        torch.distributed.broadcast(
            value, 0
        )  # batch norm's statistics are each process's own; the first one's are kept
    run.network.load_state_dict(run.mean.weights)
    iterations, shares = config.validation.iterations, fabric.world_size
    for name, data in sets.items():
        mine = pair_errors(run.network, data, iterations, fabric.device, share=fabric.global_rank, shares=shares)
        means = fabric.all_reduce(mine, reduce_op="sum").nanmean(dim=0)  # pyright: ignore[reportAttributeAccessIssue]
        run.validation[name] = dict(zip(iterations, means.tolist(), strict=True))
    if log:
        log.validation(run.step, run.validation)
        name, data = next(iter(sets.items()))
        log.picture(run.step, name, data[0], run.network, iterations[-1])
    run.network.load_state_dict(trained)
    error = max(next(iter(run.validation.values())).values())
    if not error < run.best_error:  # nor where it is NaN
        return False
    run.best_error = error
    return True


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """An error of the first process ends those it has started: they would wait for it until they time out.

    An error of another process ends the first one by Fabric's observer, which watches `procs`.
    """
    try:
        yield
    except Stopped:  # they have ended
        raise
    except BaseException:
        processes = getattr(fabric.strategy.launcher, "procs", [])
        started = [*processes]
        processes.clear()  # before the observer sees them killed, and kills this one before it can say why
        for process in started:
            process.kill()
        raise


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

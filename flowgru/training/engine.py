"""One training run, from its configuration to its weights.

Everything random is a function of (seed, step), and the store holds weights, optimizer, schedule, moving average and step,
so a run that was stopped at any moment goes on as if it had not been: on a CPU to the same bits, on a GPU up to rounding,
because cuDNN chooses its algorithms anew, and some of them add gradients in any order.

A run may be shared by several processes. Each takes its share of every batch; the gradients' mean, the loss and a wish to
stop are agreed in every step, so all of them always take the same way. Only the first one reads and writes files.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import torch
from torch.utils.data import Dataset

from flowgru.config import TrainConfig
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.data.synthetic.batched.batch import DrawnPairs
from flowgru.errors import RequestError
from flowgru.evaluation.validation import pair_errors
from flowgru.layers.arithmetic import arithmetic
from flowgru.model.compiled import compile_for_training
from flowgru.model.flow_network import FlowNetwork
from flowgru.processes.signals import Stopped, agreed_signal, as_counts, stop_signals
from flowgru.training.checkpoints.content import require_content
from flowgru.training.checkpoints.saving import BestModel, Saving
from flowgru.training.checkpoints.store import Checkpoint, CheckpointStore
from flowgru.training.feeding.loader import batches
from flowgru.training.feeding.pairs import FROM_DIS, lists_of_pairs
from flowgru.training.feeding.sampler import FlowBatch, painted
from flowgru.training.losses import compiled_loss, loss_of
from flowgru.training.objective import gradient_graphs
from flowgru.training.ranks import Fabric, end_others
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import SCHEDULES, ExponentialMovingAverage, Run, make_optimizer
from flowgru.training.step import Reports, training_step
from flowgru.training.time_limit import ENDLESS, TimeLimit, limited


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
    cuda_graph: bool = True,
    origin: dict[str, Any] | None = None,
    limit: TimeLimit | None = None,
    best: BestModel | None = None,
) -> Run:
    """Trains from `checkpoint`, or without one from make_network(), to config.steps, or to what `limit` allows.

    The processes of `fabric` are launched already, inside `together`; store, log and checkpoint are those of the first
    one and None in the others. `origin` says where make_network's weights come from, and stays with the run.
    `limit`, for a new run, chooses the steps. `best` is offered the weights' average whenever it is better on the validation
    sets than before. Raises Stopped, after saving, on STOP_SIGNALS, Diverged where nothing
    finite comes out any more, and MachineError where the disk refuses every checkpoint.
    """

    def load() -> Generator[FlowBatch]:
        paints, on_cuda = isinstance(training_data, DrawnPairs), fabric.device.type == "cuda"
        found = batches(
            training_data,
            config,
            run.step,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            pin_memory=on_cuda and (paints or config.generate_on == "cpu"),
        )
        if not paints:
            return cast(Generator[FlowBatch], found)
        return painted(found, fabric.device, num_threads=config.workers, started=config.starts.zero < 1)

    if limit is not None:
        config = replace(config, steps=ENDLESS)
    run, wrapped = begin_run(
        fabric, config, make_network, fabric.broadcast(checkpoint), compile=compile, cuda_graph=cuda_graph
    )
    if checkpoint is None:
        run.origin = origin or {}
    if config.validation.sets[0] in run.changed_lists:  # by which the best weights are chosen
        run.best_error = math.inf
        if best is not None:
            best.forget()
    if limit is not None:
        config = limited(limit, fabric, wrapped, run, config, load, validation_data, store)
    if log:
        log.begin(
            run.step,
            config.steps,
            passed_over=store.skipped if store else [],
            validation_due=run.validation_due,
            resumed_by=run.resumed_by,
            sums=checkpoint.state.get("log") if checkpoint else None,
        )
        if run.changed_rate is not None:
            log.console.print(run.changed_rate)
        for name in run.changed_lists:
            errors = ", and its errors do not compare with those of before" * (name in config.validation.sets)
            log.warn(f"{name} has changed since: the run goes on with it as it is now{errors}")
    reports = Reports(fabric, log)
    saving = Saving(fabric, store, log, config.checkpoint_every, best)
    with closing(load()) as loader, stop_signals() as asked_to_stop, arithmetic(fabric.device):
        if run.validation_due:
            stop = validate_run(fabric, run, config, validation_data, log, asked_to_stop)
            _save_and_stop(fabric, saving, run, stop, must=True)
        waited_since = time.perf_counter()
        for batch in loader:
            wait = time.perf_counter() - waited_since
            rate = float(run.schedule.get_last_lr()[0])
            step = training_step(fabric, wrapped, run, config, batch, asked_to_stop)
            run.step += 1
            last = run.step == config.steps
            run.is_best, run.validation_due = False, last or run.step % config.validation.every == 0
            due = run.validation_due
            saves = due or run.step % config.checkpoint_every == 0
            stop = reports.add(run.step, step, learning_rate=rate, wait=wait, began=waited_since, at_once=saves)
            run.seconds += time.perf_counter() - waited_since
            if due and not stop:
                stop = validate_run(fabric, run, config, validation_data, log, asked_to_stop)
            if saves or stop:
                _save_and_stop(fabric, saving, run, stop, must=last)
            waited_since = time.perf_counter()
    return run


def _save_and_stop(fabric: Fabric, saving: Saving, run: Run, stop: int | None, *, must: bool) -> None:
    """Saves the run; raises Stopped where it is asked to `stop` before it is done."""
    saving.save(run, best=run.is_best, must=must or stop is not None)
    if stop is not None:
        end_others(fabric)
        raise Stopped(stop)


def begin_run(
    fabric: Fabric,
    config: TrainConfig,
    make_network: Callable[[], FlowNetwork],
    checkpoint: Checkpoint | None,
    *,
    compile: bool,
    cuda_graph: bool = True,
) -> tuple[Run, torch.nn.Module]:
    """The run as the checkpoint left it, or at its start, and what Fabric has made of its network."""
    torch.manual_seed(config.seed)
    network = make_network() if checkpoint is None else FlowNetwork(config.network)
    if (
        config.coarse_loss
        and fabric.world_size > 1
        and any("running_mean" in name for name, _ in network.named_buffers())
    ):
        # What one process has of batch norm is copied to the others before each pass, and two passes need it as it was.
        raise RequestError(
            f"coarse_loss is {config.coarse_loss} with {fabric.world_size} processes and batch norm: expected 0, one "
            "process or another preset"
        )
    if compile:
        compile_for_training(network)
    if config.channels_last:
        cast(Any, network).to(memory_format=torch.channels_last)  # torch 2.11's types lack memory_format
    if config.part == "confidence":
        network.requires_grad_(False)
        assert network.mixture_head is not None, "the loss `mixture` has one"
        network.mixture_head.requires_grad_(True)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    settings = config.optimizer
    wrapped, optimizer = fabric.setup(network, make_optimizer(trained, config, fabric.device))
    schedule = SCHEDULES[settings.schedule](optimizer, settings, config.steps)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    average = ExponentialMovingAverage(network.state_dict(), settings.ema_decay)
    machine = {"processes": fabric.world_size, "device": fabric.device.type}
    graphs = gradient_graphs(fabric, network, config) if cuda_graph and not compile else None
    loss = compiled_loss() if compile else loss_of
    told = {"scaler": scaler, "machine": machine, "lists": lists_of_pairs(config)}
    run = Run(network, optimizer, schedule, average, **told, graphs=graphs, loss=loss)
    if checkpoint is not None:
        require_content(run, checkpoint, config.steps)
        run.restore(checkpoint.weights, checkpoint.state)
    return run, wrapped


def validate_run(
    fabric: Fabric,
    run: Run,
    config: TrainConfig,
    sets: Mapping[str, Dataset[FlowSample]],
    log: RunLog | None,
    asked_to_stop: Sequence[int],
) -> int | None:
    """Measures the moving average of the weights on the validation sets; run.is_best where it is the best so far.

    The first set decides, by the worst of its numbers of refinements: what diverges is not good. Returns the signal by
    which any process is asked to stop meanwhile; the validation then stays due.
    """
    trained = {name: value.clone() for name, value in run.network.state_dict().items()}
    for value in (
        run.average.weights.values() if fabric.world_size > 1 else ()
    ):  # batch norm's statistics differ in each
        torch.distributed.broadcast(value, 0)
    run.network.load_state_dict(run.average.weights)
    iterations, world_size = config.validation.iterations, fabric.world_size
    for name, data in sets.items():
        mine = pair_errors(
            run.network,
            data,
            iterations,
            fabric.device,
            padding=padding_mode(name.removesuffix(FROM_DIS)),
            rank=fabric.global_rank,
            world_size=world_size,
            asked_to_stop=asked_to_stop,
        )
        counts = fabric.all_reduce(as_counts(asked_to_stop, fabric.device), reduce_op="sum")
        if stop := agreed_signal(counts.tolist()):
            run.network.load_state_dict(trained)
            return stop
        means = fabric.all_reduce(mine, reduce_op="sum").nanmean(dim=0)
        run.validation[name] = dict(zip(iterations, means.tolist(), strict=True))
    if log:
        log.validation(run.step, run.validation)
        name, data = next(iter(sets.items()))
        log.picture(run.step, name, data[0], run.network, iterations[-1], getattr(data, "hold", 0))
    run.network.load_state_dict(trained)
    run.validation_due = False
    error = max(next(iter(run.validation.values())).values())
    run.is_best = error < run.best_error  # not where it is NaN
    if run.is_best:
        run.best_error = error
    return None

"""A whole training run, from a configuration to a model file; the same call starts it and goes on with it."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from flowgru.config import TrainConfig
from flowgru.console import lines_over_bar, warn
from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError, counted
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.card import origin_of
from flowgru.model.weight_files.loading import device_of_option, load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.model.weight_files.transfer import other_settings, transfer
from flowgru.processes.fabric import connect
from flowgru.training.checkpoints.resuming import (
    checkpoint_of,
    ends_otherwise,
    made_longer,
    named_checkpoint,
    noted_settings,
    noted_steps,
    refuse_foreign_folder,
    require_same_config,
)
from flowgru.training.checkpoints.saving import BestModel
from flowgru.training.checkpoints.store import WEIGHTS, Checkpoint, CheckpointStore, require_space
from flowgru.training.engine import train_network
from flowgru.training.feeding.pairs import described, training_pairs, validation_pairs
from flowgru.training.provenance import card_of
from flowgru.training.ranks import together
from flowgru.training.run_log import RunLog
from flowgru.training.run_state import Run
from flowgru.training.time_limit import TimeLimit

PRECISIONS = {"32": "float32", "bf16": "bfloat16, mixed", "16": "float16, mixed"}
"""What the arithmetic of a precision is called, by the setting `precision`."""

BEST = "best.safetensors"
"""The model file of the moving average that was best on the validation sets so far; WEIGHTS is that of the last step."""


def train(
    config: TrainConfig,
    output: str,
    resume: str = "auto",
    device: str = "auto",
    devices: int = 1,
    compile: bool = False,
    cuda_graph: bool = True,
    minutes: float | None = None,
    began: float | None = None,
) -> None:
    """Trains a network and writes it with its card; the settings are those of the command, flowgru.commands.train.

    minutes: how long a new run may take from `began` on, by time.monotonic(); the number of its steps follows from that.
    RequestError where they make no sense, before the folder is made; see train_network for what may happen later.
    """
    began = time.monotonic() if began is None else began
    with torch.device("meta"):  # an operator that cannot be made is refused before the folder is
        weights = FlowNetwork(config.network).state_dict().values()
    fabric = connect(device_of_option(device), devices, config.precision)
    require_whole_parts(config, fabric.world_size)
    folder, num_before = Path(output), None
    resume = _place_of(resume, folder)
    is_named = resume not in ("auto", "never")
    if is_named and not os.path.isdir(resume):
        present = ", ".join(path.name for path in CheckpointStore(folder).checkpoints()) or "none"
        raise RequestError(
            f"--resume is {resume!r}, which is no folder: expected auto, never, or the folder of a checkpoint; in {folder} "
            f"there is {present}"
        )
    if fabric.is_global_zero:
        refuse_foreign_folder(folder)
        begun_in = Path(resume).parent if is_named else folder
        num_before = noted_steps(begun_in)
        if minutes is not None and num_before is not None:
            config, minutes = replace(config, steps=num_before), None
        require_space(folder, sum(value.numel() * value.element_size() for value in weights), config.keep_checkpoints)
    training_data = training_pairs(config)
    validation_data = validation_pairs(config)

    # What is wrong with the request is said before the folder is made.
    named = named_checkpoint(Path(resume), config) if is_named and fabric.is_global_zero else None
    begins = not is_named and not CheckpointStore(folder).checkpoints()
    source = load_model(config.init_from, device="cpu") if begins and config.init_from is not None else None
    origin = None
    if source is not None and config.init_from is not None:
        origin = origin_of(config.init_from, source.card, config.network)
    with ExitStack() as stack:
        store = log = checkpoint = None
        if fabric.is_global_zero:
            _warn_of_single_uses(config, fabric.world_size)
            if minutes is None:
                _warn_of_falling_rate(config)
            store = stack.enter_context(CheckpointStore(folder, keep=config.keep_checkpoints))
            checkpoint = _begun(store, config, folder, resume, named, limited=minutes is not None)
            if checkpoint is not None and store.best() is None:
                checkpoint.state["best_error"] = math.inf  # what was the best is in another folder
            console, show = stack.enter_context(lines_over_bar(config.steps if minutes is None else None))
            log = RunLog(folder, config.log_every, console, show)
            stack.callback(log.close)
            num_weights = sum(value.numel() for value in weights)
            machine = fabric.world_size, fabric.device.type
            for line in _plan(
                config, machine, num_weights, training_data, validation_data, folder, minutes, checkpoint
            ):
                console.print(line)
            if checkpoint is not None and num_before not in (None, config.steps):
                console.print(made_longer(num_before, config))
            if (
                checkpoint is not None
                and checkpoint.step >= config.steps
                and not checkpoint.state.get("validation_due")
            ):
                console.print(
                    f"the run is finished, at step {checkpoint.step}: only its model file is written again; more --steps "
                    "make it longer, and --minutes is for a new run"
                )
        stack.enter_context(together(fabric))
        fabric.launch()
        config, minutes = fabric.broadcast((config, minutes))

        def chosen(with_steps: TrainConfig, seconds: float) -> None:
            if store and log:
                store.write_config(_as_text(with_steps))
                _warn_of_falling_rate(with_steps)
                log.console.print(
                    f"{counted(with_steps.steps, 'step')} fit, and are expected to take {seconds / 60:.3g} minutes"
                )

        how = ["--device", device] if device != "auto" else []
        how += ["--devices", str(fabric.world_size)] if fabric.world_size > 1 else []
        how += ["--compile"] if compile else []

        def write_average(run: Run, path: Path) -> None:
            card = card_of(replace(config, steps=run.step), run, folder, how)
            write_model_file(path, run.average.weights, card, overwrite=True)

        run = train_network(
            fabric,
            config,
            store,
            log,
            lambda: new_network(config, source, announce=fabric.is_global_zero),
            training_data,
            validation_data,
            checkpoint=checkpoint,
            compile=compile,
            cuda_graph=cuda_graph,
            origin=origin,
            limit=None if minutes is None else TimeLimit(began, minutes, chosen),
            best=BestModel(folder / BEST, write_average),
        )
        if not log:
            return
        write_average(run, folder / WEIGHTS)
        log.console.print(f"wrote {folder / WEIGHTS}")


def _plan(
    config: TrainConfig,
    machine: tuple[int, str],
    num_weights: int,
    training_data: Dataset[FlowSample],
    validation_data: Mapping[str, Dataset[FlowSample]],
    folder: Path,
    minutes: float | None,
    checkpoint: Checkpoint | None,
) -> Iterator[str]:
    """What a run is about to do, line by line; `machine` is the number of its processes and their kind of device."""
    network, (num_processes, device) = config.network, machine
    until = f"to step {config.steps}" if minutes is None else f"for {minutes:g} minutes"
    where = f"{num_processes} process{'es' * (num_processes > 1)} on {device}, in {PRECISIONS[config.precision]}"
    yield f"training {network.preset} with {network.operator}, {num_weights / 1e6:.2f} M weights, {until}: {where}"
    how = f"{config.batch_size} a step, {counted(config.iterations, 'refinement')} with gradient"
    yield f"  pairs        {described(training_data)}; {how}"
    sets = [
        f"{name}, {counted(len(pairs), 'pair')}"  # pyright: ignore[reportArgumentType]
        for name, pairs in validation_data.items()
    ]
    yield f"  measured on  {'; '.join(sets)}; every {counted(config.validation.every, 'step')}"
    begins = f"after step {checkpoint.step}" if checkpoint else f"from {config.init_from or 'random weights'}"
    yield f"  output       {folder}, a checkpoint every {counted(config.checkpoint_every, 'step')}; begins {begins}"


def _place_of(resume: str, folder: Path) -> str:
    """--resume, where it is the bare name of a checkpoint in the output folder with that folder before it."""
    bare = resume == Path(resume).name and not os.path.exists(resume)
    return str(folder / resume) if bare and os.path.isdir(folder / resume) else resume


def require_whole_parts(config: TrainConfig, num_processes: int) -> None:
    """RequestError where the pairs of a step cannot be shared equally among processes and parts of the gradient."""
    parts = num_processes * config.gradient_accumulation_steps * config.pairs_in_clip
    if config.batch_size % parts:
        clips = f" and clips of {config.data.clip_frames} frames" if config.pairs_in_clip > 1 else ""
        raise RequestError(
            f"batch_size is {config.batch_size}: it must be a multiple of {parts}, for {num_processes} processes with "
            f"gradient_accumulation_steps {config.gradient_accumulation_steps}{clips}"
        )


def _warn_of_falling_rate(config: TrainConfig) -> None:
    """Says where the learning rate never reaches its peak, because it falls for longer than the run lasts."""
    if config.optimizer.decay_steps > config.steps:
        warn(
            f"optimizer.decay_steps is {config.optimizer.decay_steps} and the run has {counted(config.steps, 'step')}: the "
            "learning rate falls from the first one on, and never reaches optimizer.learning_rate"
        )


def _warn_of_single_uses(config: TrainConfig, num_processes: int) -> None:
    """Says where several workers, each for itself, make a pair that is to be used several times."""
    share = config.batch_size // num_processes
    if share % config.uses and (num_processes > 1 or config.workers > 1):  # a single worker remembers its last pair
        warn(
            f"uses is {config.uses}, and a process takes {counted(share, 'pair')} of a batch: several workers make the same "
            f"pair; give a batch_size of which the share of each process is a multiple of {config.uses}"
        )


def _begun(
    store: CheckpointStore, config: TrainConfig, folder: Path, resume: str, named: Checkpoint | None, *, limited: bool
) -> Checkpoint | None:
    """Where the run goes on from, None where it begins; its configuration is noted in its folder, once its steps are known.

    RequestError where the folder holds another run.
    """
    advice = "name another --output"
    noted = noted_settings(folder, advice)
    if noted is not None:
        weights = folder / WEIGHTS
        begin = f" and begin from its weights with --init-from {weights}" if weights.exists() else ""
        require_same_config(noted, config, folder, f"name another --output{begin}", may_be_longer=True)
    checkpoint = checkpoint_of(store, resume, named)
    if limited:
        if checkpoint is not None:
            raise RequestError(f"{folder} has checkpoints and no config.yaml: --minutes cannot know their run's steps")
        return None
    step = 0 if checkpoint is None else checkpoint.step
    if noted is None or ends_otherwise(noted, config, step, folder):
        store.write_config(_as_text(config))
    return checkpoint


def _as_text(config: TrainConfig) -> str:
    return json.dumps(asdict(config), indent=1)


def new_network(config: TrainConfig, source: FlowNetwork | None, *, announce: bool) -> FlowNetwork:
    """The network before its first step: random, or with the weights of `source`, which is init_from, where they fit."""
    network = FlowNetwork(config.network)
    if source is not None:
        left = transfer(source, network)
        frozen = [name for name in left if config.part == "confidence" and not name.startswith("mixture_head.")]
        if frozen:
            raise RequestError(
                f"{config.init_from} lacks {frozen[0]} and {len(frozen) - 1} more weights of this network, which part "
                "confidence does not train: give the network's settings as its card has them"
            )
        if announce and (other := other_settings(source.config, config.network)):
            warn(f"{config.init_from}: {other}")
        if left and announce:
            print(f"not in {config.init_from}, and left at random: {', '.join(left)}", flush=True)
    return network

"""`flowgru train`: from a configuration to a model file; the same command starts a run and goes on with it."""

import json
import subprocess
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flowgru.config import TrainConfig
from flowgru.errors import RequestError

if TYPE_CHECKING:
    from flowgru.model.flow_network import FlowNetwork
    from flowgru.training.checkpoints import Checkpoint, CheckpointStore

HOW_IT_RUNS = {"workers", "log_every", "checkpoint_every", "keep_checkpoints", "root"}
"""Settings that change nothing in the weights, and so may change while a run goes on."""

SCHEDULE = "optimizer.schedule"
HOW_IT_ENDS = {"steps", "optimizer.decay_steps"}
"""Settings that change nothing in the weights before the end of a run at a constant rate, and so may change meanwhile."""


def train(
    config: TrainConfig,
    output: str,
    resume: str = "auto",
    device: str = "auto",
    devices: int = 1,
    compile: bool = False,
) -> None:
    """Trains a network; called again with the same configuration it goes on where it stopped.

    output: Folder that receives checkpoints while it runs, log.jsonl, and model.safetensors at the end; one that holds
        a run of another configuration is refused.
    resume: auto goes on from the newest whole checkpoint in the folder, or begins; never begins, and refuses a folder
        with checkpoints; anything else is the folder of one checkpoint, step-00001000, of a run of the same
        configuration, to go on from.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    devices: GPUs, or processes on a CPU, that share each batch; under torchrun, torchrun's processes do.
    compile: Let torch.compile make the network's parts faster; the first steps then take minutes.
    """
    import torch

    from flowgru.console import lines_over_bar
    from flowgru.data.training_sets import training_pairs, validation_pairs
    from flowgru.model.flow_network import FlowNetwork
    from flowgru.model.weight_files.loading import choose_device, load_model
    from flowgru.model.weight_files.model_file import write_model_file
    from flowgru.tasks.provenance import licence, origin_of, trained_on
    from flowgru.training.checkpoints import CheckpointStore, require_space
    from flowgru.training.engine import connect, train_network
    from flowgru.training.ranks import together
    from flowgru.training.run_log import RunLog

    with torch.device("meta"):  # an operator that cannot be made is refused before the folder is
        weights = FlowNetwork(config.network).state_dict().values()
    fabric = connect(choose_device(None if device == "auto" else device), devices, config.precision)
    parts = fabric.world_size * config.accumulate
    if config.batch_size % parts:
        raise RequestError(
            f"batch_size is {config.batch_size}: it must be a multiple of {parts}, for {fabric.world_size} processes with "
            f"accumulate {config.accumulate}"
        )
    folder = Path(output)
    if fabric.is_global_zero:
        require_space(folder, sum(value.numel() * value.element_size() for value in weights), config.keep_checkpoints)
    training_data = training_pairs(config)
    validation_data = validation_pairs(config)

    # What is wrong with the request is said before the folder is made.
    named = None if resume in ("auto", "never") else _named_checkpoint(Path(resume), config)
    begins = named is None and not CheckpointStore(folder).checkpoints()
    source = load_model(config.init_from, device="cpu") if begins and config.init_from is not None else None
    origin = origin_of(config.init_from, source.card) if source is not None and config.init_from is not None else None
    with ExitStack() as stack:
        store = log = checkpoint = None
        if fabric.is_global_zero:
            store = stack.enter_context(CheckpointStore(folder, keep=config.keep_checkpoints))
            noted = store.read_config()
            if noted is None:
                store.write_config(json.dumps(asdict(config), indent=1))
            else:
                _same_config(noted, config, folder, "name another --output")
            checkpoint = _checkpoint(store, resume, named)
            console, show = stack.enter_context(lines_over_bar(config.steps))
            log = RunLog(folder, config.log_every, console, show)
            stack.callback(log.close)
        stack.enter_context(together(fabric))
        fabric.launch()
        run = train_network(
            fabric,
            config,
            store,
            log,
            lambda: _new_network(config, source, announce=fabric.is_global_zero),
            training_data,
            validation_data,
            checkpoint=checkpoint,
            compile=compile,
            origin=origin,
        )
        if not log:
            return
        held_back = {name: {str(n): round(e, 3) for n, e in errors.items()} for name, errors in run.validation.items()}
        first = next(iter(run.validation.values()))
        how = f" --devices {fabric.world_size}" * (fabric.world_size > 1) + " --compile" * compile
        card = {
            "network": asdict(config.network),
            "iterations": min(first, key=first.__getitem__),
            "held_back_epe": held_back,
            "data": ", ".join(trained_on(config)),
            "init_from": run.origin or None,
            "config": asdict(config),
            "steps": run.step,
            "seed": config.seed,
            "hours": round(run.seconds / 3600, 3),
            "command": f"flowgru train --config {folder / 'config.yaml'} --output {folder}{how}",
            "commit": _commit(),
            "date": time.strftime("%Y-%m-%d"),
            "license": licence(config, run.origin),
        }
        write_model_file(folder / "model.safetensors", run.mean.weights, card, overwrite=True)
        log.console.print(f"wrote {folder / 'model.safetensors'}")


def _new_network(config: TrainConfig, source: "FlowNetwork | None", *, announce: bool) -> "FlowNetwork":
    """The network before its first step: random, or with the weights of `source`, which is init_from, where they fit."""
    from flowgru.model.flow_network import FlowNetwork
    from flowgru.model.weight_files.transfer import transfer

    network = FlowNetwork(config.network)
    if source is not None:
        left = transfer(source, network)
        if left and announce:
            print(f"not in {config.init_from}, and left at random: {', '.join(left)}", flush=True)
    return network


def _named_checkpoint(path: Path, config: TrainConfig) -> "Checkpoint":
    """The checkpoint of --resume PATH: its schedule and optimizer fit this run only if its run was configured alike."""
    from flowgru.training.checkpoints import CONFIG, CheckpointStore, load_checkpoint

    checkpoint = load_checkpoint(path)
    noted = CheckpointStore(path.parent).read_config()
    if noted is None:
        raise RequestError(f"{path.parent / CONFIG} is missing: --resume goes on from a checkpoint in its run's folder")
    _same_config(noted, config, path.parent, "begin from a model file's weights by --init-from instead")
    return checkpoint


def _checkpoint(store: "CheckpointStore", resume: str, named: "Checkpoint | None") -> "Checkpoint | None":
    """Where the run goes on from; None where it begins."""
    from flowgru.training.checkpoints import step_of

    if resume == "auto":
        return store.load_newest()
    present = store.checkpoints()
    if resume == "never":
        if present:
            raise RequestError(f"{store.directory} holds {len(present)} checkpoints: name another --output")
        return None
    assert named is not None
    newer = [path for path in present if step_of(path) > named.step]
    if newer:
        raise RequestError(
            f"{store.directory} holds {newer[0].name}, newer than {resume}: name another --output, or remove what is newer"
        )
    return named


def _same_config(noted: str, config: TrainConfig, folder: Path, advice: str) -> None:
    """Refuses to go on with a run of another configuration than the one noted in its folder."""
    try:
        old = _leaves_of(TrainConfig()) | _flat(json.loads(noted))  # a setting that came later had its default
    except (ValueError, AttributeError):
        raise RequestError(f"the configuration noted in {folder} is damaged: {advice}") from None
    new = _leaves_of(config)
    open_ended = old.get(SCHEDULE) == new.get(SCHEDULE) == "constant"
    names = sorted((old.keys() | new.keys()) - HOW_IT_RUNS - (HOW_IT_ENDS if open_ended else set()))
    differing = [name for name in names if old.get(name) != new.get(name)]
    if not differing:
        return
    shown = ", ".join(f"{name} was {old.get(name)} and is {new.get(name)}" for name in differing[:5])
    raise RequestError(f"{folder} holds a run of another configuration ({shown}): {advice}")


def _leaves_of(config: TrainConfig) -> dict:
    return _flat(json.loads(json.dumps(asdict(config))))


def _flat(tree: dict, prefix: str = "") -> dict:
    leaves = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def _commit() -> str:
    """The commit of the code that runs; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

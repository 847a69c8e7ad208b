"""Which checkpoint a run goes on from, and whether it is the same run."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowgru.config import TrainConfig
from flowgru.config.flatten import completed, flatten
from flowgru.config.renamed import NamesOfToday
from flowgru.config.training import UNUSED
from flowgru.errors import RequestError, counted, value_text
from flowgru.files.json_text import parse_json
from flowgru.files.own_folders import refuse_foreign
from flowgru.training.board import BOARD
from flowgru.training.checkpoints.store import CONFIG, LOCK, Checkpoint, CheckpointStore, load_checkpoint, step_of
from flowgru.training.run_log import LOG

BEFORE_CONFIG = (LOCK, LOG, BOARD, "step-*", ".tmp-step-*")
"""What a run may have written before its configuration is noted, which is when its number of steps is known."""

JOB_OUTPUT = "output.txt"
"""What a run as a job of a comparison prints, in the run's folder; the file is there before the run begins."""

HOW_IT_RUNS = {"workers", "log_every", "checkpoint_every", "keep_checkpoints", "root"}
"""Settings that change nothing in the weights, and so may change while a run goes on."""

SCHEDULE = "optimizer.schedule"
HOW_IT_ENDS = {"steps", "optimizer.decay_steps"}
"""Settings that change nothing in the weights before the end of a run at a constant rate, and so may change meanwhile."""


def refuse_foreign_folder(folder: Path) -> None:
    """RequestError where a folder that is not empty is not the folder of a training run."""
    store = CheckpointStore(folder)
    begun = (folder / LOCK).exists() or bool(store.checkpoints())
    refuse_foreign(folder, "a run", CONFIG, (JOB_OUTPUT, *(BEFORE_CONFIG if begun else ())))
    noted = store.read_config()
    if noted is None or store.checkpoints():
        return
    try:
        own = {"network", "steps"} <= parse_json(noted).keys()
    except (ValueError, AttributeError):
        own = False
    if not own:
        raise RequestError(
            f"{folder} holds a {CONFIG} that no run has written: it is not the folder of a run, name another --output"
        )


def named_checkpoint(path: Path, config: TrainConfig) -> Checkpoint:
    """The checkpoint of --resume PATH: its schedule and optimizer fit this run only if its run was configured alike."""
    checkpoint = load_checkpoint(path)
    advice = "begin from a model file's weights by --init-from instead"
    noted = noted_settings(path.parent, advice)
    if noted is None:
        raise RequestError(f"{path.parent / CONFIG} is missing: --resume goes on from a checkpoint in its run's folder")
    require_same_config(noted, config, path.parent, advice, may_be_longer=True)
    return checkpoint


def checkpoint_of(store: CheckpointStore, resume: str, named: Checkpoint | None) -> Checkpoint | None:
    """Where the run goes on from; None where it begins."""
    if resume == "auto":
        return store.load_newest()
    present = store.checkpoints()
    if resume == "never":
        if present:
            raise RequestError(f"{store.directory} holds {counted(len(present), 'checkpoint')}: name another --output")
        return None
    assert named is not None
    newer = [path for path in present if step_of(path) > named.step]
    if newer:
        raise RequestError(
            f"{store.directory} holds {newer[0].name}, newer than {resume}: name another --output, or remove what is newer"
        )
    return named


def noted_steps(folder: Path) -> int | None:
    """The number of steps of the run in the folder; None where none has begun. RequestError where it cannot be read."""
    noted = CheckpointStore(folder).read_config()
    try:
        return None if noted is None else int(parse_json(noted)["steps"])
    except (ValueError, TypeError, KeyError):
        raise RequestError(f"the configuration noted in {folder} is damaged: name another --output") from None


def noted_settings(folder: Path, advice: str) -> dict[str, Any] | None:
    """The settings noted in the folder of a run, by their dotted names of today; one that came later as `completed` says.

    None where no run has begun. RequestError, with the advice, where they cannot be read.
    """
    noted = CheckpointStore(folder).read_config()
    try:
        with NamesOfToday(str(folder / CONFIG)) as names:
            return None if noted is None else flatten(completed(names.settings(parse_json(noted)), TrainConfig))
    except (ValueError, AttributeError):
        raise RequestError(f"the configuration noted in {folder} is damaged: {advice}") from None


def require_same_config(
    old: Mapping[str, Any], config: TrainConfig, folder: Path, advice: str, *, may_be_longer: bool = False
) -> None:
    """Refuses to go on with a run of another configuration than the one noted in its folder.

    may_be_longer: it may have more steps than it had.
    """
    new = _leaves_of(config)
    open_ended = old.get(SCHEDULE) == new.get(SCHEDULE) == "constant"
    longer = may_be_longer and isinstance(old.get("steps"), int) and config.steps > old["steps"]
    may_differ = HOW_IT_ENDS if open_ended else {"steps"} if longer else set()
    unused = {f"optimizer.{name}" for name in UNUSED[config.optimizer.schedule]}
    names = sorted((old.keys() | new.keys()) - HOW_IT_RUNS - may_differ - unused)
    differing = [name for name in names if old.get(name) != new.get(name)]
    if not differing:
        return
    if differing == ["steps"] and may_be_longer:
        advice = f"give --steps {old['steps']} or more, or {advice}"
    shown = "; ".join(
        f"{name} was {value_text(old.get(name))} and is {value_text(new.get(name))}" for name in differing[:5]
    )
    raise RequestError(f"{folder} holds a run of another configuration ({shown}): {advice}")


def ends_otherwise(old: Mapping[str, Any], config: TrainConfig, step: int, folder: Path) -> bool:
    """Whether a run that has come to `step` is to end otherwise than noted in its folder.

    RequestError where it cannot: where it would end earlier than its steps allow, or a run at a constant rate ends no later
    than noted although its rate falls already.
    """
    new = _leaves_of(config)
    if all(old.get(name) == new[name] for name in HOW_IT_ENDS):
        return False
    decay = config.optimizer.decay_steps
    falls = step > old["steps"] - old["optimizer.decay_steps"]
    if new[SCHEDULE] == "constant" and config.steps <= old["steps"] and falls:
        raise RequestError(
            f"{folder} is at step {step}, in its last {old['optimizer.decay_steps']} steps: its end cannot be changed any "
            f"more, leave it at --steps {old['steps']} or give more"
        )
    if config.steps < step + max(decay, 1):
        raise RequestError(
            f"steps is {config.steps} with optimizer.decay_steps {decay}, and {folder} is at step {step} already: give "
            f"--steps {step + max(decay, 1)} or more"
        )
    return True


def made_longer(num_before: int, config: TrainConfig) -> str:
    """What becomes of a run, and of its learning rate, that was to end at another step."""
    if config.optimizer.schedule == "constant":
        decay = config.optimizer.decay_steps
        rate = f"constant until it falls over the last {decay} steps" if decay else "constant to the end"
    else:
        rate = f"that of one_cycle over {config.steps} steps from here on, which is higher than it was to be"
    return (
        f"the run was to end at step {num_before} and ends at step {config.steps}: its learning rate is {rate}. The weights "
        f"will not be those of a run that was begun with {config.steps} steps"
    )


def _leaves_of(config: TrainConfig) -> dict[str, Any]:
    return flatten(json.loads(json.dumps(asdict(config))))

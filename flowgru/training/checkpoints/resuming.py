"""Which checkpoint a run goes on from, and whether it is the same run."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowgru.config import TrainConfig
from flowgru.config.flatten import flatten
from flowgru.config.renamed import NamesOfToday
from flowgru.errors import RequestError, counted, stored_text, value_text
from flowgru.files.json_text import parse_json
from flowgru.files.own_folders import refuse_foreign
from flowgru.model.weight_files.model_file import describe_mismatch
from flowgru.training.checkpoints.store import CONFIG, LOCK, Checkpoint, CheckpointStore, load_checkpoint, step_of
from flowgru.training.run_log import BOARD, LOG
from flowgru.training.run_state import Run

BEFORE_CONFIG = (LOCK, LOG, BOARD, "step-*", ".tmp-step-*")
"""What a run may have written before its configuration is noted, which is when its number of steps is known."""

JOB_OUTPUT = "output.txt"
"""What a run as a job of a comparison prints, in the run's folder; the file is there before the run begins."""

HOW_IT_RUNS = {"workers", "log_every", "checkpoint_every", "keep_checkpoints", "root"}
"""Settings that change nothing in the weights, and so may change while a run goes on."""

COUNTED = {"loss": "finite", "epe_per_image": "measured", "seconds": "steps"}
"""The sums of a log that is not written yet, and what each is divided by."""

MOVING = {
    *("last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step"),
    *("total_steps", "_schedule_phases"),
}
"""What a schedule of torch changes while it goes on, and what is another one's where the run is made longer."""

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
    """The settings noted in the folder of a run, by their dotted names of today; one that came later had its default.

    None where no run has begun. RequestError, with the advice, where they cannot be read.
    """
    noted = CheckpointStore(folder).read_config()
    try:
        with NamesOfToday(str(folder / CONFIG)) as names:
            return None if noted is None else _leaves_of(TrainConfig()) | flatten(names.settings(parse_json(noted)))
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
    names = sorted((old.keys() | new.keys()) - HOW_IT_RUNS - may_differ)
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


def require_content(run: Run, checkpoint: Checkpoint, steps: int) -> None:
    """RequestError where a field of a checkpoint is not what a run of `steps` steps needs, before anything is changed.

    Digests that fit prove no origin.
    """
    try:
        _check_weights(run, checkpoint)
        _check_state(run, checkpoint.state, steps)
        _check_optimizer(run, checkpoint.state.get("optimizer"))
        _check_schedule(run, checkpoint.state.get("schedule"), checkpoint.state["step"])
        if run.scaler is not None:
            _check_like(run.scaler.state_dict(), checkpoint.state.get("scaler"), "scaler")
    except ValueError as error:
        raise RequestError(
            f"{checkpoint.path} does not fit this run: {error}: begin anew in another --output"
        ) from None


def _check_weights(run: Run, checkpoint: Checkpoint) -> None:
    own = run.network.state_dict()
    _require(isinstance(checkpoint.state, dict), f"its state is a {type(checkpoint.state).__name__}")
    for name, weights in (("weights", checkpoint.weights), ("mean", checkpoint.state.get("mean"))):
        if not isinstance(weights, dict):
            raise ValueError(f"{name} is a {type(weights).__name__}, expected named tensors")
        tensors = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
        if mismatch := describe_mismatch(own, tensors):
            raise ValueError(f"{name}: {mismatch}")
        _check_like(own, weights, name)


def _check_state(run: Run, state: dict[str, Any], steps: int) -> None:
    """What is neither weights nor the optimizer's; what later versions have added may be missing."""
    count, number, text = 0, 0.0, ""
    _check_like({"step": count, "seconds": number}, {name: state.get(name) for name in ("step", "seconds")}, "state")
    _require(0 <= state["step"] <= steps, f"step is {state['step']}, expected 0 to {steps}")
    _require(state["seconds"] >= 0, f"seconds is {state['seconds']}, expected 0 or more")
    best = state.get("best_error")
    _require(
        isinstance(best, int | float) and not math.isnan(best), f"best_error is {stored_text(best)}, expected a number"
    )
    _require(isinstance(state.get("validation_due", False), bool), "validation_due is neither true nor false")
    _check_like({"processes": count, "device": text}, state.get("machine", run.machine), "machine")
    if origin := state.get("origin"):
        _check_like({"name": text, "license": text}, origin, "origin")
    errors = state.get("validation")
    if not isinstance(errors, dict):
        raise ValueError(f"validation is a {type(errors).__name__}, expected errors by set")
    _require(
        bool(errors) or state["step"] < steps or state.get("validation_due", False), "validation is empty at the end"
    )
    for name, by_count in errors.items():
        _require(isinstance(name, str) and isinstance(by_count, dict), "validation holds no errors by set")
        sound = all(isinstance(key, int) and isinstance(error, float) for key, error in by_count.items())
        _require(bool(by_count) and sound, f"validation of {name!r:.50} holds no errors by number of refinements")
    sums = state.get("log")
    sums = {} if sums is None else sums
    _require(isinstance(sums, dict), f"log is a {type(sums).__name__}, expected sums by name")
    with NamesOfToday("the log's sums", quiet=True) as names:
        sums = names.measures(sums)
    _check_like(dict.fromkeys(sums, number), sums, "log")
    for name, number_of in COUNTED.items():
        sound = (name in sums) == (number_of in sums) and sums.get(number_of, 1) > 0
        _require(sound, f"log lacks {name} or {number_of}")


def _check_optimizer(run: Run, state: Any) -> None:
    groups = run.optimizer.state_dict()["param_groups"]
    _check_like({"state": {}, "param_groups": groups}, state, "optimizer")
    for own, found in zip(groups, state["param_groups"], strict=True):
        _require(own["params"] == found["params"], "optimizer.param_groups names other parameters")
    trained = [value for group in run.optimizer.param_groups for value in group["params"]]
    for index, entry in state["state"].items():
        _require(isinstance(index, int) and 0 <= index < len(trained), f"optimizer.state has an entry {index!r:.50}")
        moments = {"step": torch.tensor(0.0), "exp_avg": trained[index], "exp_avg_sq": trained[index]}
        _check_like(moments, entry, f"optimizer.state.{index}")


def _check_schedule(run: Run, state: Any, step: int) -> None:
    own = run.schedule.state_dict()
    _check_like(own, state, "schedule")
    for name in own.keys() - MOVING:
        _require(state[name] == own[name], f"schedule.{name} is {state[name]!r:.50}, expected {own[name]!r:.50}")
    _require(0 <= state["last_epoch"] <= step, f"schedule.last_epoch is {state['last_epoch']} after {step} steps")


def _check_like(expected: Any, found: Any, name: str) -> None:
    """ValueError where a value is not of the kind, and a tensor not of the shape, of the one that is expected.

    A mapping may hold more than is expected, and a setting that may be left out is None, true or false.
    """
    if isinstance(expected, Tensor):
        _require(isinstance(found, Tensor), f"{name} is a {type(found).__name__}, expected a tensor")
        of_kind = f"{name} is {found.dtype} {list(found.shape)}, expected {expected.dtype} {list(expected.shape)}"
        _require((found.dtype, found.shape) == (expected.dtype, expected.shape), of_kind)
        _require(bool(found.isfinite().all()), f"{name} is not finite")
    elif isinstance(expected, dict):
        _require(isinstance(found, dict), f"{name} is a {type(found).__name__}, expected a mapping")
        for key, value in expected.items():
            _require(key in found, f"{name} lacks {key}")
            _check_like(value, found[key], f"{name}.{key}")
    elif isinstance(expected, list | tuple):
        same = isinstance(found, list | tuple) and len(found) == len(expected)
        _require(same, f"{name} is {found!r:.50}, expected {len(expected)} values")
        for number, (value, other) in enumerate(zip(expected, found, strict=True)):
            _check_like(value, other, f"{name}.{number}")
    elif expected is None or isinstance(expected, bool):
        _require(found is None or isinstance(found, bool), f"{name} is {found!r:.50}, expected true or false")
    else:
        kinds = (int, float) if isinstance(expected, float) else type(expected)
        sound = isinstance(found, kinds) and not isinstance(found, bool)
        _require(sound, f"{name} is {found!r:.50}, expected a {type(expected).__name__}")
        _require(not isinstance(found, float) or math.isfinite(found), f"{name} is {found}, expected a finite number")


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)

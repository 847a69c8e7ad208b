"""Whether a checkpoint's content is what a run needs, before anything of the run is changed."""

import math
from typing import Any

from torch import Tensor

from flowgru.config.renamed import NamesOfToday
from flowgru.config.way import resolve_way
from flowgru.errors import RequestError, stored_text
from flowgru.model.weight_files.model_file import describe_mismatch
from flowgru.training.checkpoints.store import Checkpoint
from flowgru.training.muon import moments
from flowgru.training.run_state import Run

COUNTED = {"loss": "finite", "epe_per_image": "measured", "seconds": "steps"}
"""The sums of a log that is not written yet, and what each is divided by."""

MOVING = {
    *("last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step"),
    *("total_steps", "_schedule_phases"),
}
"""What a schedule of torch changes while it goes on, and what is another one's where the run is made longer."""


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
        way = origin.get("way", {})
        _require(isinstance(way, dict), f"origin.way is {way!r:.50}, expected a mapping")
        resolve_way(way)
    lists = state.get("lists", {})
    _require(isinstance(lists, dict), f"lists is a {type(lists).__name__}, expected digests by name")
    _check_like(dict.fromkeys(lists, text), lists, "lists")
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
        _check_like(moments(run.optimizer, trained[index]), entry, f"optimizer.state.{index}")


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

"""A checkpoint whose digests fit and whose content does not is refused in one line, before the run is changed."""

import copy
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from tiny_run import new_run, write_config

from flowgru.cli import main
from flowgru.errors import RequestError
from flowgru.files.sealed_folder import write_sealed
from flowgru.training.checkpoints.content import require_content
from flowgru.training.checkpoints.store import Checkpoint, CheckpointStore, load_checkpoint
from flowgru.training.run_state import Run


@pytest.fixture(scope="module")
def saved() -> Checkpoint:
    """What a run of two steps keeps."""
    run = new_run(machine={"processes": 1, "device": "cpu"})
    for _ in range(2):
        for value in run.network.parameters():
            value.grad = torch.ones_like(value)
        run.optimizer.step()
        run.schedule.step()
    run.step, run.validation = 2, {"synthetic": {1: 3.5}}
    state = {**run.state(), "log": {"loss": 1.0, "finite": 1.0, "wait": 0.1, "seconds": 1.0, "steps": 1.0}}
    return Checkpoint(2, run.network.state_dict(), state, Path("run/step-00000002"))


@pytest.fixture(scope="module")
def unchanged() -> Run:
    """A run before its first step, which stays there: nothing that is refused changes it."""
    return new_run(machine={"processes": 1, "device": "cpu"})


def test_what_a_run_has_saved_fits(saved):
    run = new_run(machine={"processes": 1, "device": "cpu"})
    require_content(run, saved, 6)
    run.restore(saved.weights, saved.state)
    assert run.step == 2
    before = {
        name: value for name, value in saved.state.items() if name not in ("machine", "origin", "log", "validation_due")
    }
    require_content(run, saved._replace(state=before), 6)  # of a version that did not note them
    later = {**saved.state, "schedule": {**saved.state["schedule"], "step": 3, "of_a_later_version": 1}}
    require_content(run, saved._replace(state=later), 6)
    run.restore(saved.weights, later)
    assert callable(run.schedule.step)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Puts a value in the place of another one."""

    def change(content: dict[str, Any]) -> None:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]

    return change


NAN, WRONG = torch.tensor(float("nan")), torch.zeros(3)
WEIGHT = "flow_head.1.weight"

FROM = {"name": "a", "license": "b"}

MISFITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a weight is missing": (drop("weights", WEIGHT), f"weights: 1 missing ({WEIGHT})"),
    "a weight too many": (put("weights", "other", value=WRONG), "weights: 1 unexpected (other)"),
    "a weight of another shape": (put("weights", WEIGHT, value=WRONG), "1 of another shape"),
    "a weight that is not finite": (lambda content: content["weights"][WEIGHT].fill_(float("nan")), "is not finite"),
    "a mean that is not finite": (
        lambda content: content["state"]["mean"][WEIGHT].fill_(float("inf")),
        "is not finite",
    ),
    "no mean": (drop("state", "mean"), "mean is a NoneType"),
    "a state that is a list": (put("state", value=[]), "its state is a list"),
    "a text as step": (put("state", "step", value="2"), "state.step is '2', expected a int"),
    "a step below 0": (put("state", "step", value=-1), "step is -1, expected 0 to 6"),
    "a step beyond the run": (put("state", "step", value=7), "step is 7, expected 0 to 6"),
    "no step": (drop("state", "step"), "state.step is None"),
    "true as step": (put("state", "step", value=True), "state.step is True"),
    "seconds that are not finite": (put("state", "seconds", value=float("nan")), "state.seconds is nan"),
    "a best error that is none": (put("state", "best_error", value=float("nan")), "best_error is NaN"),
    "no best error": (drop("state", "best_error"), "best_error is null"),
    "no optimizer": (drop("state", "optimizer"), "optimizer is a NoneType"),
    "no groups": (put("state", "optimizer", "param_groups", value=[]), "expected 1 values"),
    "a rate that is a text": (put("state", "optimizer", "param_groups", 0, "lr", value="x"), "lr is 'x'"),
    "a rate that is not finite": (put("state", "optimizer", "param_groups", 0, "lr", value=float("inf")), "lr is inf"),
    "other parameters": (
        lambda content: content["state"]["optimizer"]["param_groups"][0]["params"].reverse(),
        "names other parameters",
    ),
    "a moment of another shape": (
        put("state", "optimizer", "state", 0, "exp_avg", value=WRONG),
        "optimizer.state.0.exp_avg is torch.float32 [3]",
    ),
    "a moment that is missing": (
        drop("state", "optimizer", "state", 0, "exp_avg_sq"),
        "optimizer.state.0 lacks exp_avg_sq",
    ),
    "a count that is not finite": (
        put("state", "optimizer", "state", 0, "step", value=NAN),
        "optimizer.state.0.step is not finite",
    ),
    "moments of no parameter": (put("state", "optimizer", "state", 10**6, value={}), "has an entry 1000000"),
    "no schedule": (put("state", "schedule", value=None), "schedule is a NoneType"),
    "a schedule of other rates": (put("state", "schedule", "base_lrs", value=[7.0]), "schedule.base_lrs is [7.0]"),
    "a schedule that is elsewhere": (
        put("state", "schedule", "last_epoch", value=90),
        "schedule.last_epoch is 90 after 2 steps",
    ),
    "a validation that is a list": (put("state", "validation", value=[1]), "validation is a list"),
    "a validation without errors": (put("state", "validation", value={"synthetic": {}}), "holds no errors"),
    "a machine that is a text": (put("state", "machine", value="cpu"), "machine is a str"),
    "an origin without terms": (put("state", "origin", value={"name": "a"}), "origin lacks license"),
    "a way that is a list": (
        put("state", "origin", value=FROM | {"way": [2]}),
        "origin.way is [2], expected a mapping",
    ),
    "a way of no sense": (put("state", "origin", value=FROM | {"way": {"hold": -1}}), "the model's card has hold -1"),
    "sums that are a list": (put("state", "log", value=[1]), "log is a list"),
    "a sum that is a text": (put("state", "log", "loss", value="x"), "log.loss is 'x'"),
    "a sum without its count": (drop("state", "log", "finite"), "log lacks loss or finite"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_content_that_does_not_fit_is_named(saved, unchanged, what):
    change, message = MISFITS[what]
    content = {"weights": copy.deepcopy(saved.weights), "state": copy.deepcopy(saved.state)}
    change(content)
    with pytest.raises(RequestError) as caught:
        require_content(unchanged, Checkpoint(2, content["weights"], content["state"], Path("run/step-00000002")), 6)
    text = str(caught.value)
    assert text.startswith("run/step-00000002 does not fit this run: ") and message in text and "\n" not in text


def test_a_done_run_without_a_validation_is_refused(saved, unchanged):
    state = {**saved.state, "step": 6, "validation": {}}
    with pytest.raises(RequestError, match="validation is empty at the end"):
        require_content(unchanged, saved._replace(state=state), 6)


def test_a_state_that_unfolds_to_more_than_it_holds_is_refused(tmp_path):
    packed, folded = io.BytesIO(), io.BytesIO()
    torch.save({"step": torch.zeros(10**6)}, packed)
    with zipfile.ZipFile(packed) as plain, zipfile.ZipFile(folded, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))
    files = {"model.safetensors": safetensors_bytes({"a": torch.ones(1)}), "train.pt": folded.getvalue()}
    write_sealed(tmp_path / "step-00000001", files, {"step": 1})
    with pytest.raises(RequestError, match="it expands to"):
        load_checkpoint(tmp_path / "step-00000001")


def test_the_command_says_so_in_one_line(saved, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", steps=6)
    with CheckpointStore(tmp_path / "run") as store:
        store.save(2, saved.weights, {**saved.state, "step": "2"})
    assert main(["train", "--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not fit this run: state.step is '2'" in line


def test_a_lack_of_memory_while_saving_is_called_so(saved, tmp_path, monkeypatch):
    def refused(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", refused)
    with CheckpointStore(tmp_path / "run") as store, pytest.raises(MemoryError, match="not enough memory"):
        store.save(2, saved.weights, saved.state)
    assert not [*(tmp_path / "run").glob("*step*")]

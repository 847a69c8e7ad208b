"""Checkpoints whose content tells their step."""

from pathlib import Path

import torch

from flowgru.training.checkpoints import Checkpoint, CheckpointStore


def weights_of(step: int) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.full((3, 2), float(step)), "a.bias": torch.arange(4.0), "count": torch.tensor(step)}


def state_of(step: int) -> dict:
    return {
        "step": step,
        "best_error": float("inf"),
        "optimizer": {"state": {0: torch.full((2,), step / 3)}, "on": [True]},
    }


def save(store: CheckpointStore, step: int, best: bool = False) -> Path:
    return store.save(step, weights_of(step), state_of(step), best=best)


def assert_is(found: Checkpoint | None, step: int) -> None:
    """The checkpoint is that of `step`, to the last bit."""
    assert found is not None and found.step == step
    expected = weights_of(step)
    assert found.weights.keys() == expected.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in expected.items())
    state = state_of(step)
    assert torch.equal(found.state["optimizer"]["state"].pop(0), state["optimizer"]["state"].pop(0))
    assert found.state == state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())

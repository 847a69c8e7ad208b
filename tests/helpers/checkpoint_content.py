"""Files of weights, checkpoints whose content tells their step, and what must come back of both to the last bit."""

from pathlib import Path

import pytest
import torch

from flowgru.errors import RequestError
from flowgru.model.weight_files.model_file import read_weights
from flowgru.training.checkpoints.store import Checkpoint, CheckpointStore

WEIGHTS = {
    "feature.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
    "feature.bias": torch.arange(4, dtype=torch.float16),
    "norm.num_batches_tracked": torch.tensor(7),
}

CARD = {"network": {"preset": "compact", "operator": "conv_gru"}, "note": "größer – 流れ", "seed": 0}
"""A file of weights and its card, with three types of number, and letters beyond ASCII."""


def same(a: dict, b: dict) -> bool:
    """Whether two sets of weights have the same names, types and bits."""
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def refusal(path: Path) -> str:
    """The one line with which both readers refuse the file."""
    with pytest.raises(RequestError) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    return str(error.value)


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

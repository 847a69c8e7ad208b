"""What the tests of `flowgru estimate` and `evaluate` compare with and look at."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.corruptions.pairs import corrupt_pair
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.evaluation.measures import corrupted, reach
from flowgru.evaluation.measures.reach import SceneRow
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory_estimate import MemoryEstimate
from flowgru.model.prediction import FlowPrediction

SIZE = (48, 64)


class PictureDifference:
    """A stand-in for a network, which costs nothing: its flow is where it begins, and what the pictures differ in."""

    card: ClassVar[dict[str, Any]] = {}
    config = NetworkConfig()
    plan = MatchPlan("auto", None)
    device = torch.device("cpu")

    def encode(self, frame: torch.Tensor, **_options: Any) -> torch.Tensor:
        return frame

    def match(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        *,
        initial_flow: torch.Tensor | None = None,
        initial_coarse: torch.Tensor | None = None,
        **_options: Any,
    ) -> FlowPrediction:
        flow = 100 * (second - first)[:, :2]
        if initial_flow is not None:
            flow = flow + initial_flow
        if initial_coarse is not None:
            flow = flow + 8 * F.interpolate(initial_coarse, flow.shape[2:])
        return FlowPrediction((flow,), F.avg_pool2d(flow, 8, ceil_mode=True) / 8)

    def smaller_plan(self, _plan: MatchPlan) -> None:
        return None

    def expected_memory(self, *_size: int, **_options: Any) -> MemoryEstimate:
        return MemoryEstimate(self.device, "all_pairs", 0)


def image(path: Path | str) -> torch.Tensor:
    return to_tensor(read_image(path))[None]


def write(path: Path, flow: torch.Tensor) -> None:
    """Writes a flow [1, 2, H, W] in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()))


@torch.no_grad()
def expected_flow(network: FlowNetwork, first: Path | str, second: Path | str, iterations: int = 1) -> np.ndarray:
    """Straight through the network."""
    flow = network(image(first), image(second), iterations=iterations, final_only=True).flows[-1][0]
    return flow.permute(1, 2, 0).numpy()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def only_error(capsys) -> str:
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1 and text.startswith("error: ") and "Traceback" not in text, text
    return text.strip()


def evaluate(*words: object) -> int:
    """The exit code of `flowgru evaluate`."""
    return main(["evaluate", *map(str, words)])


def corruption_rows(folder: Path) -> list[dict[str, str]]:
    """What `flowgru evaluate --corruptions` has measured."""
    return csv_rows(folder / "corruptions.csv")


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Ctrl-C in the place of a corruption, after so many; gives the names of those that were made."""
    made: list[str] = []

    def spoil(first, second, name, severity, seed):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(name)
        return corrupt_pair(first, second, name, severity, seed)

    monkeypatch.setattr(corrupted, "corrupt_pair", spoil)
    return made


def interrupted_scene(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Ctrl-C in the place of a size of the generated scene, after so many; gives the sizes that were measured.

    The error and the memory are the number of the measurement, and 100 MiB more for the first one; 16x16 is refused.
    """
    made: list[str] = []

    def measured(estimator, device, pair, refused):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(pair.name)
        if pair.name == "16x16":
            refused[pair.name] = "too small"
            return SceneRow(pair.name, 2.0)
        return SceneRow(pair.name, 2.0, len(made), 50.0, 0.25, len(made) + 100 * (len(made) == 1))

    monkeypatch.setattr(reach, "_measured", measured)
    return made

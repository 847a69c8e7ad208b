"""What the tests of `flowgru estimate` compare with and look at."""

from pathlib import Path

import numpy as np
import torch

from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.model.flow_network import FlowNetwork

SIZE = (48, 64)


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

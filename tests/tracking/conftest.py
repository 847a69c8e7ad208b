"""What tests of tracking share: a network that says that nothing moves, and a clip with points in it."""

from pathlib import Path

import pytest
import torch
from estimates import PictureDifference
from media import moving_frames, write_clip

POINTS = "point,x,y\ncorner,0,0\nnose,20.5,30\n"


class StillNetwork(PictureDifference):
    """Says that nothing moves, and counts what it encodes."""

    def __init__(self) -> None:
        self.num_encoded = 0

    def encode(self, frame: torch.Tensor, **_options: object) -> torch.Tensor:
        self.num_encoded += 1
        return torch.zeros_like(frame)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> StillNetwork:
    """The network of every command."""
    network = StillNetwork()
    monkeypatch.setattr("flowgru.tracking.run.open_network", lambda settings: network)
    return network


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip of five frames of 48x64 pixels and a file of two points, in which commands run."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", moving_frames(5))
    (tmp_path / "points.csv").write_text(POINTS)
    return tmp_path

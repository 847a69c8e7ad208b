"""How well the two pictures match: the correlation of their features, and the look-up around where the flow points."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.grid import Coordinates, sample
from flowgru.types import Features


class Correlation(ABC):
    """The match of every first-picture feature with the second picture, asked for in windows."""

    @abstractmethod
    def lookup(self, centres: Coordinates) -> Features:
        """Correlation in a window around each centre, on every level.

        centres [B, 2, h, w]: where each coarse pixel of the first picture points in the second, in coarse pixels. Returns
        [B, levels * (2 radius + 1)^2, h, w]: finest level first; in a window the x offset is the slow index (RAFT's order).
        """


class AllPairsCorrelation(Correlation):
    """RAFT's pyramid over the volume of all pairs: fast, and (h w)^2 values large (RAFT, section 3.2).

    Level 0 is C[i, j] = <f1[i], f2[j]> / sqrt(channels); each further level averages 2x2 of the second picture's pixels.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        batch, channels, height, width = first.shape
        with torch.autocast(first.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            # The scale goes into the features, which are (h w) times smaller than the volume.
            scaled = first.float().flatten(2).transpose(1, 2) / math.sqrt(channels)
            volume = (scaled @ second.float().flatten(2)).reshape(batch * height * width, 1, height, width)
        self.pyramid = [volume]
        for _ in range(levels - 1):
            volume = F.avg_pool2d(volume, kernel_size=2)
            self.pyramid.append(volume)
        self.window = window_offsets(radius, like=volume)

    def lookup(self, centres: Coordinates) -> Features:
        batch, _, height, width = centres.shape
        points = centres.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        found = [sample(volume, points / 2**level + self.window) for level, volume in enumerate(self.pyramid)]
        return torch.cat(found, dim=1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def window_offsets(radius: int, *, like: Tensor) -> Float[Tensor, "side side 2"]:
    """(x, y) offsets of a window, x along the first axis."""
    steps = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)


def correlate(first: Features, second: Features, *, levels: int, radius: int) -> Correlation:
    """The correlation of two pictures' features, ready to be looked up."""
    return AllPairsCorrelation(first, second, levels, radius)

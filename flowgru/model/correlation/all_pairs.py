"""The correlation of all pairs of coarse pixels, computed once for a pair of pictures."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.grid import Coordinates, sample_windows, window_offsets
from flowgru.model.buffers import take
from flowgru.operators.base import may_overwrite
from flowgru.tracing import is_exporting
from flowgru.types import Features


class AllPairsCorrelation:
    """RAFT's pyramid over the volume of all pairs: fast, and (h w)^2 values large (RAFT, section 3.2).

    Level 0 is C[i, j] = <f1[i], f2[j]> / sqrt(channels); each further level averages 2x2 of the second picture's pixels.
    """

    def __init__(self, first: Features, second: Features, levels: int, radius: int) -> None:
        batch, channels, height, width = first.shape
        self.pyramid = []
        with torch.autocast(first.device.type, enabled=False):  # matches differ by less than sixteen bits resolve
            # The scale goes into the features, which are (h w) times smaller than the volume; and averaging is linear, so
            # correlating with averaged features is averaging the correlation.
            scaled = first.float().flatten(2).transpose(1, 2) / math.sqrt(channels)
            second = second.float()
            for level in range(levels):
                second = _halved(second) if level else second
                volume = _product(scaled, second.flatten(2), level)
                self.pyramid.append(volume.reshape(batch * height * width, 1, *second.shape[2:]))
        self.window = window_offsets(radius, like=second)

    def lookup(self, centres: Coordinates) -> Features:
        batch, _, height, width = centres.shape
        points = centres.permute(0, 2, 3, 1).reshape(-1, 2)
        found = [sample_windows(volume, points / 2**level, self.window) for level, volume in enumerate(self.pyramid)]
        return torch.cat(found, dim=1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _halved(features: Features) -> Float[Tensor, "B C h2 w2"]:
    """The mean of each 2x2 pixels."""
    if not is_exporting():
        return F.avg_pool2d(features, kernel_size=2)
    # Of a pooled map PyTorch 2.11 asks whether its sides are even, and then the graph is for such sizes alone.
    planes = features.flatten(0, 1)[:, None]
    return F.conv2d(planes, planes.new_full((1, 1, 2, 2), 0.25), stride=2)[:, 0].unflatten(0, features.shape[:2])


def _product(first: Float[Tensor, "B N C"], second: Float[Tensor, "B C M"], level: int) -> Float[Tensor, "B N M"]:
    """first @ second; on a CPU, where no gradient is wanted, in memory that is kept."""
    if first.device.type != "cpu" or not may_overwrite():
        return first @ second
    return torch.matmul(first, second, out=take(level, *first.shape[:2], second.shape[2]))


def pyramid_bytes(batch: int, height: int, width: int, levels: int) -> int:
    """What the pyramid takes, for pictures of height x width coarse pixels."""
    sizes = [(height >> level) * (width >> level) for level in range(levels)]
    return 4 * batch * height * width * sum(sizes)

"""The correlation of all pairs of coarse pixels, computed once for a pair of pictures."""

import math

import torch
import torch.nn.functional as F

from flowgru.grid import Coordinates, sample, window_offsets
from flowgru.types import Features


class AllPairsCorrelation:
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


def pyramid_bytes(batch: int, height: int, width: int, levels: int) -> int:
    """What the pyramid takes, for pictures of height x width coarse pixels."""
    sizes = [(height >> level) * (width >> level) for level in range(levels)]
    return 4 * batch * height * width * sum(sizes)

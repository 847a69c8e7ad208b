"""Flows at which a refinement begins: those of OpenCV's DIS, and true flow with an error of a known size."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from flowgru.config import StartShares
from flowgru.data.classical import dis_or_zero, grey_levels
from flowgru.data.draws import Draws
from flowgru.data.formats.images import to_levels
from flowgru.data.sample import FlowSample

_STARTS = 3 << 64
"""Starts are drawn from stream `index` of the seed plus this: generated pairs and augmentation have streams of their own."""

LARGEST_DEVIATION = 4.0
"""Of the noise of a start that is the true flow with noise, in pixels."""


def dis_start(
    first: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"],
    second: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"],
    *,
    fast: bool = False,
) -> Float[Tensor, "2 H W"]:
    """The flow of DIS between two pictures in [0, 1] or in 8 bits, in pixels; zero where they are too small for it."""
    flow = dis_or_zero(grey_levels(to_levels(first)), grey_levels(to_levels(second)), fast=fast)
    if flow is None:
        return torch.zeros(2, *first.shape[1:])
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))


class Start(NamedTuple):
    """What a pair begins at, before any flow of it is known."""

    kind: Literal["zero", "dis", "dis_fast", "truth"]
    error: Float[Tensor, "1 2 rows columns"] | None = None
    """Of a true flow: its error on a coarse grid, from which it varies smoothly over the picture."""
    size: float = 0.0
    """Factor of the error, in pixels."""


def draw_start(shares: StartShares, seed: int, index: int) -> Start:
    """That of pair `index`: a pure function of seed and index."""
    draws = Draws(seed + _STARTS, index)
    place = draws.uniform()
    if place < shares.dis + shares.dis_fast:
        return Start("dis_fast" if place >= shares.dis else "dis")
    if place < shares.dis + shares.dis_fast + shares.truth:
        rows, columns = draws.integer(3, 12), draws.integer(3, 16)
        error = torch.randn(1, 2, rows, columns, generator=draws.generator)
        return Start("truth", error, draws.uniform(0.0, LARGEST_DEVIATION))
    return Start("zero")


class StartedPairs(Dataset[FlowSample]):
    """The pairs of another data set, each with an initial flow of its own: a pure function of seed and index."""

    def __init__(self, pairs: Dataset[FlowSample], shares: StartShares, *, seed: int, hold: int = 0) -> None:
        """`hold` is how many refinements hold the start where the pairs are measured; nothing here depends on it."""
        self.pairs, self.shares, self.seed, self.hold = pairs, shares, seed, hold

    def __len__(self) -> int:
        return len(self.pairs)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, index: int) -> FlowSample:
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the loader's workers are one a core already; any other number hangs after a fork
        sample = self.pairs[index]
        return sample._replace(initial_flow=_flow_of(draw_start(self.shares, self.seed, index), sample))


def _flow_of(start: Start, sample: FlowSample) -> Float[Tensor, "2 H W"]:
    if start.kind in ("dis", "dis_fast"):
        return dis_start(sample.first, sample.second, fast=start.kind == "dis_fast")
    if start.error is None:
        return torch.zeros_like(sample.flow)
    coarse = start.error.to(sample.flow)
    error = F.interpolate(coarse, sample.flow.shape[1:], mode="bicubic", align_corners=False)[0]
    return torch.where(sample.valid, sample.flow, 0) + start.size * error

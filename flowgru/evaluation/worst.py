"""Keeps what a method got most wrong, as pictures that show how."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from flowgru.data.formats.images import to_levels
from flowgru.data.sample import FlowSample
from flowgru.evaluation.evaluate import PairErrors
from flowgru.types import Flow
from flowgru.view.panels import error_panel


class WorstPair(NamedTuple):
    """A pair among those with the largest error."""

    error: float
    """Mean end-point error in pixels, infinite where the estimate is not finite."""
    name: str
    picture: np.ndarray
    """Frames, flows and errors, see error_panel."""


class WorstPairs:
    """A Watcher that keeps the `number` pairs with the largest mean end-point error, the worst first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pairs: list[WorstPair] = []

    def __call__(self, measured: PairErrors, sample: FlowSample, flow: Flow) -> None:
        """Takes the pair in if it is among the worst so far; pairs without valid pixels never are."""
        error = measured.metrics["epe"]
        full = len(self.pairs) >= self.number
        if not sample.valid.any() or (full and (not self.pairs or error <= self.pairs[-1].error)):
            return
        picture = error_panel(
            to_levels(sample.first),
            to_levels(sample.second),
            _last_axis(flow[0]).astype(np.float32),
            _last_axis(sample.flow),
            sample.valid.cpu().numpy(),
            f"{measured.name}: mean end-point error {error:.3g} px",
        )
        self.pairs.append(WorstPair(error, measured.name, picture))
        self.pairs.sort(key=lambda pair: -pair.error)  # stable: of equals the first one stays
        del self.pairs[self.number :]


def _last_axis(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().permute(1, 2, 0).cpu().numpy())

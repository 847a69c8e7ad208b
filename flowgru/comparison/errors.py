"""The errors of a trained network on held-out pairs: of whole pictures, and of the parts of them that are hard to match."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.data.sample import FlowSample
from flowgru.data.starts import StartedPairs
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.untextured import untextured_depth
from flowgru.evaluation.validation import validate
from flowgru.grid import PaddingMode, lengths
from flowgru.model.flow_network import FlowNetwork
from flowgru.types import Flow

WHOLE = "epe_per_image"
DEPTHS = (64, 128)
"""Pixels from its edges from which on the inside of an area without texture is measured: at 64, no encoder sees an edge."""

PARTS = {
    "epe_s0_10": "true flow below 10 px",
    "epe_s10_40": "true flow of 10 px to below 40 px",
    "epe_s40_plus": "true flow of 40 px or more",
    **{f"epe_untextured_{depth}": f"without texture, {depth} px or more from an edge" for depth in DEPTHS},
}
"""The parts of pictures whose error is measured, pooled over the valid pixels of all pairs."""


def measure_errors(
    network: FlowNetwork, pairs: Dataset[FlowSample], iterations: tuple[int, ...], padding: PaddingMode
) -> dict[tuple[str, int], float]:
    """Every error in pixels by its measure, WHOLE or one of PARTS, and by the number of refinements.

    A part of which the pairs have no pixel is left out. Infinite where a flow is not finite.
    """
    parts = _PartErrors(pairs, iterations)
    whole = validate(network, pairs, iterations, network.device, padding=padding, watch=parts.add)
    return {(WHOLE, count): error for count, error in whole.items()} | parts.means()


def diverged_errors(iterations: Sequence[int]) -> dict[tuple[str, int], float]:
    """Those of a training that diverged: none of them is a number."""
    return {(measure, count): math.nan for measure in (WHOLE, *PARTS) for count in iterations}


class _PartErrors:
    """Gathers the errors of parts of pictures."""

    def __init__(self, pairs: Dataset[FlowSample], iterations: Sequence[int]) -> None:
        self._generated = pairs.pairs if isinstance(pairs, StartedPairs) else pairs
        self._iterations = iterations
        self._sums: dict[str, Tensor] = {name: torch.zeros(len(iterations), dtype=torch.float64) for name in PARTS}
        self._pixels = dict.fromkeys(PARTS, 0)

    def add(self, index: int, pair: FlowSample, flows: Sequence[Flow]) -> None:
        """Adds a pair; as validate tells of it."""
        target = pair.flow.cpu().double()
        masks = self._masks(index, pair)
        self._pixels = {name: self._pixels[name] + int(mask.sum()) for name, mask in masks.items()}
        for column, flow in enumerate(flows):
            errors = lengths(flow[0].detach().cpu().double() - target).nan_to_num(nan=math.inf, posinf=math.inf)
            for name, mask in masks.items():
                self._sums[name][column] += errors[mask].sum()

    def means(self) -> dict[tuple[str, int], float]:
        """The mean errors of all pixels of each part, after each number of refinements."""
        return {
            (name, count): total / self._pixels[name]
            for name, totals in self._sums.items()
            for count, total in zip(self._iterations, totals.tolist(), strict=True)
            if self._pixels[name]
        }

    def _masks(self, index: int, pair: FlowSample) -> dict[str, Bool[Tensor, "H W"]]:
        valid, length = pair.valid.cpu(), lengths(pair.flow.cpu())
        depth = torch.zeros_like(length)
        if isinstance(self._generated, SyntheticPairs):
            depth = untextured_depth(self._generated, index)
        parts = (length < 10, (length >= 10) & (length < 40), length >= 40, *(depth >= least for least in DEPTHS))
        return {name: part & valid for name, part in zip(PARTS, parts, strict=True)}

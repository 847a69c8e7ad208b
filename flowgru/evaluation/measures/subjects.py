"""What is measured: pairs, how their flow is estimated, and where each of them begins."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config.way import Way
from flowgru.data.sample import FlowSample
from flowgru.data.sets.clips import ClipPairs
from flowgru.data.sets.opening import FlowPairs
from flowgru.errors import InputFileError
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.evaluation.evaluate import Estimator, GivenStart, NetworkEstimator
from flowgru.grid import PaddingMode, lengths
from flowgru.model.pair_network import PairNetwork


class Subject(NamedTuple):
    """One data set or clip under one method."""

    pairs: FlowPairs | ClipPairs
    estimator: Estimator
    given: GivenStart | None
    """Where each pair begins, if that is given."""
    network: PairNetwork | None = None
    """None for a method that is no network."""
    way: Way | None = None
    padding: PaddingMode = "sintel"

    @property
    def label(self) -> str:
        """What reports call the data."""
        return self.pairs.label

    @property
    def has_truth(self) -> bool:
        """Whether the true flow of its pairs is known."""
        return isinstance(self.pairs, FlowPairs)


class Pair(NamedTuple):
    """One pair that is measured for itself."""

    index: int
    sample: FlowSample
    start: InitialFlow | None


def read_pairs(subject: Subject, skip: Sequence[int] = ()) -> Iterator[Pair]:
    """The pairs that can be read, but for those to skip. What cannot be read is named where its errors are measured."""
    for index in range(len(subject.pairs)):
        if index in skip:
            continue
        try:
            sample = subject.pairs[index]
            start = None if subject.given is None else subject.given(sample.name, tuple(sample.first.shape[1:]))
        except InputFileError:
            if not subject.has_truth:
                raise
            continue
        yield Pair(index, sample, start)


def estimated(
    estimator: Estimator, first: Tensor, second: Tensor, start: InitialFlow | None = None
) -> Float[Tensor, "2 H W"]:
    """The flow between two pictures [3, H, W], on the CPU in double precision."""
    with torch.inference_mode():
        return estimator(first[None], second[None], start).flow[0].detach().cpu().double()


def estimated_clip(estimator: Estimator, frames: Iterable[Float[Tensor, "3 H W"]]) -> Iterator[Float[Tensor, "2 H W"]]:
    """`estimated` of every pair of neighbouring frames; a network encodes each frame once."""
    if not isinstance(estimator, NetworkEstimator):
        yield from (estimated(estimator, first, second) for first, second in pairwise(frames))
        return
    for flow in estimator.of_clip(frame[None] for frame in frames):
        yield flow[0].cpu().double()


def mean_distance(one: Float[Tensor, "2 H W"], other: Float[Tensor, "2 H W"], where: Tensor | None = None) -> float:
    """Mean length of the difference of two flows in pixels, infinite where one is not finite; NaN over no pixel."""
    distance = lengths(one.double() - other.double())
    distance = distance if where is None else distance[where]
    return float(distance.nan_to_num(nan=torch.inf, posinf=torch.inf).mean()) if distance.numel() else float("nan")

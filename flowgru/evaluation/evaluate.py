"""Measures any way to estimate flow, learned or classical, on any data set, through the same lines of code."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.evaluation.metrics import FlowErrors
from flowgru.model.flow_network import FlowNetwork
from flowgru.types import Flow, Images

Estimator = Callable[[Images, Images], Flow]
"""Takes the first and the second picture [1, 3, H, W], gives the flow between them [1, 2, H, W]."""


@runtime_checkable
class Samples(Protocol):
    """A data set of known length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> FlowSample: ...


class PairErrors(NamedTuple):
    """The measures of one pair."""

    name: str
    metrics: dict[str, float]


class Evaluation(NamedTuple):
    """What was measured on a data set."""

    metrics: dict[str, float]
    """Every measure of flowgru.evaluation.metrics over all pairs."""
    pairs: list[PairErrors]
    """The same for each pair alone."""


def evaluate(estimate: Estimator, dataset: Samples) -> Evaluation:
    """The errors of an estimator on every pair of a data set, one pair at a time."""
    total, pairs = FlowErrors(), []
    for index in range(len(dataset)):
        sample = dataset[index]
        with torch.inference_mode():
            flow = estimate(sample.first[None], sample.second[None])
        errors = FlowErrors()
        errors.update(flow[0], sample)
        total.merge(errors)
        pairs.append(PairErrors(sample.name, errors.result()))
    return Evaluation(total.result(), pairs)


def network_estimator(network: FlowNetwork, iterations: int) -> Estimator:
    """A network's flow after `iterations` refinements, computed on the network's device."""
    if iterations < 1:
        raise RequestError(f"iterations is {iterations}: at least 1 refinement is needed")
    device = next(network.parameters()).device

    def estimate(first: Images, second: Images) -> Flow:
        return network(first.to(device), second.to(device), iterations=iterations, final_only=True).flows[-1]

    return estimate


def picture_estimator(method: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Estimator:
    """A method on 8-bit RGB pictures [H, W, 3] that gives flow [H, W, 2], such as those of flowgru.data.classical."""

    def estimate(first: Images, second: Images) -> Flow:
        flow = method(_eight_bit(first), _eight_bit(second))
        return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))[None]

    return estimate


def _eight_bit(images: Images) -> np.ndarray:
    return (images[0] * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()

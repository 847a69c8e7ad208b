"""Measures any way to estimate flow, learned or classical, on any data set, through the same lines of code."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from flowgru.config.model_settings import ModelSettings
from flowgru.data.formats.images import to_levels
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.errors import InputFileError
from flowgru.estimation.matching.initial_flow import InitialFlow, going_on
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.opening import match_settings
from flowgru.evaluation.metrics import FlowErrors
from flowgru.model.pair_network import PairNetwork
from flowgru.types import Flow, Images


class Estimate(NamedTuple):
    """What an estimator says of one pair."""

    flow: Flow
    """[1, 2, H, W]."""
    carried: InitialFlow | None = None
    """Where the next pair may begin, if it begins with the picture that ended this one; None: where it would anyway."""
    initial_flow: str = ""
    """Where this one began, see InitialFlow.name; empty for a method that begins nowhere."""


@runtime_checkable
class Estimator(Protocol):
    """Any way to estimate the flow between two pictures [1, 3, H, W]; `start` is where it is to begin."""

    def __call__(self, first: Images, second: Images, start: InitialFlow | None = None, /) -> Estimate: ...


@runtime_checkable
class Samples(Protocol):
    """A data set of known length; the `pairs` of a FlowPairs say which pairs follow each other, and their groups."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> FlowSample: ...


class PairErrors(NamedTuple):
    """The measures of one pair."""

    name: str
    metrics: dict[str, float]
    group: str | None = None
    """What the data set lists the pair under (a manifest's column `set`), if anything."""
    initial_flow: str = ""
    """Where its refinement began, see Estimate."""
    others: Mapping[str, str] = MappingProxyType({})
    """Further columns of the manifest that lists it."""


class Evaluation(NamedTuple):
    """What was measured on a data set."""

    metrics: dict[str, float]
    """Every measure of flowgru.evaluation.metrics over all pairs."""
    pairs: list[PairErrors]
    """The same for each pair alone."""
    groups: dict[str, dict[str, float]]
    """The same over the pairs of each group, in the order in which the groups appear."""
    left_out: tuple[str, ...] = ()
    """One line for every pair that could not be read, and is in none of the measures."""


GivenStart = Callable[[str, tuple[int, ...]], InitialFlow]
"""From the name of a pair and the size of its pictures to where it begins."""

Watcher = Callable[[PairErrors, FlowSample, Flow], None]
"""Is told of every pair once it is measured."""


class Chain:
    """Estimates pairs in their order: one that goes on where the last one ended starts where that estimate leads.

    Every other pair, so the first of each scene and pass, starts anew, or where `given` says. No cut is looked for: the
    files say which pairs follow each other, and pairs with a true flow lie within a scene, however far it moves.
    """

    def __init__(self, estimator: Estimator, given: GivenStart | None = None) -> None:
        self.estimator, self.given = estimator, given
        self.last: Any = None
        self.carried: InitialFlow | None = None

    def start(self, files: Any, name: str, size: tuple[int, ...]) -> InitialFlow | None:
        """Where the next pair starts, which is of these files (`first` and `second`; None where nobody knows them)."""
        carried = self.carried if follows(self.last, files) else None
        self.last, self.carried = files, None
        return going_on(carried, lambda: None if self.given is None else self.given(name, size))

    def estimate(self, first: Images, second: Images, start: InitialFlow | None) -> Estimate:
        """The estimate of that pair."""
        found = self.estimator(first, second, start)
        self.carried = found.carried
        return found

    def interrupt(self) -> None:
        """The next pair starts anew."""
        self.carried = None


def follows(before: Any, pair: Any) -> bool:
    """Whether one pair of files goes on where the other ended; the way back would start at the opposite flow."""
    return before is not None and pair is not None and pair.first == before.second and pair.second != before.first


def evaluate(
    estimate: Estimator,
    dataset: Samples,
    *,
    static_pairs: int = 0,
    given: GivenStart | None = None,
    watch: Watcher | None = None,
    on_left_out: Callable[[str], object] | None = None,
) -> Evaluation:
    """The errors of an estimator on every pair of a data set, one pair at a time.

    Pairs that follow each other are a Chain, in which `given` says where those start that follow none. The flow from the
    first picture to itself (static_flow) is estimated too for at most `static_pairs` pairs, evenly spread over the set,
    always anew.

    InputFileError at a pair whose files are damaged; with on_left_out, which is told why, the others are measured.
    """
    total, groups, pairs, left_out, chain = FlowErrors(), {}, [], [], Chain(estimate, given)
    files = getattr(dataset, "pairs", [None] * len(dataset))
    num_static = min(static_pairs, len(dataset))
    static = {number * len(dataset) // num_static for number in range(num_static)}
    for index in range(len(dataset)):
        try:
            sample, group = dataset[index], getattr(files[index], "set", None) or None
            start = chain.start(files[index], sample.name, tuple(sample.first.shape[1:]))
        except InputFileError as error:
            if on_left_out is None:
                raise
            left_out.append(str(error))
            on_left_out(left_out[-1])
            chain.interrupt()
            continue
        errors = FlowErrors()
        with torch.inference_mode():
            flow, _, began = chain.estimate(sample.first[None], sample.second[None], start)
            if index in static:
                errors.update_static(estimate(sample.first[None], sample.first[None]).flow[0])
        errors.update(flow[0], sample)
        total.merge(errors)
        if group is not None:
            groups.setdefault(group, FlowErrors()).merge(errors)
        others = MappingProxyType(dict(getattr(files[index], "others", ())))
        pairs.append(PairErrors(sample.name, errors.result(), group, began, others))
        if watch is not None:
            watch(pairs[-1], sample, flow)
    return Evaluation(
        total.result(), pairs, {group: errors.result() for group, errors in groups.items()}, tuple(left_out)
    )


class NetworkEstimator:
    """An Estimator by a network, computed as pair_flows computes its flow."""

    def __init__(self, network: PairNetwork, settings: MatchSettings) -> None:
        self._matcher = PairMatcher(network, replace(settings, can_resize=False))

    def __call__(self, first: Images, second: Images, start: InitialFlow | None = None, /) -> Estimate:
        found = self._matcher.match(first, second, [start])
        return Estimate(found.forward[None], found.carried[0], found.initial_flows[0])

    def of_clip(self, frames: Iterable[Images]) -> Iterator[Flow]:
        """The flow of every pair of neighbouring frames, each pair for itself, but each frame is encoded once."""
        for first, second in pairwise(frames):
            yield self._matcher.match(first, second, with_context=True).forward[None]


def benchmark_estimator(network: PairNetwork, settings: ModelSettings, benchmark: str) -> NetworkEstimator:
    """An opened network's flow as the settings ask for it, padded as is usual on that benchmark."""
    return NetworkEstimator(network, match_settings(network, settings, padding=padding_mode(benchmark)))


def picture_estimator(method: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Estimator:
    """A method on 8-bit RGB pictures [H, W, 3] that gives flow [H, W, 2], such as those of flowgru.data.classical."""

    def estimate(first: Images, second: Images, start: InitialFlow | None = None, /) -> Estimate:
        flow = method(to_levels(first[0]), to_levels(second[0]))
        return Estimate(torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))[None])

    return estimate


def read_estimate(first: Images, second: Images, start: InitialFlow | None = None, /) -> Estimate:
    """An Estimator that only passes on the flow that it is given: what another program has estimated."""
    assert start is not None and start.flow is not None
    return Estimate(start.flow)

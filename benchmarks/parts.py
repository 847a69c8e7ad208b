"""What each part of a model's way to a flow adds, on real pairs: one row for each part, on top of those before it.

python benchmarks/parts.py [--model default] [--root datasets] [--sets middlebury sintel kitti2012 chairs]

The first rows are zero flow and the classical methods, the next the network alone after 12 refinements from zero. Then come
the parts of the way that the model's card says, one after the other. Each set has the mean of its pairs' end-point errors
(epe_per_image, px), and on how many of its pairs the row is better than DIS.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from reporting import add_sets, arguments, begin, circumstances, opened, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config.way import Way, resolve_way
from flowgru.data.classical import dis_flow, dis_or_zero, farneback_flow, grey_levels, zero_flow
from flowgru.data.formats.images import to_levels
from flowgru.data.polish import gate
from flowgru.data.sets.layouts import padding_mode
from flowgru.errors import counted
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import Estimate, Estimator, NetworkEstimator, Samples, evaluate, picture_estimator
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.types import Flow

DIS = "DIS"


def rows(network: FlowNetwork, name: str) -> Iterator[tuple[str, Estimator]]:
    """The rows of a set by what they are called, the way of the model's card last.

    Each must be evaluated once, on the same pairs in the same order, before the next one is asked for: the gate chooses from
    the flows of the row before it, which are kept in memory.
    """
    way = resolve_way(network.card)
    without = replace(way, polish=False, scales=1, coarse_iterations=None, hold=0)

    def of(way: Way) -> Estimator:
        return NetworkEstimator(network, MatchSettings(way, padding=padding_mode(name)))

    yield DIS, picture_estimator(dis_flow)
    yield "zero flow", picture_estimator(zero_flow)
    yield "Farneback", picture_estimator(farneback_flow)
    yield "the network alone, from zero, 12 refinements", of(Way(12))
    network_flows: list[Flow] = []
    begun = kept(of(without), network_flows)
    yield f"the network, {counted(without.iterations, 'refinement')} from {way.initial_flow}", begun
    if way.hold:
        network_flows.clear()
        yield f"+ {counted(way.hold, 'held refinement')}", kept(of(replace(without, hold=way.hold)), network_flows)
    if way.scales > 1:
        network_flows.clear()
        yield f"+ {way.scales} scales", kept(of(replace(way, polish=False)), network_flows)
    if way.polish:
        if way.initial_flow == "dis":
            yield "+ gate", gated(network_flows)
        yield "+ variational refinement", of(way)


def kept(estimator: Estimator, flows: list[Flow]) -> Estimator:
    """The estimator, whose flows are also appended to `flows`."""

    def estimate(first, second, start=None, /):
        found = estimator(first, second, start)
        flows.append(found.flow.cpu())
        return found

    return estimate


def gated(network_flows: list[Flow]) -> Estimator:
    """The network's flows, which it takes out of the list, and DIS's of the same pairs, through the gate alone."""

    def estimate(first, second, start=None, /):
        flow = network_flows.pop(0)
        one, other = (grey_levels(to_levels(each[0])) for each in (first, second))
        begun = dis_or_zero(one, other)
        if begun is None:
            return Estimate(flow)
        chosen = gate(one, other, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()), begun)
        return Estimate(flow.new_tensor(chosen).permute(2, 0, 1)[None])

    return estimate


def measured(name: str, pairs: Samples, network: FlowNetwork, say: Callable[..., None]) -> None:
    """Says the rows of a set."""
    of_dis = np.zeros(len(pairs))
    for row, estimator in rows(network, name):
        errors = np.array([pair.metrics["epe_per_image"] for pair in evaluate(estimator, pairs).pairs])
        of_dis = errors if row == DIS else of_dis
        say(name, row, float(errors.mean()), f"{int((errors < of_dis).sum())} of {len(errors)}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    add_sets(parser)
    given = parsed(parser)
    network = load_model(given.model, begin(given))
    said = circumstances(network.device, model=given.model, way=resolve_way(network.card), unit="px")
    table = Table("Parts of a way", said, ["set", "row", "epe_per_image", "better than DIS"], lines=given.json)
    for name, pairs in opened(given.sets, given.root):
        measured(name, pairs, network, table.add)


if __name__ == "__main__":
    main()

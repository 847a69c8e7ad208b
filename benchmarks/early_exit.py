"""Error over milliseconds: so many refinements for every pair, against refining until the flow stands still.

python benchmarks/early_exit.py runs/operator_study [--models default] [--sets sintel ...] [--root datasets]
    [--pairs 24] [--size 192x256] [--iterations 1 2 3 4 6 8 12 16 24] [--below 4 2 1 0.5 0.2 0.1 0.05 0.02]
    [--rounds 3] [--timed-pairs 4] [--threads 2] [--csv FILE] [--no-times]

A folder stands for all models in it; those of one row of a comparison that differ in their seed are one method, whose
error is the mean over the seeds. Held-out generated pairs look as those that the comparison was trained on. --below N stops
once a refinement has moved the flow by less than N px in the mean, and after the most of --iterations at the latest. Before
anything is timed, stopping must give the flow of as many refinements, bit for bit.

As many refinements take as long for one pair and seed as for another. So each number of them that a way has led to is timed,
with the first seed: medians of interleaved rounds, the mean over the timed pairs, which are evenly spread over all. The time
of a way is the mean of these over all pairs and seeds, as its error is. With --below, each refinement is watched meanwhile.
"""

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from reporting import HELD_OUT_SEED, add_root, arguments, begin, looks_of, parsed, size_of

from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds
from flowgru.comparison.record import ABOUT, read_record
from flowgru.config import SyntheticSettings
from flowgru.data.sample import FlowSample
from flowgru.data.sets.opening import open_dataset
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.evaluation.metrics import endpoint_error
from flowgru.files.names import shortest_names
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.prediction import update_length
from flowgru.model.weight_files.loading import load_model

CPU = torch.device("cpu")
NEVER = sys.float_info.min
"""Pixels by which each refinement moves a flow, so that none is the last."""


class Way(NamedTuple):
    """How many refinements a pair gets."""

    most: int
    below: float | None = None

    def of(self, count: int) -> "Way":
        """What takes the time of this way where it ends after so many refinements."""
        return Way(count, None if self.below is None else NEVER)

    def __str__(self) -> str:
        return f"{self.most} refinements" if self.below is None else f"below {self.below:g} px"


class Score(NamedTuple):
    """What a way gives for one network."""

    counts: list[int]
    """How many refinements each pair gets."""
    epe_per_image: float
    """The mean over the pairs."""


class Point(NamedTuple):
    """One point of a curve: means over seeds and pairs."""

    method: str
    data: str
    way: str
    refinements: float
    epe_per_image: float
    ms: float | None


def main() -> None:
    parser = arguments(__doc__, rounds=3, device=False)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--sets", nargs="*", default=[], help="benchmark sets, or manifests ending in .csv")
    add_root(parser)
    parser.add_argument("--pairs", type=int, default=24, help="generated pairs")
    parser.add_argument("--size", default="192x256", help="of the generated pairs")
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8, 12, 16, 24])
    parser.add_argument("--below", type=float, nargs="+", default=[4, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02])
    parser.add_argument("--timed-pairs", type=int, default=4, help="on how many pairs times are taken, 1 at least")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--no-times", action="store_true")
    given = parsed(parser)
    if given.timed_pairs < 1:
        parser.error(f"--timed-pairs is {given.timed_pairs}: expected 1 at least, or --no-times")
    begin(given)

    methods = find_methods(given.folders, given.models)
    ways = [*map(Way, given.iterations), *(Way(max(given.iterations), below) for below in given.below)]
    sets = {name: open_dataset(name, given.root) for name in given.sets}
    if given.pairs:
        sets = {"generated": generated_pairs(given.folders, given.size, given.pairs), **sets}
    points = []
    for name, dataset in sets.items():
        pairs = [dataset[index] for index in range(len(dataset))]
        points += curves(methods, name, pairs, ways, given)
    if given.csv:
        with given.csv.open("x", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([Point._fields, *points])


def find_methods(folders: list[Path], models: list[str]) -> dict[str, list[FlowNetwork]]:
    """The networks of each method, one for each seed."""
    found: dict[str, list[FlowNetwork]] = defaultdict(list)
    for folder in folders:
        files = sorted(folder.rglob("model.safetensors"))
        if not files:
            raise SystemExit(f"there is no model.safetensors in {folder}")
        for file in files:  # FOLDER/runs/REGIME/ROW/seedN/model.safetensors
            row = "/".join(file.relative_to(folder).parts[1:-2]) or file.parent.name
            name = row if len(folders) == 1 else f"{folder.name}/{row}"
            found[name].append(load_model(file, "cpu"))
    for name, model in zip(shortest_names(models), models, strict=True):
        found[name].append(load_model(model, "cpu"))
    if not found:
        raise SystemExit("name a folder of a comparison, or --models")
    return found


def generated_pairs(folders: list[Path], size: str, count: int) -> SyntheticPairs:
    """Held-out pairs that look as those of the first folder's comparison, or with slow and fast motion."""
    height, width = size_of(size)
    looks: dict[str, object] = {"speed": (0.5, 20.0)}
    if folders and (about := folders[0] / ABOUT).is_file():
        looks = looks_of(read_record(about))
    settings = SyntheticSettings(**{**looks, "height": height, "width": width, "seed": HELD_OUT_SEED})
    return SyntheticPairs(settings, length=count)


@torch.inference_mode()
def curves(
    methods: dict[str, list[FlowNetwork]],
    data: str,
    pairs: list[FlowSample],
    ways: list[Way],
    given: argparse.Namespace,
) -> list[Point]:
    """Prints a table, and returns its points."""
    zero = statistics.fmean(endpoint_error(0 * p.flow[None], p.flow[None], p.valid[None]).item() for p in pairs)
    height, width = pairs[0].first.shape[1:]
    said = conditions(
        CPU,
        size=f"{height}x{width} px, the first pair",
        dtype="float32",
        iterations="by row",
        correlation="auto",
        rounds=given.rounds,
        warm_up="one round",
        clock=given.clock,
        pairs=len(pairs),
        zero_flow=f"EPE per image {zero:.3f} px",
    )
    columns = ["method", "pair", "refinements, mean", "EPE per image, px", "ms a pair"]
    table = Table(f"Early exit, {data}", said, columns, lines=given.json)
    scores = {name: [score(network, pairs, ways) for network in networks] for name, networks in methods.items()}
    timed = pairs[:: max(1, len(pairs) // given.timed_pairs)][: given.timed_pairs]
    for pair in timed:
        for networks in methods.values():
            check(networks[0], pair, ways)
    counts = {
        (name, way): [count for seed in scores[name] for count in seed[number].counts]
        for name in methods
        for number, way in enumerate(ways)
    }
    needed = dict.fromkeys((name, way.of(count)) for (name, way), found in counts.items() for count in found)
    times = {} if given.no_times else time_all(methods, timed, list(needed), given)
    points = []
    for name in methods:
        for number, way in enumerate(ways):
            found = counts[name, way]
            error = statistics.fmean(seed[number].epe_per_image for seed in scores[name])
            ms = statistics.fmean(times[name, way.of(count)] for count in found) if times else None
            points.append(Point(name, data, str(way), statistics.fmean(found), error, ms))
            table.add(name, *points[-1][2:])
    return points


def score(network: FlowNetwork, pairs: list[FlowSample], ways: list[Way]) -> list[Score]:
    """What each way gives; every pair is refined only once."""
    counts, errors = [], []
    for pair in pairs:
        lengths = Lengths(network)
        flows = lengths.run(pair, max(way.most for way in ways))
        stops = [lengths.stop(way) for way in ways]
        counts.append(stops)
        errors.append([endpoint_error(flows[n - 1], pair.flow[None], pair.valid[None]).item() for n in stops])
    return [
        Score(list(count), statistics.fmean(error))
        for count, error in zip(zip(*counts, strict=True), zip(*errors, strict=True), strict=True)
    ]


class Lengths:
    """How far each refinement has moved the flow."""

    def __init__(self, network: FlowNetwork) -> None:
        self.network = network
        self.found: list[float] = []

    def run(self, pair: FlowSample, iterations: int) -> tuple[torch.Tensor, ...]:
        plain = self.network.refine

        def refine(flow, correlation, state, gate=None, motion=None):
            after, hidden, state = plain(flow, correlation, state, gate, motion)
            self.found.append(update_length(after - flow))
            return after, hidden, state

        self.network.refine = refine
        try:
            return self.network(pair.first[None], pair.second[None], iterations=iterations).flows
        finally:
            self.network.refine = plain

    def stop(self, way: Way) -> int:
        """How many refinements there are that way."""
        still = (n for n, length in enumerate(self.found, 1) if way.below is not None and length < way.below)
        return min(next(still, way.most), way.most)


def check(network: FlowNetwork, pair: FlowSample, ways: list[Way]) -> None:
    """Stopping gives the flow of as many refinements, bit for bit."""
    for way in ways:
        stopped = estimate(network, pair, way)
        expected = estimate(network, pair, Way(stopped.num_refinements))
        if not torch.equal(stopped.flows[-1], expected.flows[-1]):
            raise SystemExit(f"{way}: the flow is not that of {stopped.num_refinements} refinements; nothing is timed")


def estimate(network: FlowNetwork, pair: FlowSample, way: Way):
    return network(pair.first[None], pair.second[None], iterations=way.most, stop_below=way.below, final_only=True)


def time_all(
    methods: dict[str, list[FlowNetwork]],
    pairs: list[FlowSample],
    needed: list[tuple[str, Way]],
    given: argparse.Namespace,
) -> dict[tuple[str, Way], float]:
    """Milliseconds a pair, by method and way."""
    times: dict[tuple[str, Way], list[float]] = defaultdict(list)
    for pair in pairs:
        actions = {f"{name}: {way!r}": partial(estimate, methods[name][0], pair, way) for name, way in needed}
        found = interleaved_seconds(actions, given.rounds, CPU, clock=given.clock)
        for key, seconds in zip(needed, found.values(), strict=True):
            times[key].append(1000 * statistics.median(seconds))
    return {key: statistics.fmean(found) for key, found in times.items()}


if __name__ == "__main__":
    main()

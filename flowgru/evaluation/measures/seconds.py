"""The seconds of each pair, with all that they depend on, and whether the machine had something else to do."""

import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import Way
from flowgru.data.classical import num_threads
from flowgru.errors import sides
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.evaluation.evaluate import Chain, Estimate, Estimator
from flowgru.evaluation.measures.sections import Column, MeasuredTable, Section, Value
from flowgru.evaluation.measures.subjects import Subject
from flowgru.grid import padding_for
from flowgru.model.correlation.choice import preferred_method
from flowgru.model.pair_network import PairNetwork
from flowgru.types import Images

BUSY = 0.1
"""Cores' worth of other programs' work from which on the machine counts as busy."""
CLIP_PAIRS = 8
"""Pairs of a clip without true flow that are timed; of other data all are."""


class Timed:
    """An Estimator that passes on another one's flows, and keeps how long each took."""

    def __init__(self, estimator: Estimator, device: torch.device) -> None:
        self.estimator, self.device = estimator, device
        self.wall: list[float] = []
        self.processor: list[float] = []
        self.sizes: list[tuple[int, int]] = []
        self.began: list[str] = []
        """Where the refinement of each began, see Estimate."""
        self.others: list[float] = []
        """Seconds of processor time that other programs had meanwhile; right in their sum alone: the system counts in
        hundredths of a second. Empty where it does not say."""

    def __call__(self, first: Images, second: Images, start: InitialFlow | None = None, /) -> Estimate:
        if first.data_ptr() == second.data_ptr():  # a picture with itself, which is no pair of the data
            return self.estimator(first, second, start)
        busy, began, processor = busy_seconds(), time.perf_counter(), time.process_time()
        found = self.estimator(first, second, start)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        own = time.process_time() - processor
        self.wall.append(time.perf_counter() - began)
        self.processor.append(own)
        self.sizes.append((first.shape[2], first.shape[3]))
        self.began.append(found.initial_flow)
        if busy is not None and (after := busy_seconds()) is not None:
            self.others.append(after - busy - own)
        return found


def busy_seconds() -> float | None:
    """Seconds of processor time that all programs of the machine have had, on all cores; None where nobody says."""
    try:
        ticks = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, irq, soft_irq, steal = ticks
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")


def time_clip(subject: Subject, timed: Timed) -> None:
    """Some pairs of a clip whose errors nobody measures, one after the other, as evaluate goes through a data set."""
    chain = Chain(timed, subject.given)
    for index in range(min(CLIP_PAIRS, len(subject.pairs))):
        sample = subject.pairs[index]
        start = chain.start(subject.pairs.pairs[index], sample.name, tuple(sample.first.shape[1:]))
        with torch.inference_mode():
            chain.estimate(sample.first[None], sample.second[None], start)


def time_section(
    timed: Sequence[tuple[str, Timed]], settings: ModelSettings, way: Way | None, network: PairNetwork | None = None
) -> Section:
    """A line for each data set. The first pair is left out where there are others: it is the first use of everything."""
    rows, notes = [], []
    for label, each in timed:
        if not each.wall:
            continue
        first = 1 if len(each.wall) > 1 else 0
        wall, processor = each.wall[first:], each.processor[first:]
        size = statistics.median_low(each.sizes)
        rows.append(
            [
                label,
                len(wall),
                sides(size),
                statistics.median(wall),
                statistics.fmean(wall),
                statistics.fmean(processor),
                *_conditions(each, first, settings, way, network),
            ]
        )
        if (others := sum(each.others[first:]) / sum(wall)) > BUSY:
            cores = os.cpu_count() or 1
            notes.append(
                f"warning: the machine was busy while the pairs of {label} were timed: other programs had {others:.1f} of "
                f"its {cores} cores. The wall seconds are too long; time again on a quiet machine."
            )
    says = (
        "Seconds of a pair without reading it: wall seconds as a clock on the wall shows them, and cpu seconds, which the "
        "processor's cores had together. The first pair of each set is left out where there are others. threads are "
        "PyTorch's, or OpenCV's for a classical method; opencv_threads are OpenCV's where DIS or the "
        "variational refinement have a part in a network's way. iterations and way are what was asked for: a pair that "
        "begins at the flow before it, or is too small for more scales, has other refinements, and stop_below px ends them "
        "early. initial_flow names where the counted pairs began, and how many of them where not all began alike."
    )
    columns = [
        Column("set"), Column("pairs"), Column("size", "px"), Column("wall_median", "s"), Column("wall_mean", "s"),
        Column("cpu_mean", "s"), Column("threads"), Column("precision"), Column("iterations"), Column("initial_flow"),
        Column("correlation"), Column("device"), Column("way"), Column("opencv_threads"), Column("stop_below", "px"),
        Column("tiles"), Column("compile"),
    ]  # fmt: skip
    return Section("--time", "Seconds of a pair", [MeasuredTable("time", says, columns, rows)], notes=notes)


def _conditions(
    timed: Timed, first: int, settings: ModelSettings, way: Way | None, network: PairNetwork | None
) -> list[Value]:
    """What the seconds depend on, from pair `first` on; of a method that is no network there is not all of it."""
    if way is None or network is None:
        return [num_threads(), *4 * [None], str(timed.device), *5 * [None]]
    correlation = network.plan.correlation
    if correlation == "auto" and settings.rows_and_columns() == (1, 1):
        height, width = statistics.median_low(timed.sizes)
        rows, columns = padding_for(height, width).coarse_size(height, width)
        levels = network.config.sizes.correlation_levels
        with torch.no_grad():
            correlation = f"auto: {preferred_method(1, rows, columns, levels, timed.device)}"
    threads = torch.get_num_threads()
    opencv_threads = num_threads() if way.initial_flow == "dis" or way.polish else None
    of_way = [way.iterations, _initial_flows(timed.began[first:]), correlation, str(timed.device), str(way)]
    others = [settings.stop_below, sides(settings.rows_and_columns()), "yes" if settings.compile else "no"]
    return [threads, settings.precision, *of_way, opencv_threads, *others]


def _initial_flows(began: Sequence[str]) -> str:
    """Where pairs began: dis; or 1 dis, 2 warm."""
    counts = Counter(began)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{count} {name}" for name, count in counts.items())

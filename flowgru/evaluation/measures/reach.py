"""How far flow reaches: its error against the length of the true flow, and on one scene at several sizes."""

import math
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.console import progress
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.scene import Scene
from flowgru.errors import MachineError, RequestError, sides
from flowgru.evaluation.evaluate import Estimator
from flowgru.evaluation.measures.sections import Chart, Column, Curve, MeasuredTable, Section, Value
from flowgru.evaluation.measures.subjects import estimated, mean_distance
from flowgru.evaluation.measures.temporal import NUM_TEXTURES, SEED
from flowgru.grid import lengths
from flowgru.model.memory import forget_peak, peak_memory, used_memory
from flowgru.types import Flow

EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Lengths of the true flow in pixels at which bins begin; the last one has no end."""
SPEED = 0.02
"""Typical displacement in the generated scene, as a share of its diagonal."""
MIB = 2**20


class ReachBins:
    """Gathers the errors of a data set by the length of the true flow."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._sums, self._counts = (torch.zeros(len(EDGES), dtype=torch.float64) for _ in range(2))
        self._far = torch.zeros(len(EDGES), dtype=torch.float64)

    def add(self, sample: FlowSample, flow: Flow) -> None:
        """Adds the valid pixels of one pair."""
        valid, target = sample.valid.cpu(), sample.flow.cpu().double()
        errors = lengths(flow[0].detach().cpu().double() - target)[valid]
        errors = errors.nan_to_num(nan=math.inf, posinf=math.inf)
        edges = torch.tensor(EDGES, dtype=torch.float64)
        places = torch.bucketize(lengths(target)[valid], edges, right=True) - 1
        self._sums.index_add_(0, places, errors)
        self._counts.index_add_(0, places, torch.ones_like(errors))
        self._far.index_add_(0, places, (errors > 3).double())

    def rows(self) -> list[list[Value]]:
        """A line for each bin with pixels."""
        total, rows = float(self._counts.sum()), []
        for number, low in enumerate(EDGES):
            if not (count := float(self._counts[number])):
                continue
            high = EDGES[number + 1] if number + 1 < len(EDGES) else None
            error, far = float(self._sums[number]) / count, 100 * float(self._far[number]) / count
            rows.append([self.label, low, high, error, far, 100 * count / total])
        return rows


def reach_section(bins: Sequence[ReachBins], sweep: MeasuredTable | None, notes: Sequence[str]) -> Section:
    """The section of both parts; without a sweep for what estimates nothing."""
    rows = [row for each in bins for row in each.rows()]
    says = (
        "Error by the length of the true flow: epe is the mean end-point error of the valid pixels whose true flow is as "
        "long as `from` or longer, and shorter than `to`, outlier_3px the share of them with an error above 3 px."
    )
    columns = [
        Column("set"), Column("from", "px"), Column("to", "px"), Column("epe", "px"), Column("outlier_3px", "%"),
        Column("share_of_pixels", "%"),
    ]  # fmt: skip
    tables = [MeasuredTable("reach", says, columns, rows)] if rows else []
    curves = []
    for each in bins:
        if found := each.rows():
            # The middle of a bin; the first and the last have none on a logarithmic axis.
            x = [math.sqrt(max(low, 0.25) * (high or 2 * low)) for _, low, high, *_ in found]  # pyright: ignore
            curves.append(Curve(each.label, x, [row[3] for row in found]))  # pyright: ignore
    charts = [Chart("Error against the length of the true flow", "length of the true flow [px]", "epe [px]", curves)]
    if sweep is not None:
        tables.append(sweep)
        sizes = [f"{row[0]}" for row in sweep.rows]
        error = [float("nan") if row[2] is None else row[2] for row in sweep.rows]
        charts.append(
            Chart("One scene at several sizes", "size of the scene [px]", "epe [px]",
                  [Curve("epe", range(len(sizes)), error)], ticks=sizes)  # pyright: ignore
        )  # fmt: skip
    return Section("--reach", "Reach", tables, charts if curves else charts[1:], notes)


def measure_sizes(
    estimator: Estimator, device: torch.device, sizes: Sequence[tuple[int, int]]
) -> tuple[MeasuredTable, list[str]]:
    """One generated scene at every size, the smallest first, each with its exact flow; and why the model refused a size."""
    rows: list[list[Value]] = []
    refused: dict[str, str] = {}
    with progress("generated scene", len(sizes), "sizes") as advance:
        pairs = scene_pairs(sizes)
        *_, first_memory = _measured(estimator, device, pairs[0], refused)  # whose seconds are not counted
        for pair in pairs:
            *numbers, memory = _measured(estimator, device, pair, refused)
            # What the first use has taken and kept, a second one of that size does not take again.
            if pair is pairs[0] and first_memory is not None and memory is not None:
                memory = max(memory, first_memory)
            rows.append([*numbers, memory])
            advance()
    says = (
        "One generated scene at several sizes, each with its exact flow. true_flow is the mean length of that flow; epe the "
        "mean end-point error over all pixels, and epe_relative its share of the mean length. seconds are those of one "
        "pair, after one at the smallest size that is not counted; memory is by how much the process's memory, or the "
        "GPU's, rose at most. A dash stands where memory did not suffice, or where the model refuses that size."
    )
    columns = [
        Column("size", "px"), Column("true_flow", "px"), Column("epe", "px"), Column("epe_relative", "%"),
        Column("seconds", "s"), Column("memory", "MiB"),
    ]  # fmt: skip
    notes = [f"The scene of {size} px is left out: {reason}" for size, reason in refused.items()]
    return MeasuredTable("reach_sizes", says, columns, rows), notes


def scene_pairs(sizes: Sequence[tuple[int, int]]) -> list[FlowSample]:
    """The scene at each size. It is painted at the largest one, and averaged down for the others, as a camera does."""
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    speed = SPEED * math.hypot(height, width)
    settings = SyntheticSettings(
        height=height, width=width, seed=SEED, static_share=0.0, still_background_share=0.0, speed=(speed, speed),
        most_speed=speed, furthest=0.1, layers=(8, 12), num_textures=NUM_TEXTURES,
    )  # fmt: skip
    scene = Scene.draw(settings, 0)
    largest = [scene.frame(moment) for moment in (0, 1)]
    pairs = []
    for size in sizes:
        whole = size == (height, width)
        first, second = (frame.picture if whole else _smaller(frame.picture, size) for frame in largest)
        flow = largest[0].flow if whole else scene.frame(0, size).flow
        known = torch.ones(size, dtype=torch.bool)
        pairs.append(FlowSample(first, second, flow, known, None, sides(size)))
    return pairs


def _smaller(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return (F.interpolate(picture[None], size, mode="area")[0] * 255).round() / 255


def _measured(
    estimator: Estimator, device: torch.device, pair: FlowSample, refused: dict[str, str]
) -> tuple[str, float, float | None, float | None, float | None, float | None]:
    """A line of the table; its error and what follows are None where memory does not suffice, or the model has `refused`."""
    length = float(lengths(pair.flow.double()).mean())
    try:
        forget_peak(device)
        before, began = used_memory(device), time.perf_counter()
        flow = estimated(estimator, pair.first, pair.second)
        seconds, rise = time.perf_counter() - began, peak_memory(device) - before
    except RequestError as error:
        refused[pair.name] = str(error)
        return pair.name, length, None, None, None, None
    except (MachineError, MemoryError):
        return pair.name, length, None, None, None, None
    error = mean_distance(flow, pair.flow)
    return pair.name, length, error, 100 * error / length if length else None, seconds, rise / MIB

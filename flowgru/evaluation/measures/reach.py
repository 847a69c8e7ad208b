"""How far flow reaches: its error against the length of the true flow, and on one scene at several sizes."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from flowgru.evaluation.measures.sweep import Sweep
from flowgru.evaluation.measures.temporal import NUM_TEXTURES, SEED
from flowgru.grid import lengths
from flowgru.model.memory import forget_peak, peak_memory, used_memory
from flowgru.types import Flow

EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Lengths of the true flow in pixels at which bins begin; the last one has no end."""
SPEED = 0.02
"""Typical displacement in the generated scene, as a share of its diagonal."""
MIB = 2**20
SCENE = "generated scene"


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


class SceneRow(NamedTuple):
    """The scene at one size, as a line of reach_sizes.csv."""

    size: str
    true_flow: float
    epe: float | None = None
    """This and what follows are None where memory does not suffice, or where the model refuses the size."""
    epe_relative: float | None = None
    seconds: float | None = None
    memory: float | None = None


def kinds_of_scene(sizes: Sequence[tuple[int, int]]) -> list[str]:
    """What a sweep calls the scene at each size. The largest one makes the scene: with another it is another scene."""
    largest = max(sizes, key=lambda size: size[0] * size[1])
    return [f"the scene of {sides(largest)} at {sides(size)}" for size in sizes]


def measure_sizes(
    estimator: Estimator,
    device: torch.device,
    sizes: Sequence[tuple[int, int]],
    sweep: Sweep,
    conditions: Mapping[str, Any],
) -> tuple[MeasuredTable, list[str]]:
    """One generated scene at every size, the smallest first, each with its exact flow; and why the model refused a size.

    What `sweep` holds of an earlier run is not done again where its `conditions` were these, on which seconds depend.
    """
    kinds, refused = kinds_of_scene(sizes), dict[str, str]()
    rows = {kind: row for kind in kinds if (row := _found(kind, sweep, conditions)) is not None}
    if missing := [place for place, kind in enumerate(kinds) if kind not in rows]:
        with progress(SCENE, len(missing), "sizes") as advance:
            pairs = scene_pairs(sizes)
            first = _measured(estimator, device, pairs[0], refused)  # whose seconds are not counted
            for place in missing:
                before = first if place == 0 else None
                if before is None and device.type == "cuda":  # algorithms are chosen, and kernels loaded, for each size
                    before = _measured(estimator, device, pairs[place], refused)
                row = _measured(estimator, device, pairs[place], refused)
                # What the first use has taken and kept, a second one of that size does not take again. After an interruption
                # the sizes that are known take nothing here, so that the next one may take more memory than in one run.
                if before is not None and before.memory is not None and row.memory is not None:
                    row = row._replace(memory=max(row.memory, before.memory))
                rows[kinds[place]] = row
                if row.epe is not None:
                    sweep.add(SCENE, 0, kinds[place], {**row._asdict(), "conditions": {**conditions}})
                advance()
    says = (
        "One generated scene at several sizes, each with its exact flow. true_flow is the mean length of that flow; epe the "
        "mean end-point error over all pixels, and epe_relative its share of the mean length. seconds are those of one "
        "pair, after one at the smallest size, or on a GPU at each, that is not counted; memory is by how much the "
        "process's memory, or the GPU's, rose at most. A dash stands where memory did not suffice, or where the model "
        "refuses that size."
    )
    columns = [
        Column("size", "px"), Column("true_flow", "px"), Column("epe", "px"), Column("epe_relative", "%"),
        Column("seconds", "s"), Column("memory", "MiB"),
    ]  # fmt: skip
    notes = [f"The scene of {size} px is left out: {reason}" for size, reason in refused.items()]
    return MeasuredTable("reach_sizes", says, columns, [[*rows[kind]] for kind in kinds]), notes


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


def _measured(estimator: Estimator, device: torch.device, pair: FlowSample, refused: dict[str, str]) -> SceneRow:
    """`refused` takes the reason where the model refuses the size."""
    length = float(lengths(pair.flow.double()).mean())
    try:
        forget_peak(device)
        before, began = used_memory(device), time.perf_counter()
        flow = estimated(estimator, pair.first, pair.second)
        seconds, rise = time.perf_counter() - began, peak_memory(device) - before
    except RequestError as error:
        refused[pair.name] = str(error)
        return SceneRow(pair.name, length)
    except (MachineError, MemoryError):
        return SceneRow(pair.name, length)
    error = mean_distance(flow, pair.flow)
    return SceneRow(pair.name, length, error, 100 * error / length if length else None, seconds, rise / MIB)


def _found(kind: str, sweep: Sweep, conditions: Mapping[str, Any]) -> SceneRow | None:
    row = sweep.find(SCENE, 0, kind)
    if row is None or row.keys() != {*SceneRow._fields, "conditions"} or row["conditions"] != conditions:
        return None
    numbers = {name: row[name] for name in SceneRow._fields[1:]}
    if not all(isinstance(number, int | float) for number in numbers.values()):  # no sweep has left such a row
        return None
    return SceneRow(str(row["size"]), **numbers)

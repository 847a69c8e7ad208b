"""How steady flow is over time: flicker, the drift of chained flows, and the flow of still pairs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise, tee
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.config.evaluation.measures import HORIZONS
from flowgru.console import Advance, progress
from flowgru.data.synthetic.scene import Scene, SceneFrame
from flowgru.errors import size_text
from flowgru.evaluation.evaluate import Estimator, follows
from flowgru.evaluation.measures.sections import Chart, Column, Curve, MeasuredTable, Section, Value, mean
from flowgru.evaluation.measures.subjects import Subject, estimated, estimated_clip, mean_distance, read_pairs
from flowgru.grid import backward_warp, lengths, pixel_grid, sample

SEED = 2_000_011
"""Of all generated clips and scenes; neither training nor its validation draws from it."""
NUM_TEXTURES = 12
"""Enough for as many layers; each takes a moment to be made."""
NUM_CLIPS = 2
"""Generated clips of each kind."""
STILL_NOISE = 2 / 255
FlowsOfClip = Callable[[Iterable[Tensor]], Iterator[Tensor]]
"""From the frames [3, H, W] of a clip to the flow [2, H, W] from each to the next."""
KINDS = ("constant motion", "generated motion")


class Measured(NamedTuple):
    """What one generated clip gives."""

    error: float
    """Mean end-point error of its pairs in pixels."""
    flicker: float
    drift: list[tuple[float, float]]
    """After each number of frames from 1 on: mean distance in pixels of the chained points from the true ones, and the
    share of the points that are still seen."""


def carried_difference(
    flow: Float[Tensor, "2 H W"], following: Float[Tensor, "2 H W"], along: Float[Tensor, "2 H W"]
) -> tuple[Float[Tensor, "2 H W"], Bool[Tensor, "H W"]]:
    """How the flow of a point changes from one pair to the next, carried along by `along`, and where that stays inside."""
    carried, inside = backward_warp(following[None], along[None])
    return carried[0] - flow, inside[0]


def scene_of(height: int, width: int, index: int, *, constant: bool) -> Scene:
    """A generated scene that moves so slowly that most of it is still seen after 32 frames."""
    settings = SyntheticSettings(
        height=height,
        width=width,
        seed=SEED,
        layers=(2, 6),
        speed=(0.5, 2.0),
        static_share=0.0,
        still_background_share=0.0,
        nonrigidity=0.0,
        holes=0.0,
        num_textures=NUM_TEXTURES,
    )
    scene = Scene.draw(settings, index)
    return scene.with_constant_motion() if constant else scene


def measure_clip(scene: Scene, num_frames: int, estimate: FlowsOfClip, advance: Advance) -> Measured:
    """Estimates every pair of a scene's clip, each from where the method begins."""
    start = scene.frame(0)
    frames, others = tee(chain([start], map(scene.frame, range(1, num_frames))))
    flows = estimate(frame.picture for frame in others)
    earlier: tuple[Tensor, SceneFrame] | None = None
    grid = pixel_grid(scene.height, scene.width, like=start.flow.double())[0]
    chained, seen = grid.clone(), torch.ones_like(start.tops, dtype=torch.bool)
    errors, flickers, drift = [], [], []
    for time, (flow, (before, now)) in enumerate(zip(flows, pairwise(frames), strict=True), start=1):
        errors.append(mean_distance(flow, before.flow))
        if earlier is not None:
            flickers.append(_flicker(earlier, flow, before))
        chained = chained + sample(flow[None], chained.permute(1, 2, 0)[None])[0]
        true = scene.places(start.tops, time)
        seen = seen & scene.seen(true, start.tops, now.tops)
        drift.append((mean_distance(chained, true.double(), seen), seen.double().mean().item()))
        earlier = flow, before
        advance()
    return Measured(mean(errors) or 0.0, mean(flickers) if flickers else float("nan"), drift)  # pyright: ignore


def _flicker(earlier: tuple[Tensor, SceneFrame], flow: Tensor, frame: SceneFrame) -> float:
    """Mean length by which a point's flow changes otherwise than its true flow does, where it is seen in both frames."""
    flow_before, frame_before = earlier
    along = frame_before.flow.double()
    found, inside = carried_difference(flow_before, flow, along)
    true, _ = carried_difference(along, frame.flow.double(), along)
    height, width = frame.tops.shape
    left, above = (pixel_grid(height, width, like=along)[0] + along).floor().long()
    for x, y in ((left, above), (left + 1, above), (left, above + 1), (left + 1, above + 1)):
        # Between two layers there is no flow of one point to be read.
        inside = inside & (frame.tops[y.clamp(0, height - 1), x.clamp(0, width - 1)] == frame_before.tops)
    return mean_distance(found, true, inside)


def flicker_of_pairs(subject: Subject) -> float | None:
    """The same of consecutive pairs of a data set, carried along by the estimated flow itself; None where none are."""
    values, last, flow_before = [], None, None
    with progress(f"{subject.label} flicker", len(subject.pairs), "pairs") as advance:
        for pair in read_pairs(subject):
            files = subject.pairs.pairs[pair.index]
            flow = estimated(subject.estimator, pair.sample.first, pair.sample.second, pair.start)
            if flow_before is not None and follows(last, files) and flow.shape == flow_before.shape:
                change, inside = carried_difference(flow_before, flow, flow_before)
                values.append(mean_distance(change, torch.zeros_like(change), inside))
            last, flow_before = files, flow
            advance()
    return mean(values)


def measure_temporal(
    subjects: Sequence[Subject], estimator: Estimator, size: tuple[int, int], num_frames: int
) -> Section:
    """All measures on generated clips, and flicker on the subjects that have consecutive pairs."""
    estimate = partial(estimated_clip, estimator)
    rows: list[list[Value]] = []
    curves = []
    with progress("generated clips", 2 * NUM_CLIPS * (num_frames - 1), "pairs") as advance:
        for kind in KINDS:
            scenes = [scene_of(*size, index, constant=kind == KINDS[0]) for index in range(NUM_CLIPS)]
            clips = [measure_clip(scene, num_frames, estimate, advance) for scene in scenes]
            drift = [mean([clip.drift[time][0] for clip in clips]) for time in range(num_frames - 1)]
            ends = [drift[horizon - 1] if horizon < num_frames else None for horizon in HORIZONS]
            seen = mean([clip.drift[-1][1] for clip in clips])
            flicker, error = mean([clip.flicker for clip in clips]), mean([clip.error for clip in clips])
            rows.append([f"generated: {kind}", error, flicker, *ends, None if seen is None else 100 * seen])
            known = [float("nan") if value is None else value for value in drift]
            curves.append(Curve(kind, [float(time) for time in range(1, num_frames)], known))
    notes = []
    for subject in subjects:
        if not any(follows(one, two) for one, two in zip(subject.pairs.pairs, subject.pairs.pairs[1:], strict=False)):
            notes.append(
                f"{subject.label} has single pairs, none of which goes on where another ends: --temporal measures generated "
                "clips alone there."
            )
            continue
        rows.append([subject.label, None, flicker_of_pairs(subject), None, None, None, None])
    chart = Chart("Drift of points that follow the flows", "frames", "distance from the true place [px]", curves)
    return Section(
        "--temporal", "Steadiness over time", [_table(rows, size, num_frames), _still(size, estimator)], [chart], notes
    )


def _table(rows: list[list[Value]], size: tuple[int, int], num_frames: int) -> MeasuredTable:
    says = (
        f"On {NUM_CLIPS} generated clips of {num_frames} frames of {size_text(size)} for each kind of motion. flicker "
        "is the mean length by which the flow of a point changes from one pair to the next otherwise than its true flow "
        "does; on data, where the true flow of the next pair is not at hand, it is the whole change, carried along by the "
        "estimated flow. drift_N is the mean distance of a point that has followed the flows of N pairs from its true "
        "place, over the points that are seen all the time; points_left says how many these are at the end."
    )
    drifts = [Column(f"drift_{horizon}", "px") for horizon in HORIZONS]
    columns = [Column("clips"), Column("epe", "px"), Column("flicker", "px"), *drifts, Column("points_left", "%")]
    return MeasuredTable("temporal", says, columns, rows)


def _still(size: tuple[int, int], estimator: Estimator) -> MeasuredTable:
    """The flow of pairs in which nothing moves."""
    frame = scene_of(*size, 0, constant=True).frame(0).picture
    draws = torch.Generator().manual_seed(SEED)
    noisy = [
        ((frame + STILL_NOISE * torch.randn(frame.shape, generator=draws)).clamp(0, 1) * 255).round() / 255
        for _ in range(2)
    ]
    grey = torch.full_like(frame, 128 / 255)
    pairs = {"the same frame twice": (frame, frame), "with noise of 2/255": noisy, "one colour": (grey, grey)}
    rows: list[list[Value]] = []
    for name, (first, second) in pairs.items():
        flow = estimated(estimator, first, second)
        rows.append([name, mean_distance(flow, torch.zeros_like(flow)), float(lengths(flow).max())])
    says = "Pairs in which nothing moves: the true flow is 0. static_flow is the mean length of the flow found."
    return MeasuredTable("still", says, [Column("pair"), Column("static_flow", "px"), Column("longest", "px")], rows)

"""How right tracks are: points of generated clips, followed by plain chaining and by the chosen chains.

python benchmarks/tracks.py [--model default] [--clips 20] [--frames 24] [--size 192x256] [--grid 16] [--strides 1 2 4 8]

Each clip has exact tracks (flowgru.data.synthetic.clip.exact_tracks), and a seed that no training used; its frames have
no noise. Plain chaining follows each point by the flows from frame to frame. Shares within N px: of the points that are
really seen in a frame, after the first, those that are followed to at most N px (TAP-Vid's measure, Doersch et al. 2022);
occlusion accuracy: of all points in these frames, those of which it is said rightly whether they are seen. Means over
clips of each clip's share, in percent. The last lines are the difference of the second row minus the first, within 4 px,
and its 95 % interval by the bootstrap over clips (percentiles of 10,000 resamples). Each clip is told of on stderr.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from reporting import HELD_OUT_SEED, arguments, begin, bootstrap_interval, circumstances, parsed, size_of
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.way import resolve_way
from flowgru.data.synthetic.clip import ExactTracks, exact_tracks, render_clip
from flowgru.estimation.matching.matcher import PairMatcher, PairResult
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame
from flowgru.model.weight_files.loading import load_model
from flowgru.tracking.chains import Followed
from flowgru.tracking.points import grid_points
from flowgru.tracking.tracker import follow

THRESHOLDS = (1, 2, 4, 8, 16)
DECIDES = THRESHOLDS.index(4)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", default="192x256", help="of the generated clips")
    parser.add_argument("--grid", type=int, default=16, help="rows of points, and points in each of them")
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--photos", default="skimage", help="what layers are painted with; empty: generated textures")
    given = parsed(parser)
    device = begin(given)
    height, width = size_of(given.size)
    settings = SyntheticSettings(
        height=height,
        width=width,
        seed=given.seed,
        speed=(0.5, 6.0),
        static_share=0.0,
        nonrigidity=0.02,
        photos=given.photos or None,
    )
    network = load_model(given.model, device)
    rows = {"flows from frame to frame": (1,), f"chains over {', '.join(map(str, given.strides))}": given.strides}
    found = {name: [] for name in rows}
    points = grid_points(given.grid, height, width)
    for index in range(given.clips):
        truth = exact_tracks(settings, index, given.frames, points)
        clip = render_clip(settings, index, given.frames)
        frames = [StreamFrame(frame[None], number) for number, frame in enumerate(clip.frames)]
        way = resolve_way(network.card)
        matcher = RememberingMatcher(
            network, MatchSettings(way, backward=True, confidence=True), remembers=given.frames
        )
        for name, strides in rows.items():
            found[name].append(scores(truth, [each.points for each in follow(frames, points, matcher, strides)]))
            print(index, name, *(f"{share:.1f}" for share in found[name][-1]), file=sys.stderr, flush=True)
    said = circumstances(
        device,
        model=given.model,
        clips=given.clips,
        frames=given.frames,
        points=f"{given.grid}x{given.grid}",
        size=f"{height}x{width} px",
        seed=given.seed,
    )
    columns = ["followed by", *(f"within {limit} px, %" for limit in THRESHOLDS), "occlusion accuracy, %"]
    table = Table("Tracks", said, columns, lines=given.json)
    for name in rows:
        table.add(name, *(f"{mean:.1f}" for mean in np.mean(found[name], axis=0)))
    plain, chosen = (np.array(found[name])[:, DECIDES] for name in rows)
    print(f"\nwithin 4 px, chosen chains minus plain chaining: {difference(chosen - plain)}")


class RememberingMatcher(PairMatcher):
    """Matches each pair of a clip's frames once, for both rows."""

    def match(self, first: Tensor, second: Tensor, *starts: Any, **options: Any) -> PairResult:
        known: dict[tuple[int, int], PairResult] = self.__dict__.setdefault("results", {})
        pair = id(first), id(second)  # the clip holds its frames
        if pair not in known:
            known[pair] = super().match(first, second, *starts, **options)
        return known[pair]


def scores(truth: ExactTracks, followed: Sequence[Followed]) -> list[float]:
    """The shares of one clip, in percent."""
    positions = torch.stack([each.positions for each in followed]).cpu()
    visible = torch.stack([each.visible for each in followed]).cpu()
    return [*within(truth, positions), 100 * (visible == truth.visible)[1:].float().mean().item()]


def within(truth: ExactTracks, positions: Tensor) -> Iterator[float]:
    """For each threshold the share of the points seen that are within it."""
    errors = torch.linalg.vector_norm(positions - truth.positions, dim=2)[1:][truth.visible[1:]]
    for limit in THRESHOLDS:
        yield 100 * (errors <= limit).float().mean().item()


def difference(values: np.ndarray) -> str:
    """The mean over clips, and its interval, which one clip does not give."""
    if len(values) < 2:
        return f"{values.mean():+.2f} points of percent"
    low, high = bootstrap_interval(values)
    return f"{values.mean():+.2f} points of percent, 95 % interval {low:+.2f} to {high:+.2f}"


if __name__ == "__main__":
    main()

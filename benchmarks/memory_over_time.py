"""What a network has of the pairs before: none of it, their flow (warm start), or a memory over time (network.memory).

python benchmarks/memory_over_time.py MODEL [MODEL ...] [--clips 16] [--frames 8] [--size 192x256] [--root datasets]

Each model is measured on generated clips, whose seed no training used, and on the consecutive pairs of Sintel where they
are found under --root; a set of which no pair goes on after another is left out, and said. Its rows: each pair for itself;
with --warm-start; and, of a model with a memory, with what it remembers of the pairs before. The other rows of such a model
begin without a memory in each pair. `px` is the mean error of all pairs, `going on` of those alone that go on after
another, `difference` what the row changes in these against each pair for itself: the mean over clips of each clip's mean,
so that it is not the difference of two columns where clips differ in length, with its 95 % interval by the bootstrap over
clips (percentiles of 10,000 resamples). The network alone refines from zero; "its card's way" is what the model
recommends.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from reporting import (
    HELD_OUT_SEED,
    add_root,
    arguments,
    begin,
    bootstrap_interval,
    circumstances,
    opened,
    parsed,
    size_of,
)
from torch.utils.data import Dataset

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.clip import PairsOfClips
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import Estimator, NetworkEstimator, Samples, evaluate, follows
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model

ALONE = "each pair for itself"
SINTEL = ("sintel_clean", "sintel_final")


class Files(NamedTuple):
    """Which frames a generated pair is of, as the pairs of a data set name theirs."""

    first: str
    second: str


class Clips(Dataset[FlowSample]):
    """Generated clips, each made once."""

    def __init__(self, settings: SyntheticSettings, num_clips: int) -> None:
        num_pairs = settings.clip_frames - 1
        made = PairsOfClips(settings)
        self.samples = [made[index] for index in range(num_clips * num_pairs)]
        names = [divmod(index, num_pairs) for index in range(len(self.samples))]
        self.pairs = [Files(f"{clip}/{place}", f"{clip}/{place + 1}") for clip, place in names]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> FlowSample:
        return self.samples[index]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="+", help="the first one may be the model that a memory was added to")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=8, help="of a generated clip")
    parser.add_argument("--size", default="192x256", help="of the generated clips")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--photos", default="skimage", help="what layers are painted with; empty: generated textures")
    parser.add_argument("--textures", type=int, default=64, help="generated textures in the bank")
    parser.add_argument("--iterations", type=int, default=12, help="of the network alone, from zero")
    add_root(parser)
    given = parsed(parser)
    device = begin(given)
    height, width = size_of(given.size)
    settings = SyntheticSettings(
        height=height,
        width=width,
        seed=given.seed,
        clip_frames=given.frames,
        speed=(0.5, 20.0),
        static_share=0.0,
        photos=given.photos or None,
        num_textures=given.textures,
    )
    sets = {"generated": Clips(settings, given.clips), **dict(consecutive(given.root))}
    said = circumstances(device, clips=given.clips, frames=given.frames, size=f"{height}x{width} px", seed=given.seed)
    columns = ["model", "set", "way", "row", "px", "going on, px", "difference, px (95 %)"]
    table = Table("Memory over time", said, columns, lines=given.json)
    for model in given.models:
        network = load_model(model, device)
        ways = {"network alone": Way(given.iterations), "its card's way": resolve_way(network.card)}
        for name, samples in sets.items():
            for way_name, way in ways.items():
                measure(table, (model, name, way_name), network, way, samples)


def consecutive(root: str) -> Iterator[tuple[str, Samples]]:
    """The sets of Sintel of which some pairs go on after others; of each other one, why it is left out."""
    for name, pairs in opened(SINTEL, root):
        if any(clips_of(pairs)[1]):
            yield name, pairs
        else:
            print(f"{name}: not measured, none of its {len(pairs)} pairs goes on after another", file=sys.stderr)


def measure(table: Table, beginning: tuple[str, str, str], network: FlowNetwork, way: Way, samples: Samples) -> None:
    """The rows of a model on a set."""
    plain, warm = (NetworkEstimator(network, MatchSettings(way, warm_start=warm)) for warm in (False, True))
    rows = {ALONE: forgetting(plain), "warm start": without_memory(warm)}
    if network.config.memory:
        rows |= {"memory": plain, "memory and warm start": warm}
    clips, goes_on = clips_of(samples)
    alone: np.ndarray | None = None
    for name, estimator in rows.items():
        errors = np.array([pair.metrics["epe"] for pair in evaluate(estimator, samples).pairs])
        alone = errors if alone is None else alone
        changes = errors - alone
        by_clip = [changes[goes_on & (clips == clip)].mean() for clip in np.unique(clips[goes_on])]
        shown = "" if name == ALONE else difference(np.array(by_clip))
        table.add(*beginning, name, float(errors.mean()), float(errors[goes_on].mean()), shown)
        print(*beginning, name, f"{errors[goes_on].mean():.3f}", shown, file=sys.stderr, flush=True)


def clips_of(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """The number of the clip that each pair is of, and whether it goes on after the pair before."""
    files = samples.pairs  # pyright: ignore[reportAttributeAccessIssue]
    goes_on = np.array([index > 0 and follows(files[index - 1], files[index]) for index in range(len(files))])
    return (~goes_on).cumsum(), goes_on


def forgetting(estimator: Estimator) -> Estimator:
    """The same, with nothing of the pair before."""
    return lambda first, second, start=None: estimator(first, second, None)._replace(carried=None)


def without_memory(estimator: Estimator) -> Estimator:
    """The same, with the flow of the pair before and nothing else of it."""

    def estimate(first, second, start=None):
        found = estimator(first, second, start)
        return found._replace(carried=found.carried and found.carried._replace(memory=None))

    return estimate


def difference(values: np.ndarray) -> str:
    """The mean over clips, and its interval; of a single clip the mean alone."""
    if len(values) < 2:
        return f"{values.mean():+.3f}"
    low, high = bootstrap_interval(values)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()

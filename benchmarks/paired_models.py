"""Compares weights pair by pair on generated pairs: mean error, and the geometric mean of its ratio to the first model's,
with its 95 % interval over the pairs (Student's t, of the logarithms).

python benchmarks/paired_models.py MODEL MODEL ... [--pairs 16] [--height 440] [--width 1024]
    [--photos skimage] [--rigid 0.5] [--few-ways]

A mean over few pairs is decided by those whose motion is largest; the ratio counts every pair alike. The pairs have a seed
that neither training nor its validation used; their photographs may be those of the training. Each way to a flow is a row,
named as estimate names it; its ratio is to the first model on the same way, and to the first row of all.
"""

import argparse
import math
from dataclasses import replace

import numpy as np
from reporting import HELD_OUT_SEED, arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.comparison.statistics import mean_interval
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator, evaluate
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model

COUNTS = ((3, 6, 4), (1, 6, 4), (1, 6, 3), (1, 6, 2), (1, 4, 3), (1, 4, 2), (0, 6, 3))
"""Held refinements, refinements at half the size and at full size, of ways with two scales."""

WAYS = (
    Way(6, "dis", 3, polish=True),
    *(Way(full, "dis", hold, polish=True, scales=2, coarse_iterations=half) for hold, half, full in COUNTS),
    Way(12),
)
"""The ways that are compared."""

NEAR_NOTHING = 0.005
"""Pixels that are added to both errors of a ratio, so that a pair that stands still does not decide it."""


def errors(network: FlowNetwork, pairs: SyntheticPairs, way: Way) -> np.ndarray:
    """epe_per_image of each pair, in pixels."""
    found = evaluate(NetworkEstimator(network, MatchSettings(way)), pairs)
    return np.array([pair.metrics["epe_per_image"] for pair in found.pairs])


def ratio(found: np.ndarray, before: np.ndarray) -> float:
    """The geometric mean of the pairs' ratios."""
    return float(np.exp(logarithms(found, before).mean()))


def logarithms(found: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Of the pairs' ratios."""
    return np.log((found + NEAR_NOTHING) / (before + NEAR_NOTHING))


def interval(found: np.ndarray, before: np.ndarray) -> str:
    """The 95 % interval of the pairs' geometric mean, as words; empty where one pair gives none."""
    mean, half, *_ = mean_interval(logarithms(found, before).tolist())
    return "" if half is None else f"{math.exp(mean - half):.3f} to {math.exp(mean + half):.3f}"


def held_out_pairs(given: argparse.Namespace) -> SyntheticPairs:
    """What add_pairs asks for."""
    settings = SyntheticSettings(
        height=given.height,
        width=given.width,
        seed=HELD_OUT_SEED,
        photos=given.photos,
        speed=tuple(given.speed),
        rigid=given.rigid,
        grey=given.grey,
    )
    if given.varied:
        settings = replace(settings, motion_blur=0.1, fog=0.1, plain=0.08, thin=0.1, patterns=0.25)
    return SyntheticPairs(settings, length=given.pairs)


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Options that say on which generated pairs weights are compared."""
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--height", type=int, default=440)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument(
        "--speed", type=float, nargs=2, default=(0.2, 60.0), help="of the fastest layer, px, from and to"
    )
    parser.add_argument("--photos", default="skimage", help="what layers are painted with: skimage, or a folder")
    parser.add_argument("--rigid", type=float, default=0.0, help="share of the pairs that show a room in perspective")
    parser.add_argument("--grey", type=float, default=0.0, help="share of the pairs without colour")
    parser.add_argument("--varied", action="store_true", help="with fog, motion blur, plain areas, wires and patterns")


def pair_options(given: argparse.Namespace) -> dict[str, object]:
    """What add_pairs asks for, as the conditions of a table say it."""
    names = ("pairs", "speed", "photos", "rigid", "grey", "varied")
    return {"size": f"{given.height}x{given.width} px", **{name: getattr(given, name) for name in names}}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="+")
    add_pairs(parser)
    parser.add_argument(
        "--few-ways", action="store_true", help="that of the first card, the network alone, both scales from zero"
    )
    given = parsed(parser)
    device = begin(given)
    pairs = held_out_pairs(given)
    said = circumstances(device, **pair_options(given))
    ways = WAYS
    if given.few_ways:
        usual = resolve_way(load_model(given.models[0], device).card)
        ways = tuple(dict.fromkeys((usual, Way(12), replace(usual, initial_flow="zero", polish=False))))
    columns = [
        "model",
        "way",
        "mean, px",
        "median, px",
        "ratio",
        "95 % interval",
        "better pairs",
        "ratio to the first row",
    ]
    table = Table("Weights, pair by pair", said, columns, lines=given.json)
    firsts: dict[Way, np.ndarray] = {}
    for model in given.models:
        network = load_model(model, device)
        for way in ways:
            found = errors(network, pairs, way)
            first = firsts.setdefault(way, found)
            middle, spread = ratio(found, first), interval(found, first)
            better, to_first_row = int((found < first).sum()), ratio(found, firsts[ways[0]])
            table.add(
                model, str(way), float(found.mean()), float(np.median(found)), middle, spread, better, to_first_row
            )


if __name__ == "__main__":
    main()

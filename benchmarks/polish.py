"""What each choice in the polish of a flow is worth on generated pairs: the error of the whole way with one of them changed.

python benchmarks/polish.py [--model default] [--pairs 16] [--height 440] [--width 1024] [--speed 0.2 60] [--varied]

The flow that is polished is the same in every row: the network's, on the way of the model's card, but always from the
initial flow of DIS. A ratio is the geometric mean over the pairs of a row's error to that of the polish as it is. The last
rows are DIS itself: as OpenCV's preset has it, and as a way begins. The pairs are those of paired_models.py. Milliseconds
are medians.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from paired_models import add_pairs, held_out_pairs, pair_options, ratio
from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config.way import resolve_way
from flowgru.data.classical import dis_flow, dis_or_zero, grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.polish import MAX_DISTANCE, Grey, PictureFlow, gate, refine_variational
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator
from flowgru.evaluation.metrics import endpoint_error
from flowgru.model.weight_files.loading import load_model

OPENCV = {"brightness_weight": 5.0, "over_relaxation": 1.6}
"""What OpenCV's own variational refinement has."""

AS_IT_IS = "the polish as it is"

Method = Callable[[Grey, Grey, PictureFlow, PictureFlow], PictureFlow]
"""Both pictures, the network's flow and the initial one give the flow of a row."""


def refined(
    first: Grey,
    second: Grey,
    flow: PictureFlow,
    initial_flow: PictureFlow,
    *,
    max_distance: float | None = MAX_DISTANCE,
    **choice: Any,
) -> PictureFlow:
    """The gate, unless max_distance is None, and the variational refinement."""
    flow = flow if max_distance is None else gate(first, second, flow, initial_flow, max_distance=max_distance)
    return refine_variational(first, second, flow, **choice)


ROWS: dict[str, Method] = {
    AS_IT_IS: refined,
    "no polish": lambda first, second, flow, initial_flow: flow,
    "the gate alone": gate,
    "no gate": partial(refined, max_distance=None),
    "the gate chooses up to 1 px": partial(refined, max_distance=1.0),
    "the gate chooses up to 4 px": partial(refined, max_distance=4.0),
    "brightness weight and over-relaxation as OpenCV has them": partial(refined, **OPENCV),
    "brightness weight as OpenCV has it": partial(refined, brightness_weight=OPENCV["brightness_weight"]),
    "over-relaxation as OpenCV has it": partial(refined, over_relaxation=OPENCV["over_relaxation"]),
    "one pass": partial(refined, passes=1),
    "three passes": partial(refined, passes=3),
    "DIS as OpenCV's preset has it": lambda first, second, *_: dis_flow(in_colour(first), in_colour(second)),
    "DIS as a way begins": lambda first, second, *_: begun(first, second),
}


def begun(first: Grey, second: Grey) -> PictureFlow:
    """Where a way begins that begins at DIS."""
    flow = dis_or_zero(first, second)
    assert flow is not None
    return flow


def in_colour(picture: Grey) -> np.ndarray:
    """The picture in three equal channels."""
    return np.repeat(picture[..., None], 3, axis=2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    add_pairs(parser)
    given = parsed(parser)
    network = load_model(given.model, begin(given))
    way = replace(resolve_way(network.card), initial_flow="dis", polish=False)
    estimator, pairs = NetworkEstimator(network, MatchSettings(way)), held_out_pairs(given)
    errors: dict[str, list[float]] = {name: [] for name in ROWS}
    seconds: dict[str, list[float]] = {name: [] for name in ROWS}
    for pair in (pairs[index] for index in range(given.pairs)):
        first, second = (grey_levels(to_levels(picture)) for picture in (pair.first, pair.second))
        initial_flow = begun(first, second)
        found = estimator(pair.first[None], pair.second[None]).flow[0].permute(1, 2, 0)
        flow = np.ascontiguousarray(found.cpu().numpy())
        for name, method in ROWS.items():
            start_time = time.perf_counter()
            polished = method(first, second, flow, initial_flow)
            seconds[name].append(time.perf_counter() - start_time)
            estimate = torch.from_numpy(np.ascontiguousarray(polished)).permute(2, 0, 1)[None]
            errors[name].append(endpoint_error(estimate, pair.flow[None], pair.valid[None]).item())
    said = circumstances(network.device, model=given.model, way=way, **pair_options(given))
    table = Table("Choices in the polish", said, ["row", "mean, px", "ratio", "ms"], lines=given.json)
    as_it_is = np.array(errors[AS_IT_IS])
    for name in ROWS:
        found = np.array(errors[name])
        table.add(name, float(found.mean()), ratio(found, as_it_is), 1000 * float(np.median(seconds[name])))


if __name__ == "__main__":
    main()

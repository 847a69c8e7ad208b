"""What it gives to begin again at zero where refinements move the flow of DIS far, by how far they move it.

python benchmarks/restarts.py [MODEL] [--pairs 48] [--height 440] [--width 1024] [--photos skimage] [--rigid 0.25]

Each generated pair is measured twice on the model's way, without polish: its refinements at half the size begin at the flow
of DIS, or at what zero leads to at a quarter of the size. How far those from DIS have moved it is a share of the picture's
diagonal. Each row is a rule: pairs whose flow they have moved by more than that share begin again, the others do not.
"""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from paired_models import add_pairs, errors, held_out_pairs, pair_options, ratio
from reporting import arguments, begin, circumstances, parsed, refuse
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.config.way import resolve_way
from flowgru.estimation.matching import matcher
from flowgru.estimation.matching.initial_flow import InitialFlow, share_moved
from flowgru.model.weight_files.loading import load_model

SHARES = (0.03, 0.02, 0.015, 0.01, 0.0075, 0.005, 0.0025)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model", nargs="?", default="default")
    add_pairs(parser)
    parser.set_defaults(pairs=48, varied=True)
    given = parsed(parser)
    device = begin(given)
    network = load_model(given.model, device)
    way = replace(resolve_way(network.card), polish=False)
    if way.scales < 2 or way.initial_flow != "dis":
        refuse([f"{given.model} is used with {way}: expected a model that begins at DIS and has two scales"])
    if min(given.height, given.width) < matcher.MIN_SIDE_TO_HALVE:
        refuse([f"pictures of {given.height}x{given.width} px are not halved: {matcher.MIN_SIDE_TO_HALVE} px at least"])
    pairs, shares = held_out_pairs(given), list[float]()

    def noting(begins_again: bool) -> Callable[[InitialFlow, Tensor], bool]:
        def was_wrong(initial: InitialFlow, refined: Tensor) -> bool:
            shares.append(share_moved(initial, refined))
            return begins_again

        return was_wrong

    found = []
    for begins_again in (False, True):
        shares.clear()
        with patch.object(matcher, "was_wrong", noting(begins_again)):
            found.append(errors(network, pairs, way))
    from_dis, again = found
    moved = np.array(shares)
    said = circumstances(device, model=given.model, way=way, **pair_options(given))
    columns = ["begins again above", "of the pairs", "mean, px", "ratio", "better", "worse"]
    table = Table("Beginning again at zero where DIS was wrong", said, columns, lines=given.json)
    for label, share in (("never", np.inf), *((f"{share:.2%}", share) for share in SHARES), ("always", -np.inf)):
        asked = moved > share
        chosen_errors = np.where(asked, again, from_dis)
        better, worse = (int((asked & each).sum()) for each in (again < from_dis, again > from_dis))
        table.add(
            label, float(asked.mean()), float(chosen_errors.mean()), ratio(chosen_errors, from_dis), better, worse
        )


if __name__ == "__main__":
    main()

"""Other things that a scan over space could carry, as rows of the comparison of configs/reach_study.yaml.

python benchmarks/scan_ideas.py --output runs/scan_ideas --seeds 0 --jobs 2 --compile
python benchmarks/reach_hypotheses.py --ideas runs/scan_ideas

Each is made of a conv_min_gru of the form "cand", and has as many parameters as the rows of the study. With them the study's
conv_min_gru and the same without its scan are trained, against which they are held. The options are those of
`flowgru compare`. The folder is another one than the study's: plain `flowgru compare` does not know these rows.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowgru.cli import main
from flowgru.config_file import read_value
from flowgru.layers import Conv2d
from flowgru.operators import UPDATE_OPERATORS
from flowgru.operators.conv_min_gru import ConvMinGRU, MinState
from flowgru.operators.spatial_scan import STRAIGHT, scan_over_space, starting_logits
from flowgru.types import Features

CONFIG = Path("configs/reach_study.yaml")
LONG = 64.0
"""Coarse pixels over which the slowest channels carry at first, in place of 8."""


class Coarser(ConvMinGRU):
    """The scan runs over cells of 2x2 coarse pixels, at 1/16 of the picture's size: the same gates reach twice as far."""

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size, form="cand")

    def _scanned(self, decay: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        height, width = value.shape[2:]
        cells = [F.avg_pool2d(each, 2, ceil_mode=True) for each in (decay, value)]
        found = scan_over_space(cells[0], cells[1], self.routes)
        # Of an odd number of rows the last cell has one, and is upsampled as if it had two.
        return F.interpolate(found, scale_factor=2, mode="bilinear")[..., :height, :width]


class OfThePicture(ConvMinGRU):
    """What a pixel lets through depends on the picture alone, and is known once a pair: it may stop at edges, and not at bad
    matches. Its reach begins at LONG, as that of the row `longer` does, with which it is to be compared."""

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size, form="cand", reach=LONG)
        # Of the maps of A only the context's share is left, and a bias.
        self.gates.recurrent = Conv2d(hidden_size + motion_size, 2 * hidden_size, 3, padding=1)
        self.open = nn.Parameter(starting_logits(LONG, hidden_size // 4, "sigmoid", 1.0).repeat(4)[:, None, None])

    def step(self, motion: Features, state: MinState) -> tuple[Features, MinState]:
        hidden = state.hidden
        size = self.hidden_size
        terms, decay = state.context_terms.split([2 * size, size], dim=1)
        logit, candidate = self.gates(torch.cat([hidden, motion], dim=1), terms).chunk(2, dim=1)
        scanned = self._scanned(torch.sigmoid(decay + self.open), torch.tanh(candidate), hidden)
        hidden = torch.lerp(
            hidden, torch.tanh(candidate + self.carried(scanned)), torch.sigmoid(logit).to(hidden.dtype)
        )
        return hidden, MinState(hidden, state.context_terms)


class GuidedState(NamedTuple):
    """The hidden state of a MinGRU, and what the scan of the motion features lets through, which never changes."""

    inner: MinState
    decay: Features


class OfMatches(ConvMinGRU):
    """What travels is not the candidate but the motion features, the matches and the flow, before the gates see them:

        m' = m + W s,    s_p = A_p s_{p-1} + (1 - A_p) m_p,    A = sigma(V context), once a pair; W is zero at first

    as stereo methods aggregate costs along paths (Hirschmueller 2008, "Stereo Processing by Semiglobal Matching and Mutual
    Information"). The candidate travels no more: it is the row conv_min_gru_no_scan with that aggregation before it.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size, form="cand", scan=False)
        self.let_through = Conv2d(context_size, motion_size, 3, padding=1)
        self.aggregated = Conv2d(motion_size, motion_size, 1, bias=False)
        nn.init.zeros_(self.aggregated.weight)
        assert self.let_through.bias is not None
        self.let_through.bias.data[:] = starting_logits(8.0, motion_size // 4, "sigmoid", 1.0).repeat(4)

    def begin(self, hidden: Features, context: Features) -> GuidedState:
        decay = torch.sigmoid(self.let_through(torch.relu(context)).float())
        return GuidedState(super().begin(hidden, context), decay)

    def step(self, motion: Features, state: Any) -> tuple[Features, Any]:
        scanned = scan_over_space(state.decay, motion, STRAIGHT[4])
        hidden, inner = super().step(motion + self.aggregated(scanned), state.inner)
        return hidden, GuidedState(inner, state.decay)


OWN = {"coarser": Coarser, "of_the_picture": OfThePicture, "of_matches": OfMatches}

UPDATE_OPERATORS.update(OWN)  # here, so that the processes of a comparison know them too

IDEAS = [
    # A gate that is nearly shut has next to no gradient, and may never open: the reach begins at LONG.
    {"name": "longer", "operator": "conv_min_gru", "options": {"form": "cand", "reach": LONG}},
    *({"name": name, "operator": name} for name in OWN),
]
"""The rows."""

BESIDE = "conv_min_gru_no_scan", "conv_min_gru"
"""The study's rows against which they are held, trained anew from the same start."""


def words() -> list[str]:
    """The command of the comparison: the study's recipe and reference, which is only trained where it is asked for, its rows
    BESIDE, and the ideas."""
    study = read_value(CONFIG.read_text(encoding="utf-8"))
    rows = [row for row in study["rows"] if row["name"] in (study["reference"], *BESIDE)] + IDEAS
    asked = ",".join([*BESIDE, *(row["name"] for row in IDEAS)])
    chosen = [] if "--operators" in sys.argv else ["--operators", asked]
    return ["compare", "--config", str(CONFIG), "--rows", json.dumps(rows), *chosen, *sys.argv[1:]]


if __name__ == "__main__":
    sys.exit(main(words()))

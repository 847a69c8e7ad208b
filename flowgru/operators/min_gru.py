"""The published minGRU over the refinements, without a scan over space."""

import torch

from flowgru.operators.base import UpdateOperator, squash
from flowgru.operators.min_cells import MinGRUCell, MinState
from flowgru.types import Features


class MinGRU(UpdateOperator[MinState]):
    """One 3x3 minGRU cell whose gates read the motion and the context only: a step reaches one coarse pixel far.

        [z | c] = W [motion, context]        h' = (1 - sigma(z)) h + sigma(z) tanh(c)

    Over the refinements it is the published minGRU (Feng et al. 2024, arXiv 2410.01201, section 3.1), but for the tanh, and
    h' is a plain interpolation. It cannot be scanned over them: the motion features of one refinement come from the flow of
    the one before.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.cell = MinGRUCell(hidden_size, motion_size, context_size, (3, 3))

    def begin(self, hidden: Features, context: Features) -> MinState:
        hidden, context = squash(hidden, context)
        return MinState(hidden, self.cell.begin(context))

    def step(self, motion: Features, state: MinState) -> tuple[Features, MinState]:
        decay, update = self.cell(motion, state.context_terms)
        hidden = torch.addcmul(update, decay, state.hidden)
        return hidden, MinState(hidden, state.context_terms)

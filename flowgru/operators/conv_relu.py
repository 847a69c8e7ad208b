"""RAFT's ablation: plain convolutions in place of the GRU."""

from typing import NamedTuple

import torch

from flowgru.layers import Conv2d
from flowgru.operators.base import SplitConv, UpdateOperator, squash
from flowgru.types import Features


class ConvReLUState(NamedTuple):
    """The hidden state, and the context's share of the first convolution, which never changes."""

    hidden: Features
    context_term: Features


class ConvReLU(UpdateOperator[ConvReLUState]):
    """Three 3x3 convolutions, each with a ReLU, and no gate: a step reaches three coarse pixels far.

        h' = relu(W_3 relu(W_2 relu(W_1 [h, x] + b_1) + b_2) + b_3)

    The control for what gates are good for (RAFT, arXiv 2003.12039, the ablation "Conv" of table 2). Its code was never
    released; these widths give the table's 4.1 M parameters. Nothing bounds the hidden state, and nothing keeps the old
    one. It begins squashed, as RAFT's.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.first = SplitConv(hidden_size + motion_size, context_size, hidden_size, (3, 3))
        self.second = Conv2d(hidden_size, hidden_size, 3, padding=1)
        self.third = Conv2d(hidden_size, hidden_size, 3, padding=1)

    def begin(self, hidden: Features, context: Features) -> ConvReLUState:
        hidden, context = squash(hidden, context)
        return ConvReLUState(hidden, self.first.context(context))

    def step(self, motion: Features, state: ConvReLUState) -> tuple[Features, ConvReLUState]:
        hidden = torch.relu(self.first(torch.cat([state.hidden, motion], dim=1), state.context_term))
        hidden = torch.relu(self.third(torch.relu(self.second(hidden))))
        return hidden, ConvReLUState(hidden, state.context_term)

"""RAFT's convolutional GRU, in whatever sequence of kernels."""

from typing import NamedTuple

import torch
from torch import nn

from flowgru.operators.base import SplitConv, UpdateOperator, squash
from flowgru.types import Features


class ContextShares(NamedTuple):
    """What the context adds to the gates (z, r) and to the candidate of one cell."""

    gates: Features
    candidate: Features


class GRUCell(nn.Module):
    """The GRU with convolutions for products (RAFT, equations 3-6), reset before the candidate's convolution.

        [z, r] = sigmoid(W_zr [h, x] + b)    h~ = tanh(W_h [r * h, x] + b)    h' = (1 - z) h + z h~

    z is the share of the NEW value, as in RAFT and Cho et al. 2014; torch.nn.GRUCell's z is the share of the old one. The
    input x is the motion features followed by the context. Both gates are one convolution.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        self.gates = SplitConv(hidden_size + motion_size, context_size, 2 * hidden_size, kernel_size)
        self.candidate = SplitConv(hidden_size + motion_size, context_size, hidden_size, kernel_size)

    def begin(self, context: Features) -> ContextShares:
        return ContextShares(self.gates.context(context), self.candidate.context(context))

    def forward(self, hidden: Features, motion: Features, shares: ContextShares) -> Features:
        gates = torch.sigmoid(self.gates(torch.cat([hidden, motion], dim=1), shares.gates))
        update, reset = gates.chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([reset * hidden, motion], dim=1), shares.candidate))
        return torch.lerp(hidden, candidate, update)


class GRUState(NamedTuple):
    """The hidden state, and the context's shares of each cell, which never change."""

    hidden: Features
    shares: tuple[ContextShares, ...]


class ConvGRU(UpdateOperator[GRUState]):
    """One 3x3 GRU cell (RAFT-small): a step reaches two coarse pixels far, one of them through the reset gate."""

    kernel_sizes: tuple[tuple[int, int], ...] = ((3, 3),)

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.cells = nn.ModuleList(
            GRUCell(hidden_size, motion_size, context_size, kernel_size) for kernel_size in self.kernel_sizes
        )

    def begin(self, hidden: Features, context: Features) -> GRUState:
        hidden, context = squash(hidden, context)
        return GRUState(hidden, tuple(cell.begin(context) for cell in self.cells))  # pyright: ignore[reportCallIssue]

    def step(self, motion: Features, state: GRUState) -> tuple[Features, GRUState]:
        hidden = state.hidden
        for cell, shares in zip(self.cells, state.shares, strict=True):
            hidden = cell(hidden, motion, shares)
        return hidden, state._replace(hidden=hidden)

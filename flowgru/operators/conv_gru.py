"""RAFT's convolutional GRU, in whatever sequence of kernels."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import nn

from flowgru.config.require import require
from flowgru.layers import Conv2d
from flowgru.operators.base import SplitConv, UpdateOperator, may_overwrite, squash, tanh
from flowgru.types import Features

Reset = Literal["before", "after"]
"""Where the reset gate works: before or after the candidate's convolution over the hidden state."""


class ContextTerms(NamedTuple):
    """What the context adds to the gates (z, r) and to the candidate of one cell."""

    gates: Features
    candidate: Features


class GRUCell(nn.Module):
    """The GRU with convolutions for products (RAFT, equations 3-6; Cho et al. 2014, arXiv 1406.1078).

        [z, r] = sigmoid(W_zr [h, x] + b_zr)    h' = (1 - z) h + z h~

        reset "before":  h~ = tanh(W_h [r * h, x] + b)
        reset "after":   h~ = tanh(W_x x + b + r * (W_h h + b_h))

    "before" is RAFT's and Cho's: the reset gate chooses what the candidate's convolution sees, one more kernel away.
    "after" is cuDNN's and torch.nn.GRUCell's, and has a bias b_h of its own: the gate weighs what the convolution made.
    With 1x1 kernels the two are still different cells.

    Two conventions of the update gate are in print. Here, in RAFT and in Chung et al. 2014 (arXiv 1412.3555), z is the
    share of the NEW value; in Cho et al. and torch.nn.GRUCell it is the share of the OLD one. They are the same family of
    functions: z of one is 1 - z of the other, so the update gate's weights and bias change sign.

    The input x is the motion features followed by the context. Both gates are one convolution. As a recurrent cell over
    time, `begin` is called once and the cell once for each moment.
    """

    def __init__(
        self,
        hidden_size: int,
        motion_size: int,
        context_size: int,
        kernel_size: tuple[int, int],
        *,
        reset: Reset = "before",
    ) -> None:
        super().__init__()
        require(reset in get_args(Reset), "reset", repr(reset), "before or after")
        self.gates = SplitConv(hidden_size + motion_size, context_size, 2 * hidden_size, kernel_size)
        if reset == "before":
            self.candidate = SplitConv(hidden_size + motion_size, context_size, hidden_size, kernel_size)
            self.hidden_candidate = None
        else:
            padding = (kernel_size[0] // 2, kernel_size[1] // 2)
            self.candidate = SplitConv(motion_size, context_size, hidden_size, kernel_size)
            self.hidden_candidate = Conv2d(hidden_size, hidden_size, kernel_size, padding=padding)

    def begin(self, context: Features) -> ContextTerms:
        return ContextTerms(self.gates.context(context), self.candidate.context(context))

    def forward(self, hidden: Features, motion: Features, context_terms: ContextTerms) -> Features:
        inputs = torch.cat([hidden, motion], dim=1)
        gates = torch.sigmoid_(self.gates(inputs, context_terms.gates))
        update, reset = gates.chunk(2, dim=1)
        if self.hidden_candidate is None:
            if may_overwrite():
                inputs[:, : hidden.shape[1]] *= reset
            else:
                inputs = torch.cat([reset * hidden, motion], dim=1)
            candidate = self.candidate(inputs, context_terms.candidate)
        else:
            candidate = self.candidate(motion, context_terms.candidate) + reset * self.hidden_candidate(hidden)
        return torch.lerp(hidden, tanh(candidate), update)


class GRUState(NamedTuple):
    """The hidden state, and the context's context_terms of each cell, which never change."""

    hidden: Features
    context_terms: tuple[ContextTerms, ...]


class ConvGRU(UpdateOperator[GRUState]):
    """One 3x3 GRU cell (RAFT-small): a step reaches two coarse pixels far, one of them through the reset gate.

    reset is "before" or "after" the candidate's convolution (see GRUCell); after it, a step reaches one pixel far.
    """

    kernel_sizes: tuple[tuple[int, int], ...] = ((3, 3),)

    def __init__(self, hidden_size: int, motion_size: int, context_size: int, *, reset: Reset = "before") -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.cells = nn.ModuleList(
            GRUCell(hidden_size, motion_size, context_size, kernel_size, reset=reset)
            for kernel_size in self.kernel_sizes
        )

    def begin(self, hidden: Features, context: Features) -> GRUState:
        hidden, context = squash(hidden, context)
        return GRUState(hidden, tuple(cell.begin(context) for cell in self.cells))  # pyright: ignore[reportCallIssue]

    def step(self, motion: Features, state: GRUState) -> tuple[Features, GRUState]:
        hidden = state.hidden
        for cell, context_terms in zip(self.cells, state.context_terms, strict=True):
            hidden = cell(hidden, motion, context_terms)
        return hidden, GRUState(hidden, state.context_terms)

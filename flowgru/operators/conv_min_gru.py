"""The convolutional minGRU whose recurrence runs over space, solved by a parallel scan.

minGRU (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201, section 3.1) drops the previous state from the
gates of a GRU: z = sigmoid(W_z x), h~ = W_h x, h_t = (1 - z_t) h_{t-1} + z_t h~_t. The recurrence is then linear in h and
a parallel scan solves it. The refinements themselves cannot be scanned, since the look-up of one depends on the flow of
the one before; what is scanned here is SPACE, inside one refinement, where every gate is known.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowgru.operators.base import SplitConv, UpdateOperator, squash
from flowgru.scan import linear_scan
from flowgru.types import Features

DIRECTIONS = ((3, False), (3, True), (2, False), (2, True))
"""(axis, from the last index to the first): to the right, to the left, down, up."""

LONGEST_REACH = 8.0
"""Coarse pixels over which the slowest channels carry at first; the fastest carry over 1."""


class ConvMinGRUState(NamedTuple):
    """The hidden state, and the context's share of the gates, which never changes."""

    hidden: Features
    shares: Features


class ConvMinGRU(UpdateOperator[ConvMinGRUState]):
    """A minGRU over the refinements whose values also travel across the whole picture within each of them.

    With x = [h, motion, context], C = hidden_size, all maps [B, C, h, w], sigma the logistic function:

        [z | c | a] = W x                                  3x3 convolution; the context's share once per pair
        v  = (1 - sigma(z)) h + sigma(z) tanh(c)           the minGRU update, in every pixel for itself
        A  = sigma(a)                                      what a pixel lets through, C/4 channels for each direction
        s_p = A_p s_{p-1} + (1 - A_p) v_p                  the same recurrence over pixels: right, left, down and up
        u  = sigma(W_u [v, s])                             1x1 convolution
        h' = (1 - u) v + u tanh(W_s s)                     1x1 convolution

    A is 0 where a scan starts, so every value is a convex combination and |h'| <= 1. One group of channels for each
    direction costs a quarter of all channels in all directions. The gates read the hidden state of the refinement before,
    which is known, and never s: the scan stays linear.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        if hidden_size % len(DIRECTIONS):
            raise ValueError(
                f"hidden_size is {hidden_size}: conv_min_gru scans in 4 directions, make it a multiple of 4"
            )
        self.gates = SplitConv(hidden_size + motion_size, context_size, 3 * hidden_size, (3, 3))
        self.mix_gate = nn.Conv2d(2 * hidden_size, hidden_size, 1)
        self.carried = nn.Conv2d(hidden_size, hidden_size, 1)
        bias = self.gates.recurrent.bias
        assert bias is not None and self.mix_gate.bias is not None
        # A pixel that lets r / (1 + r) through carries over about r pixels: every group of channels spans 1..8.
        group = hidden_size // len(DIRECTIONS)
        with torch.no_grad():
            bias[2 * hidden_size :] = torch.linspace(0, math.log(LONGEST_REACH), group).repeat(len(DIRECTIONS))
            self.mix_gate.bias.fill_(-0.5)

    def begin(self, hidden: Features, context: Features) -> ConvMinGRUState:
        hidden, context = squash(hidden, context)
        return ConvMinGRUState(hidden, self.gates.context(context))

    def step(self, motion: Features, state: ConvMinGRUState) -> tuple[Features, ConvMinGRUState]:
        hidden = state.hidden
        update, candidate, passing = self.gates(torch.cat([hidden, motion], dim=1), state.shares).chunk(3, dim=1)
        value = torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(update))
        scanned = scan_four_ways(torch.sigmoid(passing), value)
        mix = torch.sigmoid(self.mix_gate(torch.cat([value, scanned], dim=1)))
        hidden = torch.lerp(value, torch.tanh(self.carried(scanned)), mix)
        return hidden, state._replace(hidden=hidden)


def scan_four_ways(passing: Tensor, value: Tensor) -> Tensor:
    """Each quarter of the channels carried across the picture in its own direction, passing through by `passing`.

    passing in [0, 1] and value are [B, C, h, w]; s_p = passing_p s_{p-1} + (1 - passing_p) value_p, and s = value in the
    pixels where a scan starts.
    """
    groups = zip(passing.chunk(len(DIRECTIONS), 1), value.chunk(len(DIRECTIONS), 1), DIRECTIONS, strict=True)
    scanned = []
    for group_passing, group_value, (axis, reverse) in groups:
        entering = torch.addcmul(group_value, group_passing, group_value, value=-1)
        start = -1 if reverse else 0
        entering.select(axis, start).copy_(group_value.select(axis, start))
        scanned.append(linear_scan(group_passing, entering, dim=axis, reverse=reverse))
    return torch.cat(scanned, dim=1)

"""SEA-RAFT's ConvNeXt blocks in place of the GRU."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from flowgru.layers import Conv2d
from flowgru.operators.base import UpdateOperator
from flowgru.types import Features


class ConvNeXtBlock(nn.Module):
    """[inputs, context] -> out_size channels: one ConvNeXt block (Liu et al. 2022, arXiv 2201.03545), then a 1x1.

        u = 7x7 convolution of every channel of v = [inputs, context] for itself
        y = W_out (v + s * (W_2 gelu(W_1 norm(u))))

    norm is layer norm over the channels of a pixel, s one factor per channel. As in SEA-RAFT, the inner width is four
    times the OUTPUT's, and s starts at 1e-6, so that a new block is linear.

    The context's channels of u are the same in every step, for no channel of it sees another: `begin` computes them once.
    The norm joins all channels, and from there on nothing can be split.
    """

    def __init__(self, in_size: int, context_size: int, out_size: int) -> None:
        super().__init__()
        width, inner_size = in_size + context_size, 4 * out_size
        self.depthwise = Conv2d(in_size, in_size, 7, padding=3, groups=in_size)
        self.depthwise_context = Conv2d(context_size, context_size, 7, padding=3, groups=context_size)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, inner_size)
        self.contract = nn.Linear(inner_size, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))
        self.out = Conv2d(width, out_size, 1)

    def begin(self, context: Features) -> Features:
        return self.depthwise_context(context)

    def forward(self, inputs: Features, context: Features, context_share: Features) -> Features:
        mixed = torch.cat([self.depthwise(inputs), context_share], dim=1).permute(0, 2, 3, 1)
        mixed = self.scale * self.contract(F.gelu(self.expand(self.norm(mixed))))
        return self.out(torch.cat([inputs, context], dim=1) + mixed.permute(0, 3, 1, 2))


class ConvNeXtState(NamedTuple):
    """The hidden state; and the context and its share of each block, which never change."""

    hidden: Features
    context: Features
    context_terms: tuple[Features, ...]


class ConvNeXt(UpdateOperator[ConvNeXtState]):
    """Two ConvNeXt blocks and no gate: a step reaches six coarse pixels far.

        h' = block_2([block_1([h, x]), x])

    SEA-RAFT's update (Wang et al. 2024, arXiv 2405.14793; core/update.py of its code). As there, neither the hidden state
    nor the context is squashed, and nothing bounds the hidden state.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(hidden_size + motion_size, context_size, hidden_size) for _ in range(2)
        )

    def begin(self, hidden: Features, context: Features) -> ConvNeXtState:
        return ConvNeXtState(hidden, context, tuple(block.begin(context) for block in self.blocks))  # pyright: ignore[reportCallIssue]

    def step(self, motion: Features, state: ConvNeXtState) -> tuple[Features, ConvNeXtState]:
        hidden = state.hidden
        for block, context_term in zip(self.blocks, state.context_terms, strict=True):
            hidden = block(torch.cat([hidden, motion], dim=1), state.context, context_term)
        return hidden, ConvNeXtState(hidden, state.context, state.context_terms)

"""What is read off the hidden state: the change of the flow, and how to upsample it."""

import torch
from torch import nn

from flowgru.grid import upsample_bilinear, upsample_convex
from flowgru.model.motion_encoder import relu_conv
from flowgru.types import CoarseFlow, Features, Flow


class FlowHead(nn.Sequential):
    """Hidden state -> change of the coarse flow."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        last = nn.Conv2d(inner_size, 2, 3, padding=1)
        # Training starts near zero flow instead of unlearning a random one first.
        with torch.no_grad():
            last.weight.mul_(0.1)
            nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
        super().__init__(relu_conv(hidden_size, inner_size, 3), last)


class Upsampler(nn.Module):
    """Coarse flow -> flow in picture pixels: convex with a mask read off the hidden state, or bilinear without one."""

    def __init__(self, hidden_size: int, inner_size: int | None) -> None:
        super().__init__()
        self.mask_head = (
            nn.Sequential(relu_conv(hidden_size, inner_size, 3), nn.Conv2d(inner_size, 9 * 64, 1))
            if inner_size
            else None
        )

    def forward(self, hidden: Features, flow: CoarseFlow) -> Flow:
        if self.mask_head is None:
            return upsample_bilinear(flow)
        mask = 0.25 * self.mask_head(hidden)  # RAFT damps the mask's gradient by this factor
        with torch.autocast(flow.device.type, enabled=False):  # sixteen bits would round the flow itself
            return upsample_convex(flow, mask.float())

"""What the update operator sees of the current flow and of the correlation around where it points."""

import torch
from torch import nn

from flowgru.config import NetworkSizes
from flowgru.layers import Conv2d
from flowgru.types import CoarseFlow, Features


def relu_conv(in_size: int, out_size: int, kernel_size: int) -> nn.Sequential:
    """A convolution that keeps the extent, and a ReLU."""
    return nn.Sequential(Conv2d(in_size, out_size, kernel_size, padding=kernel_size // 2), nn.ReLU(inplace=True))


class MotionEncoder(nn.Module):
    """Flow and looked-up correlation -> motion features, whose last two channels are the flow (RAFT, section 3.3)."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        window = sizes.correlation_levels * (2 * sizes.correlation_radius + 1) ** 2
        widths = (window, *sizes.motion_correlation)
        kernels = (1, 3)[: len(sizes.motion_correlation)]
        self.correlation = nn.Sequential(
            *(relu_conv(a, b, k) for a, b, k in zip(widths, widths[1:], kernels, strict=False))
        )
        self.flow = nn.Sequential(relu_conv(2, sizes.motion_flow[0], 7), relu_conv(*sizes.motion_flow, 3))
        self.out = relu_conv(widths[-1] + sizes.motion_flow[-1], sizes.motion_size - 2, 3)

    def forward(self, flow: CoarseFlow, correlation: Features) -> Features:
        both = torch.cat([self.correlation(correlation), self.flow(flow)], dim=1)
        return torch.cat([self.out(both), flow], dim=1)

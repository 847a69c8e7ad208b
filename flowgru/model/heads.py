"""What is read off the hidden state: the change of the flow, how sure it is, and how to upsample both."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.grid import upsample_bilinear, upsample_convex
from flowgru.layers import Conv2d
from flowgru.model.motion_encoder import relu_conv
from flowgru.operators.base import may_overwrite
from flowgru.types import CoarseFlow, Features


class FlowHead(nn.Sequential):
    """Hidden state -> change of the coarse flow."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        last = Conv2d(inner_size, 2, 3, padding=1)
        # Training starts near zero flow instead of unlearning a random one first.
        with torch.no_grad():
            last.weight.mul_(0.1)
            nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
        super().__init__(relu_conv(hidden_size, inner_size, 3), last)

    def forward(self, input: Features) -> CoarseFlow:
        if not may_overwrite() or input.device.type != "cpu" or input.dtype != torch.float32:
            return super().forward(input)
        # A 3x3 convolution with two results is slow; the products of its nine taps at once, then shifted and added, are not.
        inner, last = self
        taps = last.weight.flip(2, 3).permute(0, 2, 3, 1).reshape(18, -1, 1, 1)  # pyright: ignore
        products = F.conv2d(inner(input), taps).flatten(2).float()  # sixteen bits would round each of nine sums
        return F.fold(products, input.shape[2:], kernel_size=3, padding=1) + last.bias[:, None, None]  # pyright: ignore


class MixtureHead(nn.Sequential):
    """Hidden state -> how the flow's error is distributed: a mixture of a wide and a narrow Laplace distribution.

    Channels: the logits of both (wide, narrow), and the logarithm of the wide one's scale in pixels. SEA-RAFT's fourth
    channel is clamped to 0 and left out here.
    """

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__(relu_conv(hidden_size, inner_size, 3), Conv2d(inner_size, 3, 3, padding=1))


def narrow_share(mixture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W"]:
    """The share of the narrow distribution in MixtureHead's mixture, in [0, 1]: how sure the network is."""
    return mixture[:, :2].softmax(dim=1)[:, 1]


class Upsampler(nn.Module):
    """Coarse values -> values in each pixel of the picture: convex with a mask off the hidden state, or bilinear."""

    def __init__(self, hidden_size: int, inner_size: int | None) -> None:
        super().__init__()
        self.mask_head = (
            nn.Sequential(relu_conv(hidden_size, inner_size, 3), Conv2d(inner_size, 9 * 64, 1)) if inner_size else None
        )

    def forward(self, hidden: Features, values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
        if self.mask_head is None:
            return upsample_bilinear(values)
        mask = 0.25 * self.mask_head(hidden)  # RAFT damps the mask's gradient by this factor
        with torch.autocast(values.device.type, enabled=False):  # sixteen bits would round the flow itself
            return upsample_convex(values.float(), mask.float())

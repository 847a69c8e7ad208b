"""The residual encoder that turns a picture into features at an eighth of its resolution (RAFT, section 3.1)."""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.config import NetworkSizes, Norm
from flowgru.grid import Padding, PaddingMode, padding_for
from flowgru.layers import Conv2d
from flowgru.layers.channel_norm import ChannelNorm
from flowgru.operators.base import may_overwrite
from flowgru.types import Features, Images

STRIPS = 8
"""The number of strips in which InstanceNorm squares a picture."""

Edges = Literal["zeros", "replicate"]
"""What a convolution sees beyond the edges of its map: zeros, or the outermost values repeated."""


class InstanceNorm(nn.Module):
    """Each channel of each picture brought to mean 0 and variance 1, as torch.nn.InstanceNorm2d does.

    Torch's is 3 times slower where channels lie last in memory. Where it may, this overwrites its input, strip by strip.
    """

    eps = 1e-5

    def forward(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        if not may_overwrite() or values.device.type != "cpu" or values.dtype != torch.float32:
            return F.instance_norm(values, eps=self.eps)
        mean = values.mean(dim=(2, 3), keepdim=True)
        squares = torch.zeros_like(mean)
        for strip in values.chunk(STRIPS, dim=2):
            strip.sub_(mean)
            squares = squares + (strip * strip).sum(dim=(2, 3), keepdim=True)
        return values.mul_(torch.rsqrt(squares / values[0, 0].numel() + self.eps))


class MatchNorm(nn.Module):
    """Features ready to be matched: centred over the picture, then brought to one length in each pixel.

    What all pixels share says nothing about which of them match; uncentred, it is nine tenths of a correlation at the
    start and nothing is learned. The length is sqrt(channels), so a correlation is at most sqrt(channels).

    Features whose mean square is well below `floor` stay short: where there is no texture, only the noise of the padding
    would be brought to the full length, and be matched.
    """

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, features: Features) -> Features:
        features = features.float()  # in sixteen bits the mean, and what is left of small differences, would be rounded
        centred = features - features.mean(dim=(2, 3), keepdim=True)
        return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + self.floor)


def make_norm(norm: Norm, num_channels: int) -> nn.Module:
    """The normalisation layer of that name."""
    match norm:
        case "instance":
            return InstanceNorm()
        case "batch":
            return nn.BatchNorm2d(num_channels)
        case "channel":
            return ChannelNorm(num_channels)
        case "none":
            return nn.Identity()


class ConvNorm(nn.Sequential):
    """A convolution, its normalisation and, unless it is a shortcut, a ReLU.

    The bias is kept before a normalisation, where it has no effect, because RAFT's weights have it.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel_size: int,
        norm: Norm,
        *,
        stride: int = 1,
        relu: bool = True,
        edges: Edges = "zeros",
    ) -> None:
        conv = Conv2d(in_size, out_size, kernel_size, stride=stride, padding=kernel_size // 2, padding_mode=edges)
        layers = [conv, make_norm(norm, out_size)]
        super().__init__(*layers, nn.ReLU(inplace=True)) if relu else super().__init__(*layers)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        conv, norm = self[0], self[1]
        if isinstance(norm, ChannelNorm):
            return norm(conv(input), relu=len(self) == 3)
        if not isinstance(norm, nn.BatchNorm2d) or norm.training:
            return super().forward(input)
        # A batch norm that no longer learns its statistics is part of the convolution: one pass over the picture less.
        assert isinstance(conv, Conv2d) and conv.bias is not None
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        bias = (conv.bias - norm.running_mean) * scale + norm.bias
        values = conv.convolve(input, weight, bias)
        return torch.relu_(values) if len(self) == 3 else values


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or with `bottleneck` a 3x3 at a quarter of the width between two 1x1, around a shortcut."""

    def __init__(
        self, in_size: int, out_size: int, norm: Norm, *, stride: int, bottleneck: bool, edges: Edges = "zeros"
    ) -> None:
        super().__init__()
        conv = partial(ConvNorm, norm=norm, edges=edges)
        if bottleneck:
            inner = out_size // 4
            self.convs = nn.Sequential(
                conv(in_size, inner, 1), conv(inner, inner, 3, stride=stride), conv(inner, out_size, 1)
            )
        else:
            self.convs = nn.Sequential(conv(in_size, out_size, 3, stride=stride), conv(out_size, out_size, 3))
        same = stride == 1 and in_size == out_size
        self.shortcut = nn.Identity() if same else conv(in_size, out_size, 1, stride=stride, relu=False)

    def forward(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        changed = self.convs(values)
        shortcut = self.shortcut(values)
        return torch.relu_(changed.add_(shortcut) if may_overwrite() else changed + shortcut)


class Encoder(nn.Module):
    """Picture in [-1, 1] -> features: a 7x7 stem and three stages of two residual blocks, then a 1x1 convolution."""

    def __init__(
        self,
        sizes: NetworkSizes,
        norm: Norm,
        out_size: int,
        *,
        match_floor: float | None = None,
        edges: Edges = "zeros",
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, sizes.stem, 7, norm, stride=2, edges=edges)
        block = partial(ResidualBlock, norm=norm, bottleneck=sizes.bottleneck, edges=edges)
        stages, in_size = [], sizes.stem
        for width, stride in zip(sizes.stages, (1, 2, 2), strict=True):
            first, second = block(in_size, width, stride=stride), block(width, width, stride=1)
            stages.append(nn.Sequential(first, second))
            in_size = width
        self.stages = nn.Sequential(*stages)
        self.out = Conv2d(in_size, out_size, 1)
        self.out_norm = nn.Identity() if match_floor is None else MatchNorm(match_floor)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Images) -> Features:
        return self.out_norm(self.out(self.stages(self.stem(images))))


def padded(images: Images, padding: PaddingMode) -> tuple[Float[Tensor, "B 3 H2 W2"], Padding]:
    """Pictures in [0, 1] as the network sees them, the edge pixels repeated outwards, and what was added."""
    height, width = images.shape[-2:]
    added = padding_for(height, width, padding)
    return F.pad(to_network_range(images), added, mode="replicate"), added


def to_network_range(images: Images) -> Images:
    """Pictures in [0, 1] in the range that the network sees, [-1, 1]."""
    return 2 * images - 1


def joins_frames(network: nn.Module, device: torch.device) -> bool:
    """Whether both frames of a pair are encoded in one pass: half the launches, where a GPU trains and keeps both anyway."""
    return network.training and device.type == "cuda"

"""Layer norm over the channels of each pixel: independent of the picture's extent and of the batch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.kernels import takes_triton


class ChannelNorm(nn.Module):
    """The channels of each pixel brought to mean 0 and variance 1, then scaled and shifted by what was learned."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, values: Float[Tensor, "B C H W"], *, relu: bool = False) -> Float[Tensor, "B C H W"]:
        """The normalised maps; with `relu` what is negative in them becomes 0.

        On a CUDA device it is one kernel and keeps the type of its input, where torch's, under autocast, makes float32 of
        it, and copies before and after; a compiled graph has no need of it.
        """
        if not torch.compiler.is_compiling() and takes_triton(values.device):
            from flowgru.layers.triton_norm import FusedChannelNorm

            return FusedChannelNorm.apply(values, self.weight, self.bias, relu)
        last = values.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, (last.shape[-1],), self.weight, self.bias).permute(0, 3, 1, 2)
        return torch.relu_(normed) if relu else normed

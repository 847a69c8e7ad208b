"""The convolution of every network here: torch's, or where a CPU estimates flow one of fewer multiplications."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.layers.winograd import empty_output, filtered
from flowgru.tracing import is_exporting

KERNELS = ((3, 3), (1, 5), (5, 1))
"""Of the networks' kernels, those for which it is faster (benchmarks/convolution.py)."""

MIN_CHANNELS, MIN_PIXELS = 96, 2048
"""In and out; height times width. With less it is hardly faster, or slower."""


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d by `convolve`."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return self.convolve(input, self.weight, self.bias)

    def convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with another weight and bias than its own."""
        if self.groups == 1 and self.stride == self.dilation == (1, 1) and self._keeps_extent() and pays(input, weight):
            if torch.compiler.is_compiling():
                return minimal_filtering(input, weight, bias)
            return filtered(input, weight, bias)
        return self._conv_forward(input, weight, bias)

    def _keeps_extent(self) -> bool:
        return self.padding_mode == "zeros" and self.padding == tuple(size // 2 for size in self.kernel_size)


def pays(input: Tensor, weight: Tensor) -> bool:
    """Whether minimal filtering is possible and faster.

    It is for weights that lie with the channels last, as FlowNetwork.for_inference lays them; a graph that is exported
    keeps its convolutions, which other runtimes know how to compute.
    """
    return (
        not is_exporting()
        and not torch.jit.is_tracing()
        and not torch.is_grad_enabled()
        and tuple(weight.shape[2:]) in KERNELS
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= MIN_CHANNELS
        and input.shape[2:].numel() >= MIN_PIXELS
        and not weight.is_contiguous()
        and weight.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
    )


@torch.library.custom_op("flowgru::minimal_filtering", mutates_args=())
def minimal_filtering(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`filtered` as one operation of a compiled graph."""
    return filtered(input, weight, bias)


@minimal_filtering.register_fake
def _(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return empty_output(input, weight)

"""The convolution of every network here: torch's, or where a CPU estimates flow one of fewer multiplications."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.layers.winograd import NUM_BUFFERS, STRIP_BYTES, empty_output, filtered
from flowgru.layers.winograd_matrices import transformed_bytes
from flowgru.tracing import is_exporting

KERNELS = ((3, 3), (1, 5), (5, 1))
"""Those of the networks' kernels for which Winograd is faster (benchmarks/convolution.py)."""

MIN_CHANNELS, MIN_PIXELS = 96, 2048
"""The least channels, in and out, and pixels of a map with which it is used; with less it is hardly faster, or slower."""


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
        if self.padding_mode != "replicate":
            return self._conv_forward(input, weight, bias)
        rows, columns = (int(size) for size in self.padding)
        wider = repeat_edges(input, rows, columns) if rows or columns else input
        return F.conv2d(wider, weight, bias, self.stride, 0, self.dilation, self.groups)

    def _keeps_extent(self) -> bool:
        return self.padding_mode == "zeros" and self.padding == tuple(size // 2 for size in self.kernel_size)


def repeat_edges(values: Float[Tensor, "B C H W"], rows: int, columns: int) -> Float[Tensor, "B C H2 W2"]:
    """Maps larger by `rows` above and below and `columns` on both sides, where their outermost values are repeated."""
    if not torch.is_grad_enabled():
        return F.pad(values, (columns, columns, rows, rows), mode="replicate")
    # torch.compile is wrong about the memory of that padding's gradient where the channels lie last (torch 2.14).
    left, right = values[..., :1], values[..., -1:]
    values = torch.cat([left.expand(-1, -1, -1, columns), values, right.expand(-1, -1, -1, columns)], dim=3)
    above, below = values[:, :, :1], values[:, :, -1:]
    return torch.cat([above.expand(-1, -1, rows, -1), values, below.expand(-1, -1, rows, -1)], dim=2)


def inference_layout(device: torch.device) -> torch.memory_format:
    """How weights and maps lie in memory where the device convolves them fastest."""
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


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


def filtering_bytes(network: nn.Module, num_pixels: int) -> int:
    """What minimal filtering will keep on maps of so many pixels: the transformed kernels of a network, and its buffers."""
    kernels = [
        transformed_bytes(layer.weight)
        for layer in network.modules()
        if isinstance(layer, Conv2d)
        and tuple(layer.kernel_size) in KERNELS
        and min(layer.weight.shape[:2]) >= MIN_CHANNELS
        and layer.weight.device.type == "cpu"
        and not layer.weight.is_contiguous()
    ]
    return sum(kernels) + NUM_BUFFERS * STRIP_BYTES if kernels and num_pixels >= MIN_PIXELS else 0


@torch.library.custom_op("flowgru::minimal_filtering", mutates_args=())
def minimal_filtering(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`filtered` as one operation of a compiled graph."""
    return filtered(input, weight, bias)


@minimal_filtering.register_fake
def _(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return empty_output(input, weight)

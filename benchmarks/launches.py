"""How many kernels a GPU has to be asked for: with flowgru's Triton kernels, and by PyTorch's operations alone.

python benchmarks/launches.py [--networks compact large] [--iterations 6] [--size 128x160]

No GPU is needed, and none is used: every operation that would compute or copy something counts once, on CPU tensors, and
the kernels are left out. So a copy into another type counts where a CPU's autocast makes it, not CUDA's, and an operation
that takes several kernels counts once. What only looks at memory in another way does not count.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from reporting import arguments, begin, circumstances, parsed, size_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.optical_flow import raft_large

from flowgru.benchmarking.timing import Table
from flowgru.config import NetworkConfig
from flowgru.layers import triton_norm
from flowgru.model.correlation import triton_all_pairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.scan import triton_kernels
from flowgru.training.objective import sequence_loss

OPERATORS = {"compact": "conv_min_gru", "small": "conv_gru", "large": "seq_conv_gru"}

NO_KERNEL = {
    *("view", "reshape", "permute", "transpose", "expand", "slice", "select", "detach", "split", "split_with_sizes"),
    *("chunk", "narrow", "unsqueeze", "squeeze", "alias", "t", "as_strided", "unbind", "_unsafe_view", "diagonal"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "unfold"),
    *("promote_types", "_local_scalar_dense", "is_same_size", "resize_", "unsafe_split", "device"),
}
"""PyTorch's operations that start nothing on a device, by their names without overloads."""


class Launches(TorchDispatchMode):
    """Counts operations by name; those of the Triton kernels are added by `kernels`."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, found = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        if name not in NO_KERNEL and not func.name().startswith("flowgru::"):
            self.note(name, (args, kwargs, found), func)
        return found

    def note(self, name: str, values: Any, func: Any = None) -> None:
        """One launch; `values` hold the tensors that it reads and writes, func is the operation unless it is a kernel."""
        self.count[name] += 1


@contextmanager
def kernels(launches: Launches, *, fused: bool) -> Iterator[None]:
    """The network computes as on a CUDA device: with one launch for each Triton kernel, which does nothing.

    fused: with those of the channel norm and of the look-up, and both frames encoded in one pass of a training; without
    them only the scan has one.
    """

    def noted(kernel: Any, tensors: Any, *_: Any, **__: Any) -> None:
        launches.note(kernel.fn.__name__, tensors)

    with (
        patch("flowgru.scan.preferred_backend", lambda backend, update, dim=-1: "triton"),
        patch.object(triton_kernels, "launch", noted),
        patch.object(triton_norm, "launch", noted),
        patch.object(triton_all_pairs, "launch", noted),
        patch("flowgru.layers.convolution.pays", lambda input, weight: False),  # these are a CPU's
        patch("flowgru.model.encoders.may_overwrite", lambda: False),
        patch("flowgru.model.heads.may_overwrite", lambda: False),
        patch("flowgru.model.correlation.all_pairs.may_overwrite", lambda: False),
        patch("flowgru.layers.channel_norm.takes_triton", lambda values: fused),
        patch("flowgru.model.flow_network.joins_frames", lambda network, device: fused and network.training),
        patch("flowgru.model.correlation.choice.takes_triton", lambda device: fused),
    ):
        yield


def counted(preset: str, precision: str, given: Any, *, fused: bool, training: bool) -> tuple[int, int]:
    """Launches of the forward and the backward pass; of an estimation 0 backwards."""
    launches = Launches()
    network: Any = FlowNetwork(NetworkConfig(preset, OPERATORS[preset])).train(training)  # pyright: ignore[reportArgumentType]
    network.to(memory_format=torch.channels_last)
    first, second = torch.rand(2, 1, 3, *size_of(given.size))
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with kernels(launches, fused=fused), launches, torch.set_grad_enabled(training), autocast:
        found = network(first, second, iterations=given.iterations, final_only=not training)
        if not training:
            return launches.count.total(), 0
        flow, valid = torch.rand_like(found.flows[0]), torch.ones_like(first[:, 0], dtype=torch.bool)
        loss = sequence_loss(found.flows, flow, valid)
    forward = launches.count.total()
    with kernels(launches, fused=fused), launches:
        loss.backward()
    return forward, launches.count.total() - forward


@torch.inference_mode()
def counted_of_torchvision(given: Any) -> int:
    """Launches of an estimation by torchvision's RAFT."""
    launches, network = Launches(), raft_large(weights=None).eval()
    pictures: list[Tensor] = [*torch.rand(2, 1, 3, *size_of(given.size))]
    with launches:
        network(*pictures, num_flow_updates=given.iterations)
    return launches.count.total()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--networks", nargs="+", choices=OPERATORS, default=["compact", "large"])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--size", default="128x160", help="HEIGHTxWIDTH, at least 128x128")
    given = parsed(parser)
    begin(given)
    said = circumstances(torch.device("cpu"), size=given.size, iterations=given.iterations)
    columns = ["network", "what", "precision", "PyTorch alone", "with the kernels", "share"]
    table = Table("Launches on a GPU, counted without one", said, columns, lines=given.json)
    for preset in given.networks:
        for precision in ("32", "bf16"):
            plain, fused = (counted(preset, precision, given, fused=each, training=True) for each in (False, True))
            for name, before, after in zip(("training, forward", "training, backward"), plain, fused, strict=True):
                table.add(preset, name, precision, before, after, after / before)
            before, after = (counted(preset, precision, given, fused=each, training=False)[0] for each in (False, True))
            table.add(preset, "estimation", precision, before, after, after / before)
    table.add("torchvision's raft_large", "estimation", "32", counted_of_torchvision(given), None, None)


if __name__ == "__main__":
    main()

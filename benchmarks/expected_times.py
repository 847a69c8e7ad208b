"""How long a GPU is expected to take, by the bytes and the products that a network asks it for. Nothing runs on a GPU.

python benchmarks/expected_times.py [--networks compact large] [--size 440x1024] [--iterations 12]
    [--training-size 256x320] [--batch 16] [--training-iterations 6]

Every launch is expected to take the longest of three times: what its bytes take at the speed of the memory, what its
products take at that of the arithmetic, and SHORTEST_KERNEL. Their sum is the GPU's time. To ask for a launch takes the CPU
HOST, and the longer of both is expected. A CUDA graph is one launch; what is outside of it, in a training step also the
optimizer, counts for the CPU. The numbers are those of an H100 (SXM), of which a share is expected: they are assumptions,
and a measurement on a GPU takes their place. Tensors are fake, so that no size costs anything here; a copy into 16 bits
counts where a CPU's autocast makes it.
"""

from argparse import Namespace
from typing import Any

import torch
from launches import OPERATORS, Launches, counted_recorded, counted_step, kernels
from reporting import arguments, begin, circumstances, parsed, size_of
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torchvision.models.optical_flow import raft_large

from flowgru.benchmarking.timing import Table
from flowgru.config import NetworkConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.losses import sequence_loss

BYTES_A_SECOND = 0.7 * 3.35e12
FLOAT32, TF32, HALF = 0.6 * 67e12, 0.35 * 495e12, 0.35 * 989e12
"""Floating-point operations a second: of products in float32, of convolutions in PyTorch's default precision, in 16 bits."""

SHORTEST_KERNEL = 2.5e-6
"""Seconds."""

HOST = 6e-6
"""Seconds in which PyTorch asks for one launch."""

WINDOW_SHARE = 100 / 81
"""Of a look-up of radius 4: values that it reads for each that it gives."""


OUTSIDE = Namespace(size="128x128", iterations=1)
"""What is outside of a CUDA graph is counted with; it depends neither on the size nor on the number of refinements."""


class Costs(Launches):
    """Counts bytes and operations too, and how long the device is expected to take."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = self.operations = self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_dispatch__(func, types, args, kwargs)
        if func.name().startswith("flowgru::"):  # of fake tensors the scan's kernel is never asked for
            self.note(func.overloadpacket.__name__, (args, kwargs, found))
        return found

    def note(self, name: str, values: Any, func: Any = None) -> None:
        super().note(name, values, func)
        tensors = list({id(each): each for each in tree_leaves(values) if isinstance(each, Tensor)}.values())
        moved = sum(map(size_in_bytes, tensors))
        if name.startswith("lookup"):  # of the volume it takes the windows alone
            moved = sum(sorted(map(size_in_bytes, tensors))[:2]) + WINDOW_SHARE * size_in_bytes(tensors[2])
        operations, rate = 0, FLOAT32
        if func is not None and func.overloadpacket in flop_registry:
            args, kwargs, found = values
            operations = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
            sixteen = any(each.element_size() == 2 for each in tensors)
            rate = HALF if sixteen else TF32 if "conv" in name else FLOAT32
        self.num_bytes += moved
        self.operations += operations
        self.seconds += max(moved / BYTES_A_SECOND, operations / rate, SHORTEST_KERNEL)


def size_in_bytes(values: Tensor) -> int:
    """Of what lies in memory: what is repeated by a stride of 0 counts once."""
    places = 1
    for length, stride in zip(values.shape, values.stride(), strict=True):
        places *= length if stride else 1
    return places * values.element_size()


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out as on a GPU; Module.to cannot do it with fake tensors."""
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.dim() == 4:
                laid_out = weight.detach().contiguous(memory_format=torch.channels_last)
                module.register_parameter(name, nn.Parameter(laid_out))
    return network


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def estimation(preset: str | None, precision: str, given: Any, *, fused: bool) -> Costs:
    """Of one pair; without a preset by torchvision's RAFT."""
    costs = Costs()
    with FakeTensorMode(), torch.no_grad():
        pictures = [*torch.rand(2, 1, 3, *size_of(given.size))]
        if preset is None:
            raft: nn.Module = raft_large(weights=None).eval()
            with costs, autocast(precision):
                raft(*pictures, num_flow_updates=given.iterations)
            return costs
        network = channels_last(FlowNetwork(NetworkConfig(preset, OPERATORS[preset])).eval())  # pyright: ignore[reportArgumentType]
        with kernels(costs, fused=fused), costs, autocast(precision):
            network(*pictures, iterations=given.iterations, final_only=True)
    return costs


def training(preset: str, precision: str, given: Any, *, fused: bool) -> Costs:
    """Of one step, forwards and backwards, without the optimizer."""
    costs = Costs()
    with FakeTensorMode():
        network = channels_last(FlowNetwork(NetworkConfig(preset, OPERATORS[preset])))  # pyright: ignore[reportArgumentType]
        first, second = torch.rand(2, given.batch, 3, *size_of(given.training_size))
        with kernels(costs, fused=fused), costs:
            with autocast(precision):
                found = network(first, second, iterations=given.training_iterations)
                flow, valid = torch.rand_like(found.flows[0]), torch.ones_like(first[:, 0], dtype=torch.bool)
                loss = sequence_loss(found.flows, flow, valid)
            loss.backward()
    return costs


def main() -> None:
    parser = arguments(__doc__, device=False)
    parser.add_argument("--networks", nargs="+", choices=OPERATORS, default=["compact", "large"])
    parser.add_argument("--size", default="440x1024", help="of an estimated pair: HEIGHTxWIDTH, at least 128x128")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--training-size", default="256x320")
    parser.add_argument("--training-iterations", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16)
    given = parsed(parser)
    begin(given)
    said = circumstances(
        torch.device("cpu"),
        estimation=f"{given.size}, {given.iterations} iterations",
        training=f"{given.training_size}, {given.training_iterations} iterations, batch {given.batch}",
    )
    columns = ["network", "what", "precision", "kernels", "launches", "GB", "GFLOP", "GPU ms", "host ms", "expected ms"]
    table = Table("Expected times of an H100, none of them measured", said, columns, lines=given.json)

    def add(network: str, what: str, precision: str, kind: str, costs: Costs, launches: int | None = None) -> None:
        launches = costs.count.total() if launches is None else launches
        device, host = 1e3 * costs.seconds, 1e3 * HOST * launches
        sizes = costs.num_bytes / 1e9, costs.operations / 1e9
        table.add(network, what, precision, kind, launches, *sizes, device, host, max(device, host))

    for precision in ("32", "bf16"):
        add(
            "torchvision's raft_large",
            "estimation",
            precision,
            "PyTorch",
            estimation(None, precision, given, fused=False),
        )
        for preset in given.networks:
            for what, of in (("estimation", estimation), ("training step", training)):
                add(preset, what, precision, "PyTorch", of(preset, precision, given, fused=False))
                costs = of(preset, precision, given, fused=True)
                add(preset, what, precision, "Triton", costs)
                if what == "estimation":
                    launches = counted_recorded(preset, precision, OUTSIDE)
                else:
                    launches = counted_step(preset, precision, OUTSIDE, graph=True)
                add(preset, what, precision, "CUDA graph", costs, launches)


if __name__ == "__main__":
    main()

"""How many kernels a GPU has to be asked for: with flowgru's Triton kernels, by PyTorch's operations alone, as CUDA graphs.

python benchmarks/launches.py [--networks compact large] [--iterations 6] [--size 128x160]

No GPU is needed, and none is used: every operation that would compute or copy something counts once, on CPU tensors, and
the kernels are left out. So a copy into another type counts where a CPU's autocast makes it, not CUDA's, and an operation
that takes several kernels counts once. What only looks at memory in another way does not count. A graph counts once, and
what is outside of it as everything else.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from reporting import arguments, begin, circumstances, parsed, size_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models.optical_flow import raft_large

from flowgru.benchmarking.timing import Table
from flowgru.config import NetworkConfig, TrainConfig
from flowgru.layers import triton_norm
from flowgru.layers.graphs import Graphs
from flowgru.layers.recorder import Recorder
from flowgru.model.correlation import triton_all_pairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.recorded import RecordedMatches
from flowgru.processes.fabric import connect
from flowgru.scan import triton_kernels
from flowgru.training.engine import begin_run
from flowgru.training.feeding.sampler import FlowBatch
from flowgru.training.losses import sequence_loss
from flowgru.training.run_state import make_optimizer
from flowgru.training.step import training_step

OPERATORS = {"compact": "conv_min_gru", "small": "conv_gru", "large": "seq_conv_gru"}

FROM_GRAPH = 3
"""The call of a kind from which on a graph is replayed."""

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
        patch("flowgru.layers.channel_norm.takes_triton", lambda device: fused),
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


def graphs_of(launches: Launches) -> Recorder:
    """Records functions for which each replay is a single launch; what a function computes is computed all the same."""

    def recorder(function: Callable[[], Any], device: torch.device) -> tuple[Callable[[], None], Any]:
        def uncounted(places: Any = None) -> Any:
            before, found = launches.count.copy(), function()
            for place, values in zip(tree_leaves(places), tree_leaves(found), strict=False):
                if isinstance(place, Tensor):
                    place.copy_(values)
            launches.count = before
            return found

        found = uncounted()

        def replay() -> None:
            uncounted(found)
            launches.note("CUDA graph", ())

        return replay, found

    return recorder


def counted_step(preset: str, precision: Any, given: Any, *, fused: bool = False, graph: bool = False) -> int:
    """Launches of a whole training step, with its optimizer; of a graph it makes no difference what it holds."""
    launches, device = Launches(), torch.device("cpu")
    network = NetworkConfig(preset, OPERATORS[preset])  # pyright: ignore[reportArgumentType]
    config = TrainConfig(network=network, iterations=given.iterations, precision=precision, batch_size=1)
    fabric, fused_adamw = connect(device, 1, precision), partial(make_optimizer, device=torch.device("cuda"))
    with patch("flowgru.training.engine.make_optimizer", lambda trained, config, _: fused_adamw(trained, config)):
        run, wrapped = begin_run(fabric, config, lambda: FlowNetwork(network), None, compile=False)
    if graph:
        options = {"each": "step", "most": 1, "agree": lambda *_: True, "trained": run.network}
        run.graphs = Graphs(device, **options, recorder=graphs_of(launches))
    first, second = torch.randint(256, (2, 1, 3, *size_of(given.size)), dtype=torch.uint8)
    flow, valid = torch.rand(1, 2, *size_of(given.size)), torch.ones(1, *size_of(given.size), dtype=torch.bool)
    before = 0
    with nullcontext() if graph else kernels(launches, fused=fused), launches:
        for _ in range(FROM_GRAPH if graph else 2):  # the first one makes the gradients and the state of the optimizer
            before = launches.count.total()
            training_step(fabric, wrapped, run, config, FlowBatch(first, second, flow, valid, ("pair",)))
    return launches.count.total() - before


@torch.inference_mode()
def counted_recorded(preset: str, precision: str, given: Any) -> int:
    """Launches of an estimation whose match is one CUDA graph, with the copies into it and out of it."""
    launches, before = Launches(), 0
    network = FlowNetwork(NetworkConfig(preset, OPERATORS[preset])).for_inference()  # pyright: ignore[reportArgumentType]
    with patch("flowgru.model.recorded.PAIRS_BEFORE", FROM_GRAPH - 1):
        matches = RecordedMatches(network, graphs_of(launches))
    pictures = torch.rand(2, 1, 3, *size_of(given.size))
    with launches, torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(FROM_GRAPH):
            before = launches.count.total()
            with kernels(launches, fused=True):
                first, second = network.encode(pictures[0]), network.encode(pictures[1], with_context=False)
            matches.match(first, second, iterations=given.iterations, final_only=True)
    return launches.count.total() - before


@torch.inference_mode()
def counted_of_torchvision(given: Any) -> int:
    """Launches of an estimation by torchvision's RAFT."""
    launches, network = Launches(), raft_large(weights=None).eval()
    pictures: list[Tensor] = [*torch.rand(2, 1, 3, *size_of(given.size))]
    with launches:
        network(*pictures, num_flow_updates=given.iterations)
    return launches.count.total()


def main() -> None:
    parser = arguments(__doc__, device=False)
    parser.add_argument("--networks", nargs="+", choices=OPERATORS, default=["compact", "large"])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--size", default="128x160", help="HEIGHTxWIDTH, at least 128x128")
    given = parsed(parser)
    begin(given)
    said = circumstances(torch.device("cpu"), size=given.size, iterations=given.iterations)
    columns = ["network", "what", "precision", "PyTorch alone", "with the kernels", "share", "CUDA graph", "its share"]
    table = Table("Launches on a GPU, counted without one", said, columns, lines=given.json)

    def add(preset: str, what: str, precision: str, plain: int, fused: int, graph: int | None = None) -> None:
        share = None if graph is None else graph / plain
        table.add(preset, what, precision, plain, fused, fused / plain, graph, share)

    for preset in given.networks:
        for precision in ("32", "bf16"):
            plain, fused = (counted(preset, precision, given, fused=each, training=True) for each in (False, True))
            for name, *numbers in zip(("training, forward", "training, backward"), plain, fused, strict=True):
                add(preset, name, precision, *numbers)
            plain, fused = (counted_step(preset, precision, given, fused=each) for each in (False, True))
            graph = counted_step(preset, precision, given, graph=True)
            add(preset, "training, whole step", precision, plain, fused, graph)
            plain, fused = (counted(preset, precision, given, fused=each, training=False)[0] for each in (False, True))
            add(preset, "estimation", precision, plain, fused, counted_recorded(preset, precision, given))
    of_torchvision = counted_of_torchvision(given)
    table.add("torchvision's raft_large", "estimation", "32", of_torchvision, None, None, None, None)


if __name__ == "__main__":
    main()

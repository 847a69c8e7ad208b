"""The network in a form that can be traced: pictures of any size, one loop of a fixed number of refinements."""

import torch
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_flatten, tree_unflatten

from flowgru.model.correlation.all_pairs import AllPairsCorrelation
from flowgru.model.encoders import to_network_range
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.heads import narrow_share
from flowgru.scan.fixed_depth import scans_of_up_to
from flowgru.types import CoarseFlow, Features, Images

MULTIPLE, SMALLEST = 8, 128
"""Pixels: what a side of a picture is a multiple of, and its least length (see padding_for)."""

TRACED = (160, 192)
"""Height and width of the pictures that are traced; any other size gives the same graph."""


class ExportableFlow(nn.Module):
    """(first, second) of [1, 3, H, W] -> flow [1, 2, H, W] after fixed numbers of held and moving refinements.

    H and W are multiples of 8 from 128 on: the caller pads. The second output, coarse_flow [1, 2, H/8, W/8], is where the
    refinement of the next pair may begin; with `warm_start` there is a third input for it, initial_flow, zeros for a cold
    start. A network that says how sure it is gives confidence [1, H, W] as its last output.

    The refinements are one loop in the graph, and those that hold are one before it, so that the file does not grow with
    them, and tracing neither. What is in the loop, and what is read out after it, are FlowNetwork's own methods.
    """

    def __init__(self, network: FlowNetwork, iterations: int, *, hold: int = 0, warm_start: bool = False) -> None:
        super().__init__()
        self.network, self.iterations, self.held, self.warm_start = network, iterations, hold, warm_start
        self.output_names = ["flow", "coarse_flow", *["confidence"] * network.config.confidence]
        sizes, operator = network.sizes, network.operator
        hidden, context, motion = (
            torch.zeros(1, size, 2, 2) for size in (sizes.hidden_size, sizes.context_size, sizes.motion_size)
        )
        state = operator.begin(hidden, context)
        before, self.state_form = tree_flatten(state)
        after, _ = tree_flatten(operator.step(motion, state)[1])
        self.moving = [old is not new for old, new in zip(before, after, strict=True)]
        """Which tensors of the operator's state a refinement replaces; the loop carries only these."""

    def forward(self, first: Images, second: Images, initial_flow: CoarseFlow | None = None) -> tuple[Tensor, ...]:
        network, sizes = self.network, self.network.sizes
        first, second = to_network_range(first), to_network_range(second)
        features = network.feature_encoder(first), network.feature_encoder(second)
        correlation = AllPairsCorrelation(*features, sizes.correlation_levels, sizes.correlation_radius)
        gate = network.gate(*features)
        hidden, context = network.context_encoder(first).split([sizes.hidden_size, sizes.context_size], dim=1)
        start = torch.zeros_like(hidden[:, :2]) if initial_flow is None else initial_flow
        parts, _ = tree_flatten(network.operator.begin(hidden, context))
        constant, carried = self._split(parts)

        def refined(iteration: Tensor, flow: Tensor, _: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
            state = tree_unflatten(self._joined(constant, carried), self.state_form)
            flow, hidden, state = network.refine(flow, correlation, state, gate)
            return iteration + 1, *map(_plain, (flow, hidden, *self._split(tree_flatten(state)[0])[1]))

        def unfinished(iteration: Tensor, *_: Tensor) -> Tensor:
            return iteration < self.iterations

        if self.held:
            carried = self._hold(network.look_up(start, correlation), constant, carried)
        begin = (torch.zeros((), dtype=torch.int64), *map(_plain, (start, hidden, *carried)))
        _, flow, hidden, *_ = while_loop(unfinished, refined, begin)
        upsampled, mixture = network.read_out(hidden, flow, confidence=True)
        return upsampled, flow, *([] if network.mixture_head is None else [narrow_share(mixture)])

    def _hold(self, motion: Features, constant: list[Tensor], carried: list[Tensor]) -> list[Tensor]:
        """What of the operator's state moves, after the refinements that leave the flow where it is."""

        def settled(count: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
            state = tree_unflatten(self._joined(constant, carried), self.state_form)
            _, state = self.network.operator.step(motion, state)
            return count + 1, *map(_plain, self._split(tree_flatten(state)[0])[1])

        def unfinished(count: Tensor, *_: Tensor) -> Tensor:
            return count < self.held

        _, *carried = while_loop(unfinished, settled, (torch.zeros((), dtype=torch.int64), *map(_plain, carried)))
        return carried

    def _split(self, parts: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What stays the same in every refinement, and what does not."""
        pairs = list(zip(parts, self.moving, strict=True))
        return [part for part, moves in pairs if not moves], [part for part, moves in pairs if moves]

    def _joined(self, constant: list[Tensor], carried: tuple[Tensor, ...]) -> list[Tensor]:
        still, moved = iter(constant), iter(carried)
        return [next(moved if moves else still) for moves in self.moving]


def trace(exportable: ExportableFlow, largest: int) -> ExportedProgram:
    """The graph for every height and width that is a multiple of 8 from 128 to `largest` pixels."""
    height, width = (Dim(name, min=SMALLEST // MULTIPLE, max=largest // MULTIPLE) for name in ("height", "width"))
    pictures = torch.rand(2, 1, 3, *TRACED)
    inputs, shapes = [*pictures], [{2: MULTIPLE * height, 3: MULTIPLE * width}] * 2
    if exportable.warm_start:
        inputs.append(torch.zeros(1, 2, TRACED[0] // MULTIPLE, TRACED[1] // MULTIPLE))
        shapes.append({2: height, 3: width})
    with torch.no_grad(), scans_of_up_to(largest // MULTIPLE):
        return torch.export.export(exportable, tuple(inputs), dynamic_shapes=tuple(shapes))


def _plain(values: Tensor) -> Tensor:
    """A copy in plain order: what a loop carries has one layout and shares no memory."""
    return values.clone(memory_format=torch.contiguous_format)

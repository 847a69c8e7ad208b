"""A CUDA graph of the whole match of a pair: recorded once for each size, and then a single launch for each pair."""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from flowgru.errors import lacks_memory, one_line
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.initial_flow import start_from
from flowgru.model.prediction import EncodedFrame, FlowPrediction
from flowgru.types import CoarseFlow, Flow

MAX_GRAPHS = 4
"""Kinds of pairs whose graphs are kept, the latest ones; each keeps the memory of a whole match."""

RELATIVE, ABSOLUTE = 1e-2, 0.05
"""How far, as a share and in pixels, a graph's flow may be from the one that was computed without it: rounding is much less,
and memory that does not hold what it should much more."""

Replay = Callable[[], None]


class _Recorded(NamedTuple):
    given: tuple[Tensor, ...]
    """What the graph reads."""
    replay: Replay
    found: FlowPrediction
    """What the graph writes."""


def record(function: Callable[[], Any], device: torch.device) -> tuple[Replay, Any]:
    """A CUDA graph of what the function has the device do, and the tensors in which each replay leaves its results."""
    graph = torch.cuda.CUDAGraph()
    torch.clear_autocast_cache()  # weights in 16 bits that were cast before lie where they do not stay
    try:
        with (
            torch.cuda.device(device),
            # Other threads read frames and write flows meanwhile.
            torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"),
        ):
            found = function()
    finally:
        torch.clear_autocast_cache()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, found


class RecordedMatches:
    """`FlowNetwork.match` of pairs of few sizes, with the same values: the second pair of a kind is recorded.

    The first one is computed as without, and has everything compiled and chosen that a graph must find ready. What is
    recorded is compared once with the flow that was computed without; where it differs, or cannot be recorded at all, a
    warning says so, and everything is computed as without.
    """

    def __init__(self, network: FlowNetwork, recorder: Callable[..., tuple[Replay, Any]] = record) -> None:
        self._network, self._recorder = network, recorder
        self._met: set[Any] = set()
        self._recorded: OrderedDict[Any, _Recorded] = OrderedDict()
        self._records = True

    def match(
        self,
        first: EncodedFrame,
        second: EncodedFrame,
        *,
        iterations: int,
        initial_flow: Flow | None = None,
        initial_coarse: CoarseFlow | None = None,
        hold: int = 0,
        final_only: bool = False,
        plan: MatchPlan | None = None,
    ) -> FlowPrediction:
        """See FlowNetwork.match; a refinement that may end early is no graph."""
        device = self._network.device
        start = start_from(initial_flow, initial_coarse, first.picture_shape, first.padding, device)
        assert first.context is not None
        given = first.features, first.context, second.features, start.to(device, torch.float32)
        options = iterations, hold, final_only, plan
        function = partial(_match, self._network, (first.padding, second.padding), options)
        kind = _kind(given), first.padding, second.padding, options, _precision(device)
        if (recorded := self._recorded.get(kind)) is not None:
            self._recorded.move_to_end(kind)
            for static, values in zip(recorded.given, given, strict=True):
                static.copy_(values)
            recorded.replay()
            return tree_map_only(Tensor, torch.clone, recorded.found)
        found = function(*given)
        if kind in self._met and self._records:
            self._record(kind, function, given, found)
        self._met.add(kind)
        return found

    def release(self) -> bool:
        """Gives back the memory of all graphs, and records no more; False where there was none."""
        kept, self._records = bool(self._recorded), False
        self._recorded.clear()
        return kept

    def _record(
        self, kind: Any, function: Callable[..., FlowPrediction], given: tuple[Tensor, ...], expected: FlowPrediction
    ) -> None:
        static = tuple(values.clone() for values in given)
        try:
            replay, found = self._recorder(partial(function, *static), self._network.device)
            replay()
            if not torch.allclose(found.flows[-1], expected.flows[-1], RELATIVE, ABSOLUTE, equal_nan=True):
                raise RuntimeError("its flow is another one")
        except Exception as error:
            self.release()
            if not lacks_memory(error):
                warnings.warn(
                    f"no CUDA graph can be used here ({one_line(error)}): each pair is computed as with --no-cuda-graph",
                    stacklevel=2,
                )
            return
        self._recorded[kind] = _Recorded(static, replay, found)
        if len(self._recorded) > MAX_GRAPHS:
            self._recorded.popitem(last=False)


def _match(network: FlowNetwork, paddings: Any, options: Any, *given: Tensor) -> FlowPrediction:
    features, context, others, start = given
    iterations, hold, final_only, plan = options
    return network.match(
        EncodedFrame(features, context, paddings[0]),
        EncodedFrame(others, None, paddings[1]),
        iterations=iterations,
        initial_coarse=start,
        hold=hold,
        final_only=final_only,
        plan=plan,
    )


def _kind(given: tuple[Tensor, ...]) -> Any:
    """What a graph is made for: it reads and writes the same places in the same way."""
    return tuple((values.shape, _strides(values), values.dtype) for values in given)


def _strides(values: Tensor) -> tuple[int, ...]:
    """The strides that count: along a side of one value any number is the same."""
    return tuple(stride for side, stride in zip(values.shape, values.stride(), strict=True) if side > 1)


def _precision(device: torch.device) -> Any:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None

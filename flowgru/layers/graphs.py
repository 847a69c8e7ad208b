"""CUDA graphs: what functions have a device do is recorded once for each kind of call, and then a single launch."""

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from flowgru.errors import one_line
from flowgru.layers.recorder import CudaRecorder, Recorder, Replay

Found = TypeVar("Found")

CALLS_BEFORE, TIMES_MORE = 2, 8
"""The call of a kind that is recorded unless another one is asked for, and how many times as many it takes each time its
graph had to make room: where more kinds take turns than there is room for, recording would else cost more than it gives."""

MAX_GRADIENT_CHANGE = 0.05
"""How far a graph's gradient may be from the one that was computed without it, as a share of that one's length: rounding in
16 bits is much less, and memory that does not hold what it should much more."""


class _Kind(NamedTuple):
    """What a graph is made for."""

    layout: Hashable
    """How its inputs lie in memory."""
    kind: Hashable
    precision: Any


class _Recorded(NamedTuple):
    given: tuple[Tensor, ...]
    """What the graph reads."""
    weights: tuple[nn.Parameter, ...]
    """To whose gradients it adds."""
    replay: Replay
    found: Any
    """What the graph writes."""


class Graphs:
    """Calls of functions on one device, with the same results: the call number `calls_before` of a kind is recorded.

    Those before are computed as without, and have everything compiled and chosen that a graph must find ready. So is that
    one, and what is recorded must then give the same once. Where it does not, or cannot be recorded, a warning says
    so, and everything is computed as without.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        each: str,
        most: int,
        agree: Callable[[Any, Any], bool],
        trained: nn.Module | None = None,
        recorder: Recorder | None = None,
        calls_before: int = CALLS_BEFORE,
    ) -> None:
        """each: what the warning says of a call. most: kinds whose graphs are kept, the latest ones.

        calls_before: the call of a kind that is recorded, the second one or a later one.
        agree: whether the results of a graph are those that were expected, but for rounding.
        trained: the network to whose gradients the functions add, and whose buffers they may change, and nothing else.
        """
        self._device, self._each, self._most, self._agree = device, each, most, agree
        self._trained = _Trained(nn.Module() if trained is None else trained)
        self._recorder = recorder or CudaRecorder()
        self._calls: Counter[_Kind] = Counter()
        """Without a graph, since the start or since it had to make room."""
        self._first_calls_before = calls_before
        self._calls_before: dict[_Kind, int] = {}
        """For kinds whose graph had to make room."""
        self.num_first = self.num_recorded = 0
        """Calls so far that were computed without a graph, which those of their kind get later; and that were recorded."""
        self._recorded: OrderedDict[_Kind, _Recorded] = OrderedDict()
        self._records = True

    def call(self, kind: Hashable, function: Callable[..., Found], given: Sequence[Tensor]) -> Found:
        """function(*given) on the device, wherever `given` lies; `kind` is what its work depends on besides their layout."""
        key = _Kind(_layout(given), kind, _precision(self._device))
        if (recorded := self._recorded.get(key)) is not None:
            self._recorded.move_to_end(key)
            _fill(recorded.given, given)
            self._trained.gather(recorded.weights)
            recorded.replay()
            return tree_map_only(Tensor, torch.clone, recorded.found)
        given = [values.to(self._device, non_blocking=True) for values in given]
        adds_first = not self._trained.weights()
        found = function(*given)
        self._calls[key] += 1
        enough = self._calls[key] >= self._calls_before.get(key, self._first_calls_before)
        if enough and self._records and adds_first and self._trained.is_finite():
            self.num_recorded += 1
            self._record(key, function, given, found)
        else:
            self.num_first += self._records
        return found

    def release(self) -> bool:
        """Gives back the memory of all graphs, and records no more; False where there was none."""
        kept, self._records = bool(self._recorded), False
        self._recorded.clear()
        return kept

    def _record(self, key: _Kind, function: Callable[..., Any], given: Sequence[Tensor], expected: Any) -> None:
        try:
            static = self._static(key.layout, given)
            with self._trained.undone() as weights:
                replay, found = self._recorder(partial(function, *static), self._device)
                self._trained.forget(weights)
                replay()
                if not (self._agree(found, expected) and self._trained.agrees(weights)):
                    raise RuntimeError("its results are other ones")
        except Exception as error:
            self.release()
            warnings.warn(
                f"no CUDA graph can be used here ({one_line(error)}): each {self._each} is computed as with --no-cuda-graph",
                stacklevel=2,
            )
            return
        self._recorded[key] = _Recorded(static, weights, replay, found)
        if len(self._recorded) > self._most:
            oldest, _ = self._recorded.popitem(last=False)
            self._calls[oldest] = 0
            self._calls_before[oldest] = TIMES_MORE * self._calls_before.get(oldest, self._first_calls_before)

    def _static(self, layout: Hashable, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Tensors that stay, with the values of `given`: all graphs of one layout read the same ones."""
        for key, recorded in self._recorded.items():
            if key.layout == layout:
                _fill(recorded.given, given)
                return recorded.given
        return tuple(values.clone() for values in given)


class _Trained:
    """What functions change of a network that is trained. Graphs add to gradients that lie in tensors that stay."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._static: dict[nn.Parameter, Tensor] = {}
        self._expected: dict[nn.Parameter, Tensor] = {}

    def weights(self) -> tuple[nn.Parameter, ...]:
        """Those that have a gradient."""
        return tuple(weight for weight in self._network.parameters() if weight.grad is not None)

    def is_finite(self) -> bool:
        return all(bool(weight.grad.isfinite().all()) for weight in self.weights() if weight.grad is not None)

    def gather(self, weights: Sequence[nn.Parameter]) -> None:
        """Lets a replay add to the gradients as they are: they move to where graphs add to them."""
        moves = [(self._static[weight], weight.grad) for weight in weights]
        if zeros := [place for place, gradient in moves if gradient is None]:
            torch._foreach_zero_(zeros)
        for place, gradient in moves:
            if gradient is not None and gradient is not place:
                place.copy_(gradient)
        for weight in weights:
            weight.grad = self._static[weight]

    def forget(self, weights: Sequence[nn.Parameter]) -> None:
        """Sets to zero what graphs have added."""
        if weights:
            torch._foreach_zero_([self._static[weight] for weight in weights])

    @contextmanager
    def undone(self) -> Generator[tuple[nn.Parameter, ...]]:
        """Lets graphs add to gradients that stay, of all weights that have one; afterwards all is as before."""
        weights, buffers = self.weights(), [value.clone() for value in self._network.buffers()]
        self._expected = {weight: weight.grad for weight in weights if weight.grad is not None}
        for weight in weights:
            weight.grad = self._static.setdefault(weight, torch.zeros_like(weight))
        try:
            yield weights
        finally:
            for weight in weights:
                weight.grad = self._expected[weight]
            self._expected = {}
            for value, before in zip(self._network.buffers(), buffers, strict=True):
                value.copy_(before)

    def agrees(self, weights: Sequence[nn.Parameter]) -> bool:
        """Whether, inside `undone`, what a graph has added is the gradient of before, but for rounding."""
        if not weights:
            return True
        expected = [self._expected[weight] for weight in weights]
        changes = torch._foreach_sub([self._static[weight] for weight in weights], expected)
        return bool(_length(changes) <= MAX_GRADIENT_CHANGE * _length(expected))


def _length(gradient: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(list(gradient))).norm()


def _fill(static: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    for place, values in zip(static, given, strict=True):
        place.copy_(values, non_blocking=True)


def _layout(given: Sequence[Tensor]) -> Hashable:
    return tuple((values.shape, _strides(values), values.dtype) for values in given)


def _strides(values: Tensor) -> tuple[int, ...]:
    """The strides that count: along a side of one value any number is the same."""
    return tuple(stride for side, stride in zip(values.shape, values.stride(), strict=True) if side > 1)


def _precision(device: torch.device) -> Any:
    """What the arithmetic depends on besides the tensors: 16 bits or 32, TF32, and who computes convolutions."""
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    cudnn = torch.backends.cudnn
    return dtype, cudnn.allow_tf32, cudnn.enabled, torch.backends.cuda.matmul.allow_tf32

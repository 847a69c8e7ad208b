"""The match of a pair as one CUDA graph for each size: a single launch instead of a thousand."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowgru.layers.graphs import Graphs
from flowgru.layers.recorder import Recorder
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.initial_flow import start_from
from flowgru.model.prediction import EncodedFrame, FlowPrediction
from flowgru.types import CoarseFlow, Features, Flow

MAX_GRAPHS = 4
"""Kinds of pairs whose graphs are kept."""

PAIRS_BEFORE = 64
"""The pair of a kind that is recorded: to record takes as long as some dozens of pairs save (expected, not measured), so a
clip of few frames would pay for what it hardly uses."""

RELATIVE, ABSOLUTE = 1e-2, 0.05
"""How far, as a share and in pixels, a graph's flow may be from the one that was computed without it: rounding is much less,
and memory that does not hold what it should much more."""


class RecordedMatches:
    """`FlowNetwork.match` of pairs of few sizes, with the same values, see Graphs."""

    def __init__(self, network: FlowNetwork, recorder: Recorder | None = None) -> None:
        self._network = network
        self._graphs = Graphs(
            network.device,
            each="pair",
            most=MAX_GRAPHS,
            agree=_agree,
            recorder=recorder,
            calls_before=PAIRS_BEFORE,
        )

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
        no_grad_iterations: int = 0,
        plan: MatchPlan | None = None,
        memory: Features | None = None,
        confidence: bool = True,
    ) -> FlowPrediction:
        """See FlowNetwork.match; a refinement that may end early is no graph."""
        device = self._network.device
        start = start_from(initial_flow, initial_coarse, first.picture_shape, first.padding, device)
        assert first.context is not None
        given = first.features, first.context, second.features, start.to(device, torch.float32)
        if self._network.temporal_memory is not None:
            hidden_size = self._network.sizes.hidden_size
            given += (torch.zeros_like(first.context[:, :hidden_size]) if memory is None else memory,)
        paddings = first.padding, second.padding
        says = confidence and self._network.mixture_head is not None
        options = iterations, hold, final_only, no_grad_iterations, plan, says
        return self._graphs.call((paddings, options), partial(_match, self._network, paddings, options), given)

    def release(self) -> bool:
        """Gives back the memory of all graphs, and records no more; False where there was none."""
        return self._graphs.release()


def _agree(found: FlowPrediction, expected: FlowPrediction) -> bool:
    return torch.allclose(found.flows[-1], expected.flows[-1], RELATIVE, ABSOLUTE, equal_nan=True)


def _match(network: FlowNetwork, paddings: Any, options: Any, *given: Tensor) -> FlowPrediction:
    features, context, others, start, *memory = given
    iterations, hold, final_only, no_grad_iterations, plan, confidence = options
    return network.match(
        EncodedFrame(features, context, paddings[0]),
        EncodedFrame(others, None, paddings[1]),
        iterations=iterations,
        initial_coarse=start,
        hold=hold,
        final_only=final_only,
        no_grad_iterations=no_grad_iterations,
        plan=plan,
        memory=memory[0] if memory else None,
        confidence=confidence,
    )

"""What the estimation of flow asks of a network, whichever runtime computes it."""

from typing import Any, Protocol, runtime_checkable

import torch

from flowgru.config import NetworkConfig
from flowgru.grid import PaddingMode
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.memory_estimate import MemoryEstimate
from flowgru.model.prediction import FlowPrediction
from flowgru.types import CoarseFlow, Flow, Images


@runtime_checkable
class PairNetwork(Protocol):
    """What encodes frames and matches pairs of them: FlowNetwork, and ExportedFlow for an exported file."""

    card: dict[str, Any]
    """What the model says of itself (data, licence, recommended iterations, ...)."""
    config: NetworkConfig
    plan: MatchPlan
    """How matches are computed where `match` is given no plan."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def encode(self, frame: Images, *, with_context: bool = True, padding: PaddingMode = "sintel") -> Any:
        """What it computes of one frame alone, with its `picture_shape`; a frame that only ends pairs needs no context."""
        ...

    def match(
        self,
        first: Any,
        second: Any,
        *,
        iterations: int,
        initial_flow: Flow | None = None,
        initial_coarse: CoarseFlow | None = None,
        hold: int = 0,
        final_only: bool = False,
        stop_below: float | None = None,
        plan: MatchPlan | None = None,
        confidence: bool = True,
    ) -> FlowPrediction:
        """The flow between two frames that are encoded, see FlowNetwork.forward."""
        ...

    def smaller_plan(self, plan: MatchPlan) -> MatchPlan | None:
        """The next plan that takes less memory; None where there is none."""
        ...

    def expected_memory(
        self,
        height: int,
        width: int,
        *,
        num_tiles: int = 1,
        tile_shape: tuple[int, int] | None = None,
        after: int = 0,
        graph: bool = False,
        scales: int = 1,
        plan: MatchPlan | None = None,
    ) -> MemoryEstimate:
        """The most memory that a pair of that size will take, see estimate_memory."""
        ...

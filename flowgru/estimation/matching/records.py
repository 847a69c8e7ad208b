"""What is known of frames, of the directions through a pair, and of its flow, while it is computed."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from flowgru.data.polish import Grey
from flowgru.estimation.matching.initial_flow import InitialFlow
from flowgru.estimation.matching.plan import Plan
from flowgru.types import Images, Levels


class Prepared(NamedTuple):
    """A frame before it is encoded."""

    image: Images | Levels
    """The frame itself, by which it is known again."""
    picture: Images
    """The picture at the computed size, on the network's device."""
    grey: Grey | None
    """What the steps around the network compare, see grey_of."""


class TiledFrame(NamedTuple):
    """A frame as pairs with it are computed: in tiles, each of which the network has encoded."""

    image: Images | Levels
    half: Images | None
    """The picture at half the computed size, on the network's device; None where no flow is refined at it."""
    grey: Grey | None
    plan: Plan
    tiles: list[Any]
    """What the network has encoded, tile by tile; mostly one."""


class Direction(NamedTuple):
    """One way through a pair."""

    first: TiledFrame
    second: TiledFrame
    start: InitialFlow
    """The initial flow, with which the gate compares."""
    begins: InitialFlow
    """Where the refinements begin: at the initial flow, or at what they have made of it at half the size."""
    backward: bool


class Refined(NamedTuple):
    """What comes of one direction, at the frames' size."""

    flow: Float[Tensor, "2 H W"]
    confidence: Float[Tensor, "H W"] | None
    num_refinements: int
    carried: InitialFlow | None
    last_update: Float[Tensor, "2 H W"] | None = None


class PairResult(NamedTuple):
    """What there is to know of a pair, in the frames' own pixels; see PairFlow."""

    forward: Float[Tensor, "2 H W"]
    backward: Float[Tensor, "2 H W"] | None
    confidence: Float[Tensor, "H W"] | None
    num_refinements: int
    initial_flows: tuple[str, ...]
    """Where the forward flow began, and the backward flow if there is one."""
    carried: tuple[InitialFlow | None, ...]
    """Where the next pair begins where it goes on, by direction: with warm_start at the flow carried along, and with what a
    network with a memory goes on with. None without both, and where nothing leads on."""
    last_update: Float[Tensor, "2 H W"] | None = None
    """What the last refinement has added to the forward flow, before any polish; None without last_update."""

"""How pairs of frames are matched, as far as it is the same for every pair."""

from dataclasses import dataclass, replace
from typing import Literal

from flowgru.config.choices import Precision
from flowgru.config.way import Way
from flowgru.estimation.matching.tiles import check_tiles
from flowgru.grid import PaddingMode


@dataclass(frozen=True)
class MatchSettings:
    """How pairs of frames are matched, as far as it is the same for every pair; RequestError where it cannot be."""

    way: Way
    """Refinements, where they begin, and what is done after."""
    warm_start: bool = False
    """The flow of each pair is carried along, for the next one to begin at."""
    backward: bool = False
    """The other direction too."""
    resize: tuple[int, int] | float | None = None
    """Compute at this (height, width) or scale; the flow comes back at the frames' size, in their pixels."""
    precision: Precision = "32"
    """Of the arithmetic, in bits."""
    tiles: tuple[int, int] = (1, 1)
    """Rows and columns of overlapping tiles."""
    stop_below: float | None = None
    """Ends refinements early, see FlowNetwork.forward."""
    padding: PaddingMode = "sintel"
    """Where pictures of an awkward size grow."""
    on_lack: Literal["shrink", "fail"] = "shrink"
    """Where memory does not suffice, "shrink" tries the pair again with the correlation on demand, then in 2x2 tiles, with a
    warning, and further pairs of that size as well. MachineError where that does not help, or where it is "fail"."""
    can_resize: bool = True
    """Whoever asks can have the frames computed at a smaller size, so that an error may advise it."""
    cuda_graph: bool = True
    """On a CUDA device, matches are recorded, see RecordedMatches; but not with stop_below."""
    last_update: bool = False
    """Each result says what its last refinement has added. It takes two refinements, a network that gives the flow after
    both, and no stop_below."""
    confidence: bool = False
    """Each result says how sure the network is of the forward flow, where it has a mixture head."""

    def __post_init__(self) -> None:
        check_tiles(self.tiles)

    def at_half_size(self) -> "MatchSettings":
        """How the same pairs are matched at half the size first, in the tiles of a plan that each of them brings."""
        return replace(
            self,
            way=self.way.coarser(),
            warm_start=False,
            resize=None,
            tiles=(1, 1),
            last_update=False,
            confidence=False,
        )

    def from_zero(self) -> "MatchSettings":
        """How one direction of the same pairs is matched at half their size, from zero; seldom, so nothing is recorded."""
        way = Way(self.way.iterations_at_smaller_sizes, hold=self.way.hold)
        return replace(self, way=way, backward=False, cuda_graph=False)

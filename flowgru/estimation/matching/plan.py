"""How a pair is computed, as far as it changes memory; where memory does not suffice, the next smaller plan."""

from typing import NamedTuple

import torch

from flowgru.errors import MachineError, sides, size_text
from flowgru.estimation.geometry import computed_size
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.matching.tiles import most_tiles, tile_layout
from flowgru.model.buffers import release
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.pair_network import PairNetwork

MIN_SIDE_TO_CUT = 512
"""Pixels on the shorter side of a picture below which a lack of memory is not answered by cutting it into tiles."""


class Plan(NamedTuple):
    """How a pair is computed, as far as it changes memory."""

    match: MatchPlan
    tiles: tuple[int, int]
    """Rows and columns."""

    def at_half_size(self, height: int, width: int) -> "Plan":
        """The plan for the same pictures at half the size, height x width: in tiles of at most as many pixels each.

        They are fewer where these would be too small.
        """
        rows, columns = self.tiles
        return self._replace(tiles=(most_tiles(height, (rows + 1) // 2), most_tiles(width, (columns + 1) // 2)))


class Plans:
    """One plan for all frames, and a smaller one for the sizes of frames that it has no memory for."""

    def __init__(self, network: PairNetwork, settings: MatchSettings) -> None:
        self.network, self.settings = network, settings
        rows, columns = settings.tiles  # a list may be given
        self.plan = Plan(network.plan, (rows, columns))
        self.smaller: dict[tuple[int, ...], Plan] = {}

    def of(self, size: tuple[int, ...]) -> Plan:
        """The plan for frames of that size."""
        return self.smaller.get(size, self.plan)

    def shrink(self, size: tuple[int, ...]) -> str:
        """Gives back what memory it can, takes the next smaller plan for frames of that size, and returns a line about it.

        MachineError where there is none, or where none is wanted.
        """
        release()
        device = self.network.device
        if device.type == "cuda":
            torch.cuda.empty_cache()
        computed = computed_size(size, self.settings.resize)
        at = f", computed at {sides(computed)}," if computed != tuple(size) else ""
        lack = f"not enough memory for frames of {size_text(size)}{at} on {device}"
        if self.settings.on_lack == "fail":
            raise MachineError(lack)
        plan = self.of(size)
        tiles = tile_layout(*computed, *plan.tiles)
        method = self.network.expected_memory(
            *computed, num_tiles=len(tiles), tile_shape=tiles[0][2:], plan=plan.match
        ).method
        if method != "on_demand" and (match := self.network.smaller_plan(plan.match)) is not None:
            self.smaller[size] = plan._replace(match=match)
            return f"{lack}: computing with the correlation on demand (--correlation on_demand)"
        if plan.tiles == (1, 1) and min(computed) >= MIN_SIDE_TO_CUT:
            self.smaller[size] = plan._replace(tiles=(2, 2))
            return f"{lack}: computing in 2x2 tiles (--tiles 2x2)"
        rows, columns = plan.tiles
        how = " with the correlation on demand" if method == "on_demand" else ""
        less = ", ".join(["--no-polish"] * self.settings.way.polish + ["--resize 0.5"] * self.settings.can_resize)
        raise MachineError(
            f"{lack}, even in {rows}x{columns} tiles{how}: use {less}{' or ' if less else ''}more tiles, such as "
            f"--tiles {2 * rows}x{2 * columns}"
        )

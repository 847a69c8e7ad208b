"""What a network makes of one direction of a pair, tile by tile, from where its refinements begin."""

from typing import Any

import torch
import torch.nn.functional as F

from flowgru.estimation.geometry import computed_size, resize_flow
from flowgru.estimation.matching.initial_flow import carried_along, with_memory
from flowgru.estimation.matching.records import Direction, Refined
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.matching.steps import finish
from flowgru.estimation.matching.tiles import Tile, blend, tile_layout
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.pair_network import PairNetwork
from flowgru.model.prediction import FlowPrediction
from flowgru.model.recorded import RecordedMatches
from flowgru.types import Images


class Refiner:
    """Refines one direction of a pair; holds the network and the settings that are the same for every pair."""

    def __init__(self, network: PairNetwork, settings: MatchSettings) -> None:
        self.network = network
        self.settings = settings
        self.device = network.device
        self.has_memory = isinstance(network, FlowNetwork) and network.temporal_memory is not None
        self.recorded: RecordedMatches | None = None
        if (
            settings.cuda_graph
            and settings.stop_below is None
            and self.device.type == "cuda"
            and isinstance(network, FlowNetwork)
        ):
            self.recorded = RecordedMatches(network)

    def release(self) -> bool:
        """Gives back the memory of recorded matches; whether there were any."""
        return self.recorded is not None and self.recorded.release()

    def encode(self, picture: Images, tiles: tuple[int, int], *, with_context: bool) -> list[Any]:
        """What the network computes of each tile of a frame alone."""
        height, width = picture.shape[2:]
        with self._autocast():
            return [
                self.network.encode(tile.cut(picture), with_context=with_context, padding=self.settings.padding)
                for tile in tile_layout(height, width, *tiles)
            ]

    def refine(self, pair: Direction, size: tuple[int, ...]) -> Refined:
        """One direction, brought to the frames' `size`."""
        computed = computed_size(size, self.settings.resize)
        layout = tile_layout(*computed, *pair.first.plan.tiles)
        outputs, coarse, remembered, most = [], [], [], 0
        with_update = self.settings.last_update and not pair.backward
        for number, tile in enumerate(layout):
            prediction = self._match(pair, number, tile)
            confidence = [] if prediction.confidence is None else [prediction.confidence[:, None]]
            before = [prediction.flows[-2]] if with_update else []
            outputs.append(torch.cat([prediction.flows[-1], *before, *confidence], dim=1).float())
            coarse.append(prediction.coarse.float())
            remembered.append(prediction.memory)
            most = max(most, prediction.num_refinements)
        own, *others = blend(outputs, layout, *computed).split(2, dim=1)
        update = resize_flow(own - others.pop(0), size)[0] if with_update else None
        confidence = F.interpolate(others[0], size, mode="bilinear")[0, 0] if others else None
        flow = finish(self.settings.way, own, pair.start, pair.first.grey, pair.second.grey)
        carried = carried_along(coarse, backward=pair.backward) if self.settings.warm_start else None
        if self.has_memory and not pair.backward:
            carried = with_memory(carried, remembered)
        return Refined(resize_flow(flow, size)[0], confidence, most, carried, update)

    def _match(self, pair: Direction, number: int, tile: Tile) -> FlowPrediction:
        """The flow of one tile after the last refinement; also after the one before, where the last update is asked for."""
        start = pair.begins
        wanted = iterations = self._iterations(pair)
        more: dict[str, Any] = {"stop_below": self.settings.stop_below} if self.recorded is None else {}
        if self.has_memory and not pair.backward:
            more["memory"] = start.memory[number] if start.memory else None
        with_update = self.settings.last_update and not pair.backward
        if with_update and iterations > 2:  # those before give no flow: each takes the memory of a picture
            more["no_grad_iterations"], iterations = iterations - 2, 2
        with self._autocast():
            prediction = (self.recorded or self.network).match(
                pair.first.tiles[number],
                pair.second.tiles[number],
                iterations=iterations,
                initial_flow=None if start.flow is None else tile.cut(start.flow),
                initial_coarse=start.coarse[number] if start.coarse else None,
                hold=self.settings.way.hold,
                final_only=not with_update,
                plan=pair.first.plan.match,
                confidence=self.settings.confidence and not pair.backward,
                **more,
            )
        return prediction._replace(num_refinements=prediction.num_refinements + wanted - iterations)

    def _iterations(self, pair: Direction) -> int:
        """Refinements at full size: the larger number of the way's sizes where a pair was not refined at half the size."""
        left_out = self.settings.way.scales > 1 and pair.begins is pair.start
        return self.settings.way.most_iterations if left_out else self.settings.way.iterations

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.settings.precision == "16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.settings.precision != "32")

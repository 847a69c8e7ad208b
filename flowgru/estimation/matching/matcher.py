"""Encodes frames and matches pairs of them: tile by tile, from a start, and within the memory that there is."""

import warnings
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F

from flowgru.config.choices import Precision
from flowgru.config.way import Way
from flowgru.data.formats.images import as_images
from flowgru.data.polish import Grey
from flowgru.errors import lacks_memory
from flowgru.estimation.geometry import computed_size, resize_flow, resize_picture, warn_of_distortion
from flowgru.estimation.matching.initial_flow import InitialFlow, carried_along, coarse_of_tiles, with_memory
from flowgru.estimation.matching.plan import Plan, Plans
from flowgru.estimation.matching.records import Direction, EncodedFrame, PairResult, Prepared, Refined
from flowgru.estimation.matching.steps import begin, beside, finish, grey_of
from flowgru.estimation.matching.tiles import Tile, blend, check_tiles, tile_layout
from flowgru.grid import PaddingMode
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.pair_network import PairNetwork
from flowgru.model.prediction import FlowPrediction
from flowgru.model.recorded import RecordedMatches
from flowgru.types import Images, Levels

MIN_SIDE_TO_HALVE = 192
"""Pixels on the shorter side of a picture below which it is not refined at half its size first."""


class PairMatcher:
    """Encodes and matches frames; remembers the last ones that it encoded, and which sizes of frames need a smaller plan."""

    def __init__(
        self,
        network: PairNetwork,
        way: Way,
        *,
        warm_start: bool = False,
        backward: bool = False,
        resize: tuple[int, int] | float | None = None,
        precision: Precision = "32",
        tiles: tuple[int, int] = (1, 1),
        stop_below: float | None = None,
        padding: PaddingMode = "sintel",
        on_lack: Literal["shrink", "fail"] = "shrink",
        can_resize: bool = True,
        remembers: int = 1,
        cuda_graph: bool = True,
        last_update: bool = False,
    ) -> None:
        """Most of the arguments are those of pair_flows.

        network: one with a memory (network.memory) is given and gives what is carried of it, of the forward flow.
        remembers: how many frames are kept as they were encoded, for pairs that they begin.
        padding: where pictures of an awkward size grow.
        can_resize: whoever asks can have the frames computed at a smaller size, so that an error may advise it.
        cuda_graph: on a CUDA device, matches are recorded, see RecordedMatches; but not with stop_below.
        last_update: each result says what its last refinement has added. It takes two refinements, a network that gives the
        flow after both, and no stop_below.
        """
        check_tiles(tiles)
        self.network = network
        self.way = way
        self.warm_start = warm_start
        self.backward = backward
        self.resize = resize
        self.precision: Precision = precision
        self.last_update = last_update
        self.has_memory = isinstance(network, FlowNetwork) and network.temporal_memory is not None
        self.goes_on = warm_start or self.has_memory
        """Whether a pair has something of the pair before it, where it goes on after that."""
        self.stop_below = stop_below
        self.padding: PaddingMode = padding
        self.device = network.device
        self.plans = Plans(network, way, tiles=tiles, resize=resize, shrink=on_lack == "shrink", can_resize=can_resize)
        self.at_half_size: PairMatcher | None = None
        """What refines the flow at half the size first, where the way has more than one scale."""
        if way.scales > 1:
            self.at_half_size = PairMatcher(
                network,
                way.coarser(),
                backward=backward,
                precision=precision,
                stop_below=stop_below,
                padding=padding,
                remembers=remembers,
                cuda_graph=cuda_graph,
            )
        self.encoded: deque[EncodedFrame] = deque(maxlen=remembers)
        """The last frames that may begin a pair."""
        self.recorded: RecordedMatches | None = None
        if cuda_graph and stop_below is None and self.device.type == "cuda" and isinstance(network, FlowNetwork):
            self.recorded = RecordedMatches(network)

    @torch.inference_mode()
    def match(
        self,
        first: Images | Levels,
        second: Images | Levels,
        starts: Sequence[InitialFlow | None] = (None, None),
        *,
        with_context: bool = False,
    ) -> PairResult:
        """The flow between two frames of one size, in 8 bits or in [0, 1].

        starts: where each direction begins, in the frames' own pixels or as an earlier pair has carried it along; None is
        where the way begins.
        with_context: the second frame is the first one of a further pair.

        MachineError where memory does not suffice.
        """
        size, notice = tuple(first.shape[2:]), ""
        while True:
            try:
                result = self._attempt(
                    first, second, starts, self.plans.of(size), with_context=with_context or self.backward
                )
                if notice:
                    warnings.warn(notice, stacklevel=2)
                return result
            except Exception as error:
                if not lacks_memory(error):
                    raise
            # Only here has the error let go of what it held.
            if not self._release():
                notice = self.plans.shrink(size)

    def _release(self) -> bool:
        """Gives back the memory of encoded frames and of recorded matches; whether there were any of these."""
        self.encoded.clear()
        at_half_size = self.at_half_size is not None and self.at_half_size._release()
        return (self.recorded is not None and self.recorded.release()) or at_half_size

    def _attempt(
        self,
        first: Images | Levels,
        second: Images | Levels,
        starts: Sequence[InitialFlow | None],
        plan: Plan,
        *,
        with_context: bool,
    ) -> PairResult:
        """The pair by that plan."""
        size, encoded = tuple(first.shape[2:]), [*self.encoded]
        self.encoded.clear()
        usable = {id(each.image): each for each in encoded if each.plan == plan}
        known = usable.get(id(first)), usable.get(id(second))
        before, after = known[0] or self._prepare(first), known[1] or self._prepare(second)
        both_ways = [(before.grey, after.grey), (after.grey, before.grey)]
        begun = [
            beside(self.device, partial(self._start, start, greys, plan))
            for start, greys in zip(starts, both_ways[: 1 + self.backward], strict=False)
        ]
        if isinstance(before, Prepared):
            before = self._encode(before, plan, with_context=True)
        if isinstance(after, Prepared):
            after = self._encode(after, plan, with_context=with_context)
        starts = [start() for start in begun]
        begins = self._refined_at_half_size(before, after, starts, size, with_context=with_context)
        forward = self._refine(Direction(before, after, starts[0], begins[0], backward=False), size)
        backward = None
        if self.backward:
            backward = self._refine(Direction(after, before, starts[1], begins[1], backward=True), size)
        if with_context:
            new = [each for each, old in ((before, known[0]), (after, known[1])) if old is None]
            self.encoded.extend([*encoded, *new])
        return PairResult(
            forward.flow,
            None if backward is None else backward.flow,
            forward.confidence,
            forward.num_refinements,
            tuple(start.name for start in starts),
            (forward.carried,) if backward is None else (forward.carried, backward.carried),
            forward.last_update,
        )

    def _refined_at_half_size(
        self,
        before: EncodedFrame,
        after: EncodedFrame,
        starts: Sequence[InitialFlow],
        size: tuple[int, ...],
        *,
        with_context: bool,
    ) -> Sequence[InitialFlow]:
        """Where the refinements of each direction begin: at what they make of the initial flow at half the size.

        At the initial flow itself where there is one scale, where half a picture would be too small, and where the flow of
        the pair before was carried along.
        """
        first, second = before.half, after.half
        if self.at_half_size is None or first is None or second is None or any(start.coarse for start in starts):
            return starts
        half, computed = tuple(first.shape[2:]), computed_size(size, self.resize)
        flows = [None if start.flow is None else resize_flow(start.flow, half) for start in starts]
        given = [start._replace(flow=flow, memory=None) for start, flow in zip(starts, flows, strict=True)]
        plan = before.plan.at_half_size(*half)
        found = self.at_half_size._attempt(first, second, given, plan, with_context=with_context)
        ends = [found.forward] if found.backward is None else [found.forward, found.backward]
        layout = tile_layout(*computed, *before.plan.tiles)
        begins = [coarse_of_tiles(resize_flow(end[None], computed), layout, self.padding) for end in ends]
        return [start._replace(flow=None, coarse=coarse) for start, coarse in zip(starts, begins, strict=True)]

    def _prepare(self, image: Images | Levels) -> Prepared:
        picture = as_images(image.to(self.device, non_blocking=True))
        size = computed_size(image.shape[2:], self.resize)
        if size == image.shape[2:]:
            return Prepared(image, picture, grey_of(self.way, image))  # not brought back from the GPU
        warn_of_distortion(image.shape[2:], self.resize)
        picture = resize_picture(picture, size)
        return Prepared(image, picture, grey_of(self.way, picture))

    def _start(self, start: InitialFlow | None, greys: tuple[Grey | None, Grey | None], plan: Plan) -> InitialFlow:
        """Where one direction begins, at the computed size; what was carried along in other tiles is of no use."""
        num_tiles = plan.tiles[0] * plan.tiles[1]
        if start is None:
            return begin(self.way, *greys)
        memory = start.memory if start.memory is not None and len(start.memory) == num_tiles else None
        if not start.is_decided or (start.coarse is not None and len(start.coarse) != num_tiles):
            start = begin(self.way, *greys)
        elif start.flow is not None:
            start = start._replace(flow=resize_flow(start.flow, computed_size(start.flow.shape[2:], self.resize)))
        return start._replace(memory=memory)

    def _encode(self, frame: Prepared, plan: Plan, *, with_context: bool) -> EncodedFrame:
        height, width = frame.picture.shape[2:]
        with self._autocast():
            tiles = [
                self.network.encode(tile.cut(frame.picture), with_context=with_context, padding=self.padding)
                for tile in tile_layout(height, width, *plan.tiles)
            ]
        halved = self.at_half_size is not None and min(height, width) >= MIN_SIDE_TO_HALVE
        half = resize_picture(frame.picture, computed_size((height, width), 0.5)) if halved else None
        return EncodedFrame(frame.image, half, frame.grey, plan, tiles)

    def _refine(self, pair: Direction, size: tuple[int, ...]) -> Refined:
        """One direction, brought to the frames' `size`."""
        computed = computed_size(size, self.resize)
        layout = tile_layout(*computed, *pair.first.plan.tiles)
        outputs, coarse, remembered, most = [], [], [], 0
        with_update = self.last_update and not pair.backward
        for number, tile in enumerate(layout):
            prediction = self._match_tile(pair, number, tile)
            confidence = [] if prediction.confidence is None else [prediction.confidence[:, None]]
            before = [prediction.flows[-2]] if with_update else []
            outputs.append(torch.cat([prediction.flows[-1], *before, *confidence], dim=1).float())
            coarse.append(prediction.coarse.float())
            remembered.append(prediction.memory)
            most = max(most, prediction.num_refinements)
        own, *others = blend(outputs, layout, *computed).split(2, dim=1)
        update = resize_flow(own - others.pop(0), size)[0] if with_update else None
        confidence = F.interpolate(others[0], size, mode="bilinear")[0, 0] if others else None
        flow = finish(self.way, own, pair.start, pair.first.grey, pair.second.grey)
        carried = carried_along(coarse, backward=pair.backward) if self.warm_start else None
        if self.has_memory and not pair.backward:
            carried = with_memory(carried, remembered)
        return Refined(resize_flow(flow, size)[0], confidence, most, carried, update)

    def _match_tile(self, pair: Direction, number: int, tile: Tile) -> FlowPrediction:
        """The flow of one tile after the last refinement; also after the one before, where the last update is asked for."""
        start, wanted = pair.begins, self._iterations(pair)
        iterations = wanted
        more: dict[str, Any] = {"stop_below": self.stop_below} if self.recorded is None else {}
        if self.has_memory and not pair.backward:
            more["memory"] = start.memory[number] if start.memory else None
        with_update = self.last_update and not pair.backward
        if with_update and iterations > 2:  # those before give no flow: each takes the memory of a picture
            more["no_grad_iterations"], iterations = iterations - 2, 2
        with self._autocast():
            prediction = (self.recorded or self.network).match(
                pair.first.tiles[number],
                pair.second.tiles[number],
                iterations=iterations,
                initial_flow=None if start.flow is None else tile.cut(start.flow),
                initial_coarse=start.coarse[number] if start.coarse else None,
                hold=self.way.hold,
                final_only=not with_update,
                plan=pair.first.plan.match,
                **more,
            )
        return prediction._replace(num_refinements=prediction.num_refinements + wanted - iterations)

    def _iterations(self, pair: Direction) -> int:
        """Refinements at full size: the larger number of the way's sizes where a pair was not refined at half the size."""
        left_out = self.at_half_size is not None and pair.begins is pair.start
        return self.way.most_iterations if left_out else self.way.iterations

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "32")

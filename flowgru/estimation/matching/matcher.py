"""Encodes frames and matches pairs of them: tile by tile, from a start, and within the memory that there is."""

import warnings
from collections import deque
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.formats.images import as_images
from flowgru.data.polish import Grey
from flowgru.errors import lacks_memory
from flowgru.estimation.geometry import computed_size, resize_flow, resize_picture, warn_of_distortion
from flowgru.estimation.matching.initial_flow import ZERO, InitialFlow, coarse_of_tiles, was_wrong
from flowgru.estimation.matching.plan import Plan, Plans
from flowgru.estimation.matching.records import Direction, PairResult, Prepared, Refined, TiledFrame
from flowgru.estimation.matching.refiner import Refiner
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.matching.steps import begin, beside, grey_of
from flowgru.estimation.matching.tiles import tile_layout
from flowgru.layers.modes import evaluating
from flowgru.model.pair_network import PairNetwork
from flowgru.types import CoarseFlow, Images, Levels

MIN_SIDE_TO_HALVE = 192
"""Pixels on the shorter side of a picture below which it is not refined at half its size first."""


class PairMatcher:
    """Encodes and matches frames; remembers the last ones that it encoded, and which sizes of frames need a smaller plan."""

    def __init__(
        self, network: PairNetwork, settings: MatchSettings, *, remembers: int = 1, doubts_dis: bool = False
    ) -> None:
        """network: one with a memory (network.memory) is given and gives what is carried of it, of the forward flow.

        remembers: how many frames are kept as they were encoded, for pairs that they begin. doubts_dis: where refinements
        move the flow of DIS far, it counts as wrong, and they begin again at zero; used at sizes below the full one.
        """
        self.settings = settings
        self.device = network.device
        self.refiner = Refiner(network, settings)
        self.goes_on = settings.warm_start or self.refiner.has_memory
        """Whether a pair has something of the pair before it, where it goes on after that."""
        self.plans = Plans(network, settings)
        self.at_half_size: PairMatcher | None = None
        """What refines the flow at half the size first, where the way has more than one scale."""
        if settings.way.scales > 1:
            self.at_half_size = PairMatcher(network, settings.at_half_size(), remembers=remembers, doubts_dis=True)
        self.from_zero: PairMatcher | None = None
        """What finds a flow from zero, at half the size, where the flow of DIS counts as wrong."""
        if doubts_dis:
            self.from_zero = PairMatcher(network, settings.from_zero(), remembers=2)
        self.encoded: deque[TiledFrame] = deque(maxlen=remembers)
        """The last frames that may begin a pair."""

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
                with evaluating(self.refiner.network):
                    result = self._attempt(
                        first, second, starts, self.plans.of(size), with_context=with_context or self.settings.backward
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
        smaller = [each._release() for each in (self.at_half_size, self.from_zero) if each is not None]
        return self.refiner.release() or any(smaller)

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
            for start, greys in zip(starts, both_ways[: 1 + self.settings.backward], strict=False)
        ]
        if isinstance(before, Prepared):
            before = self._encode(before, plan, with_context=True)
        if isinstance(after, Prepared):
            after = self._encode(after, plan, with_context=with_context)
        starts = [start() for start in begun]
        begins = self._refined_at_half_size(before, after, starts, size, with_context=with_context)
        forward, name = self._refined(Direction(before, after, starts[0], begins[0], backward=False), size)
        backward, names = None, [name]
        if self.settings.backward:
            backward, name = self._refined(Direction(after, before, starts[1], begins[1], backward=True), size)
            names.append(name)
        if with_context:
            new = [each for each, old in ((before, known[0]), (after, known[1])) if old is None]
            self.encoded.extend([*encoded, *new])
        return PairResult(
            forward.flow,
            None if backward is None else backward.flow,
            forward.confidence,
            forward.num_refinements,
            tuple(names),
            (forward.carried,) if backward is None else (forward.carried, backward.carried),
            forward.last_update,
        )

    def _refined_at_half_size(
        self,
        before: TiledFrame,
        after: TiledFrame,
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
        half, computed = tuple(first.shape[2:]), computed_size(size, self.settings.resize)
        flows = [None if start.flow is None else resize_flow(start.flow, half) for start in starts]
        given = [start._replace(flow=flow, memory=None) for start, flow in zip(starts, flows, strict=True)]
        plan = before.plan.at_half_size(*half)
        found = self.at_half_size._attempt(first, second, given, plan, with_context=with_context)
        ends = [found.forward] if found.backward is None else [found.forward, found.backward]
        coarse = [self._coarse(end, computed, before.plan) for end in ends]
        return [
            start._replace(name=name, flow=None, coarse=each)
            for start, name, each in zip(starts, found.initial_flows, coarse, strict=True)
        ]

    def _refined(self, pair: Direction, size: tuple[int, ...]) -> tuple[Refined, str]:
        """One direction, and the name of where it began: zero, where the flow of DIS counts as wrong."""
        refined = self.refiner.refine(pair, size)
        if self.from_zero is None or pair.begins is not pair.start or not was_wrong(pair.start, refined.flow):
            return refined, pair.begins.name
        begins = ZERO
        if min(size) >= MIN_SIDE_TO_HALVE:
            half = computed_size(size, 0.5)
            first, second = (resize_picture(as_images(each.image), half) for each in (pair.first, pair.second))
            plan = pair.first.plan.at_half_size(*half)
            start = ZERO
            for is_remembered in (True, False):  # twice: what begins at zero has far to go
                found = self.from_zero._attempt(first, second, [start], plan, with_context=is_remembered)
                start = ZERO._replace(flow=found.forward[None])
            begins = ZERO._replace(coarse=self._coarse(found.forward, size, pair.first.plan))
        return self.refiner.refine(pair._replace(begins=begins), size), begins.name

    def _coarse(self, flow: Float[Tensor, "2 _ _"], size: tuple[int, ...], plan: Plan) -> tuple[CoarseFlow, ...]:
        """A flow of another size as InitialFlow.coarse for pictures of `size`."""
        height, width = size
        layout = tile_layout(height, width, *plan.tiles)
        return coarse_of_tiles(resize_flow(flow[None], size), layout, self.settings.padding)

    def _prepare(self, image: Images | Levels) -> Prepared:
        picture = as_images(image.to(self.device, non_blocking=self.device.type == "cuda"))
        size = computed_size(image.shape[2:], self.settings.resize)
        if size == image.shape[2:]:
            return Prepared(image, picture, grey_of(self.settings.way, image))  # not brought back from the GPU
        warn_of_distortion(image.shape[2:], self.settings.resize)
        picture = resize_picture(picture, size)
        return Prepared(image, picture, grey_of(self.settings.way, picture))

    def _start(self, start: InitialFlow | None, greys: tuple[Grey | None, Grey | None], plan: Plan) -> InitialFlow:
        """Where one direction begins, at the computed size; what was carried along in other tiles is of no use."""
        num_tiles = plan.tiles[0] * plan.tiles[1]
        if start is None:
            return begin(self.settings.way, *greys)
        memory = start.memory if start.memory is not None and len(start.memory) == num_tiles else None
        if not start.is_decided or (start.coarse is not None and len(start.coarse) != num_tiles):
            start = begin(self.settings.way, *greys)
        elif start.flow is not None:
            start = start._replace(
                flow=resize_flow(start.flow, computed_size(start.flow.shape[2:], self.settings.resize))
            )
        return start._replace(memory=memory)

    def _encode(self, frame: Prepared, plan: Plan, *, with_context: bool) -> TiledFrame:
        height, width = frame.picture.shape[2:]
        tiles = self.refiner.encode(frame.picture, plan.tiles, with_context=with_context)
        halved = self.at_half_size is not None and min(height, width) >= MIN_SIDE_TO_HALVE
        half = resize_picture(frame.picture, computed_size((height, width), 0.5)) if halved else None
        return TiledFrame(frame.image, half, frame.grey, plan, tiles)

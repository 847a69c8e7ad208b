"""Encodes frames and matches neighbours: tile by tile, warm-started, and within the memory that there is."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from flowgru.config.way import Way
from flowgru.data.polish import Grey
from flowgru.errors import MachineError
from flowgru.estimation.geometry import computed_size, resize_flow
from flowgru.estimation.initial_flow import InitialFlow
from flowgru.estimation.steps import begin, beside, finish, grey_of
from flowgru.estimation.tiles import blend, tile_layout
from flowgru.grid import splat
from flowgru.model.buffers import release
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory import lacks_memory
from flowgru.types import CoarseFlow, Images

Precision = Literal["32", "bf16", "16"]

CUT = 0.1
"""Difference between two frames' thumbnails, in [0, 1], above which a warm start does not carry over."""

LEAST_TO_CUT = 512
"""Pixels on the shorter side of a picture below which a lack of memory is not answered by cutting it into tiles."""

PairNetwork = FlowNetwork | ExportedFlow
"""What encodes frames and matches them."""

EncodedTiles = list[Any]
"""A frame as its network has encoded it, tile by tile; mostly one."""

Carried = list[CoarseFlow] | None
"""The previous flow carried along by itself, tile by tile: where a warm start begins."""

Greys = tuple[Grey | None, Grey | None]
"""Both pictures as the steps around the network compare them, see grey_of."""


class Found(NamedTuple):
    """What there is to know of a pair, in the frames' own pixels; see PairFlow."""

    forward: Float[Tensor, "2 H W"]
    backward: Float[Tensor, "2 H W"] | None
    confidence: Float[Tensor, "H W"] | None
    num_refinements: int
    initial_flows: tuple[str, ...]
    """Where the forward flow began, and the backward flow if there is one."""


class PairMatcher:
    """Encodes and matches frames, and remembers what the next pair of a warm start begins with.

    Each call is in inference mode by itself: a generator that stayed in it between two items would put its caller in.
    """

    def __init__(
        self,
        network: PairNetwork,
        way: Way,
        warm_start: bool,
        backward: bool,
        resize: tuple[int, int] | float | None,
        precision: Precision,
        tiles: tuple[int, int],
        stop_below: float | None,
    ) -> None:
        self.network = network
        self.way = way
        self.warm_start = warm_start
        self.backward = backward
        self.resize = resize
        self.precision = precision
        self.tiles = tiles
        self.stop_below = stop_below
        self.notice = ""
        self.encoded: EncodedTiles | None = None
        self.grey: Grey | None = None
        self.device = network.device
        self.forget()

    def forget(self) -> None:
        """Starts the next pair cold."""
        self.carried: list[Carried] = [None, None]

    def advance(
        self, previous: Images | None, frame: Images, *, with_context: bool, given: Sequence[InitialFlow] = ()
    ) -> Found | None:
        """Encodes a frame for the next call and matches the previous one, if there is one, with it.

        `given` is where each direction begins, in the frames' own pixels, unless a warm start goes on.
        """
        before, self.encoded = self.encoded, None
        computed = self._at_computed_size(frame)
        greys = self.grey, grey_of(self.way, computed)
        self.grey = greys[1]
        if previous is not None and self.warm_start and _is_cut(previous, frame):
            self.forget()
        while True:
            try:
                starts = [
                    beside(self.device, partial(self._start, index, given, pair))
                    for index, pair in enumerate((greys, (greys[1], greys[0]))[: 1 + self.backward])
                    if previous is not None
                ]
                if previous is not None and before is None:
                    before = self.encode(self._at_computed_size(previous), with_context=True)
                encoded = self.encode(computed, with_context=with_context)
                found = None
                if previous is not None and before is not None:
                    found = self.match(before, encoded, [start() for start in starts], greys, frame.shape[2:])
                self.encoded = encoded if with_context else None
                if self.notice:
                    warnings.warn(self.notice, stacklevel=2)
                    self.notice = ""
                return found
            except Exception as error:
                if not lacks_memory(error):
                    raise
            before = encoded = None  # only here has the error let go of what it held
            self._take_less_memory(frame.shape[2:])

    def _take_less_memory(self, size: tuple[int, ...]) -> None:
        """The next smaller way to compute. MachineError where there is none."""
        self.forget()
        release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        rows, columns = self.tiles
        if isinstance(self.network, FlowNetwork) and self.network.correlation != "on_demand":
            self.network.correlation = "on_demand"
            way = "with the correlation on demand (--correlation on_demand)"
        elif self.tiles == (1, 1) and min(computed_size(size, self.resize)) >= LEAST_TO_CUT:
            self.tiles = 2, 2
            way = "in 2x2 tiles (--tiles 2x2)"
        else:
            how = " with the correlation on demand" if isinstance(self.network, FlowNetwork) else ""
            polish = "--no-polish, " if self.way.polish else ""
            raise MachineError(
                f"not enough memory for frames of {size_text(size)} on {self.device}, even in {rows}x{columns} "
                f"tiles{how}: use {polish}--resize 0.5 or more tiles, such as --tiles {2 * rows}x{2 * columns}"
            )
        self.notice = f"not enough memory for frames of {size_text(size)} on {self.device}: computing {way}"

    @torch.inference_mode()
    def _at_computed_size(self, image: Images) -> Float[Tensor, "B 3 h w"]:
        image = image.to(self.device)
        size = computed_size(image.shape[2:], self.resize)
        if size == image.shape[2:]:
            return image
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def _start(self, index: int, given: Sequence[InitialFlow], greys: Greys) -> InitialFlow:
        """Where one direction begins, for the whole picture at the computed size; a warm start's flow is in `carried`."""
        if self.carried[index] is not None:
            return InitialFlow("warm")
        if not given:
            return begin(self.way, *greys)
        flow = given[index].flow
        assert flow is not None
        return given[index]._replace(flow=resize_flow(flow, computed_size(flow.shape[2:], self.resize)))

    @torch.inference_mode()
    def encode(self, image: Images, *, with_context: bool) -> EncodedTiles:
        height, width = image.shape[2:]
        with self._autocast():
            tiles = tile_layout(height, width, *self.tiles)
            return [self.network.encode(tile.cut(image), with_context=with_context) for tile in tiles]

    @torch.inference_mode()
    def match(
        self,
        first: EncodedTiles,
        second: EncodedTiles,
        starts: list[InitialFlow],
        greys: Greys,
        size: tuple[int, ...],
    ) -> Found:
        forward, sure, most = self._refine(first, second, starts[0], greys, size, 0)
        back = None
        if self.backward:
            back, _, _ = self._refine(second, first, starts[1], (greys[1], greys[0]), size, 1)
        return Found(forward, back, sure, most, tuple(start.name for start in starts))

    def _refine(
        self,
        first: EncodedTiles,
        second: EncodedTiles,
        start: InitialFlow,
        greys: Greys,
        size: tuple[int, ...],
        direction: int,
    ) -> tuple[Float[Tensor, "2 height width"], Float[Tensor, "height width"] | None, int]:
        """Flow at the frames' size, confidence, refinements.

        The next pair's first frame shows what moved on by the forward flow, or against the backward flow. A flow that is not
        finite leads nowhere: the next pair starts cold.
        """
        computed = computed_size(size, self.resize)
        layout = tile_layout(*computed, *self.tiles)
        carried = self.carried[direction] or [None] * len(layout)
        found, coarse, most = [], [], 0
        for tile, tile_first, tile_second, before in zip(layout, first, second, carried, strict=True):
            with self._autocast():
                prediction = self.network.match(
                    tile_first,
                    tile_second,
                    iterations=self.way.iterations,
                    initial_flow=None if start.flow is None else tile.cut(start.flow),
                    initial_coarse=before,
                    hold=self.way.hold,
                    final_only=True,
                    stop_below=self.stop_below,
                )
            most = max(most, prediction.num_refinements)
            sure = [] if prediction.confidence is None else [prediction.confidence[:, None]]
            found.append(torch.cat([prediction.flows[-1], *sure], dim=1).float())
            coarse.append(prediction.coarse.float())
        carries = self.warm_start and all(bool(one.isfinite().all()) for one in coarse)
        self.carried[direction] = [splat(one, (1 - 2 * direction) * one) for one in coarse] if carries else None
        whole = blend(found, layout, *computed)
        flow = finish(self.way, whole[:, :2], start, *greys)
        sure = F.interpolate(whole[:, 2:], size, mode="bilinear")[0, 0] if whole.shape[1] > 2 else None
        return resize_flow(flow, size)[0], sure, most

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "32")


def _is_cut(first: Images, second: Images) -> bool:
    """Whether two frames show different scenes: grey thumbnails of 16x16 pixels differ by more than CUT on average.

    Too eager on purpose: after a false cut the refinement merely begins where it does without a warm start.
    """
    thumbnails = [F.adaptive_avg_pool2d(image.mean(dim=1, keepdim=True), 16) for image in (first, second)]
    return (thumbnails[0] - thumbnails[1]).abs().mean().item() > CUT


def size_text(shape: tuple[int, ...]) -> str:
    """(height, width) as WIDTHxHEIGHT."""
    return f"{shape[1]}x{shape[0]}"

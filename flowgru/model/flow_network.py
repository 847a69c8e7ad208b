"""The network around the update operator: the loop of RAFT (Teed and Deng 2020, arXiv 2003.12039, section 3.3)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.grid import Padding, PaddingMode, pixel_grid
from flowgru.layers.convolution import filtering_bytes, inference_layout
from flowgru.model.correlation.choice import Correlation, MatchPlan, correlate
from flowgru.model.encoders import Encoder, joins_frames, padded
from flowgru.model.heads import FlowHead, MixtureHead, Upsampler, narrow_share
from flowgru.model.initial_flow import start_from
from flowgru.model.memory_estimate import MemoryEstimate, estimate_memory
from flowgru.model.motion_encoder import MotionEncoder
from flowgru.model.prediction import EncodedFrame, FlowPrediction, check_counts, check_pair, update_length
from flowgru.model.temporal_memory import TemporalMemory
from flowgru.model.texture_gate import Gate, texture_gate
from flowgru.operators import make_operator
from flowgru.types import CoarseFlow, Features, Flow, Images


class FlowNetwork(nn.Module):
    """Estimates optical flow by repeated refinement; the update operator is the part that can be swapped."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.card: dict[str, Any] = {}
        """What the model file says of itself (data, licence, recommended iterations, ...); empty for a new network."""
        self.plan = MatchPlan()
        """How matches are computed where `match` is given no plan."""
        self.compiled_parts: tuple[Any, ...] = ()
        """What compile_for_inference has compiled."""
        self.sizes = sizes = config.sizes
        floor = config.texture_floor if sizes.normalized_features else None
        edges = "replicate" if config.texture_gate else "zeros"
        self.feature_encoder = Encoder(sizes, sizes.feature_norm, sizes.feature_size, match_floor=floor, edges=edges)
        self.context_encoder = Encoder(sizes, sizes.context_norm, sizes.hidden_size + sizes.context_size)
        self.motion_encoder = MotionEncoder(sizes)
        self.operator = make_operator(
            config.operator, sizes.hidden_size, sizes.motion_size, sizes.context_size, **config.options
        )
        self.flow_head = FlowHead(sizes.hidden_size, sizes.flow_head)
        self.upsampler = Upsampler(sizes.hidden_size, sizes.mask_head)
        self.mixture_head = MixtureHead(sizes.hidden_size, sizes.flow_head) if config.confidence else None
        self.temporal_memory = TemporalMemory(sizes.hidden_size, sizes.context_size) if config.memory else None

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where it computes."""
        return next(self.parameters()).device

    def forward(
        self,
        first: Images,
        second: Images,
        *,
        iterations: int = 12,
        initial_flow: Flow | None = None,
        initial_coarse: CoarseFlow | None = None,
        hold: int = 0,
        final_only: bool = False,
        no_grad_iterations: int = 0,
        stop_below: float | None = None,
        padding: PaddingMode = "sintel",
        plan: MatchPlan | None = None,
        memory: Features | None = None,
        pairs_in_clip: int = 1,
        confidence: bool = True,
    ) -> FlowPrediction:
        """Flow from the first to the second picture, after each of `iterations` refinements or only the last.

        The refinement begins at initial_flow, in pixels of the picture, see fill_unknown, or at initial_coarse,
        which an earlier prediction gave as `coarse`; without both it begins at zero. `hold` refinements settle the hidden
        state before the others and leave the flow where it is: a hidden state that knows nothing of a start would throw
        it away. `no_grad_iterations` run next, without gradient: training then sees states deep into a refinement at
        the price of a few. `stop_below` ends the refinement early, see update_length. `padding` says where pictures of an
        awkward size grow; `plan` how matches are computed, else it is the network's own plan. `memory` is what the
        prediction of the pair before gave as such, where the network has one, and each `pairs_in_clip` neighbours of the
        batch are the pairs of one clip, in their order. `confidence`: also compute how sure it is of the flow, where it has
        a mixture head. RequestError where the pictures, or the start, have another size.
        """
        if first.shape != second.shape:
            raise RequestError(
                f"first is {list(first.shape)} and second {list(second.shape)}: both frames of a pair must have one size"
            )
        return self.match(
            *self.encode_pair(first, second, padding),
            iterations=iterations,
            initial_flow=initial_flow,
            initial_coarse=initial_coarse,
            hold=hold,
            final_only=final_only,
            no_grad_iterations=no_grad_iterations,
            stop_below=stop_below,
            plan=plan,
            memory=memory,
            pairs_in_clip=pairs_in_clip,
            confidence=confidence,
        )

    def for_inference(self) -> "FlowNetwork":
        """The same network in evaluation mode, laid out in memory for the device that it is on."""
        layout = inference_layout(self.device)
        return cast(Any, self).to(memory_format=layout).eval()  # torch 2.11's types lack memory_format

    def encode(self, frame: Images, *, with_context: bool = True, padding: PaddingMode = "sintel") -> EncodedFrame:
        """What the network computes of one frame alone; a frame that only ends pairs needs no context."""
        frame, added = padded(frame, padding)
        context = self.context_encoder(frame) if with_context else None
        return EncodedFrame(self.feature_encoder(frame), context, added)

    def encode_pair(self, first: Images, second: Images, padding: PaddingMode) -> tuple[EncodedFrame, EncodedFrame]:
        """`encode` of both frames, in one pass where `joins_frames`."""
        if not joins_frames(self, first.device):
            return self.encode(first, padding=padding), self.encode(second, with_context=False, padding=padding)
        frames, added = padded(torch.cat([first, second]), padding)
        ours, theirs = self.feature_encoder(frames).chunk(2)
        context = self.context_encoder(frames[: len(first)])
        return EncodedFrame(ours, context, added), EncodedFrame(theirs, None, added)

    def match(
        self,
        first: EncodedFrame,
        second: EncodedFrame,
        *,
        iterations: int = 12,
        initial_flow: Flow | None = None,
        initial_coarse: CoarseFlow | None = None,
        hold: int = 0,
        final_only: bool = False,
        no_grad_iterations: int = 0,
        stop_below: float | None = None,
        plan: MatchPlan | None = None,
        memory: Features | None = None,
        pairs_in_clip: int = 1,
        confidence: bool = True,
    ) -> FlowPrediction:
        """`forward` for frames that are already encoded."""
        check_counts(iterations=iterations, hold=hold, no_grad_iterations=no_grad_iterations)
        check_pair(first, second, stop_below)
        device = first.features.device
        start = start_from(initial_flow, initial_coarse, first.picture_shape, first.padding, device)
        flow = start.to(device, torch.float32)
        plan = plan or self.plan
        correlation = correlate(
            first.features,
            second.features,
            levels=self.sizes.correlation_levels,
            radius=self.sizes.correlation_radius,
            method=plan.correlation,
            memory_budget=plan.memory_budget,
            compiled=bool(self.compiled_parts),
        )
        assert first.context is not None
        hidden, context = first.context.split([self.sizes.hidden_size, self.sizes.context_size], dim=1)
        if self.temporal_memory is not None:
            before = None if memory is None else memory.to(device)  # one that was kept in a file is on the CPU
            hidden, memory = self.temporal_memory(hidden, context, before, pairs_in_clip=pairs_in_clip)
        elif memory is not None:
            raise RequestError("memory is given, and this network has none: leave it out")
        gate = self.gate(first.features, second.features)
        motion, state = self.hold(flow, correlation, self.operator.begin(hidden, context), hold)
        with torch.no_grad():
            for _ in range(no_grad_iterations):
                flow, _, state = self.refine(flow.detach(), correlation, state, gate, motion)
                motion = None  # the flow is another one now
        if no_grad_iterations and torch.is_grad_enabled():
            torch.clear_autocast_cache()  # else weights that were cast without a gradient might be taken here, too
        confidence = confidence and self.mixture_head is not None
        steps = self.refinements(correlation, gate, flow, state, motion, iterations, stop_below)
        del state, motion  # each refinement makes new ones
        outputs, num_refinements = [], 0
        for flow, hidden in steps:
            num_refinements += 1
            if not final_only:
                outputs.append(self.upsample(flow, hidden, first.padding, confidence))
        if final_only:
            outputs.append(self.upsample(flow, hidden, first.padding, confidence))
        flows, mixtures = zip(*outputs, strict=True)
        if not confidence:
            return FlowPrediction(flows, flow, num_refinements=num_refinements, memory=memory)
        return FlowPrediction(flows, flow, narrow_share(mixtures[-1]), mixtures, num_refinements, memory)

    def smaller_plan(self, plan: MatchPlan) -> MatchPlan | None:
        """The correlation on demand, where the plan has another one."""
        return None if plan.correlation == "on_demand" else replace(plan, correlation="on_demand")

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
        """The most memory that a pair of that size will take on the network's device, see estimate_memory."""
        return estimate_memory(
            self.sizes,
            height,
            width,
            num_weights=sum(each.numel() for each in self.parameters()),
            device=self.device,
            plan=plan or self.plan,
            num_tiles=num_tiles,
            tile_shape=tile_shape,
            after=after,
            graph=graph,
            scales=scales,
            filtering=partial(filtering_bytes, self),
        )

    def gate(self, first: Features, second: Features) -> Gate | None:
        """Which part of each change of the flow counts: all of it, but for frames of next to no texture."""
        return texture_gate(first, second) if self.config.texture_gate else None

    def hold(self, flow: CoarseFlow, correlation: Correlation, state: Any, count: int) -> tuple[Features | None, Any]:
        """The motion features of the flow, and the operator's state after `count` refinements that leave the flow as it is.

        What they see is the same in each, and in the refinement after them. The features are None where that one computes
        them itself: without held refinements, and in a compiled network, whose refinement is one graph with its look-up.
        """
        if not count:
            return None, state
        motion = self.look_up(flow.detach(), correlation)
        for _ in range(count):
            _, state = self.operator.step(motion, state)
        return None if self.compiled_parts else motion, state

    def refinements(
        self,
        correlation: Correlation,
        gate: Gate | None,
        flow: CoarseFlow,
        state: Any,
        motion: Features | None,
        count: int,
        stop_below: float | None,
    ) -> Iterator[tuple[CoarseFlow, Features]]:
        """The flow, and what the heads read, after each of `count` refinements, or until one moves it too little."""
        for _ in range(count):
            before = flow.detach()  # gradients stop between refinements (RAFT, section 3.3)
            flow, hidden, state = self.refine(before, correlation, state, gate, motion)
            motion = None
            yield flow, hidden
            if stop_below is not None and update_length(flow - before) < stop_below:
                break

    def look_up(self, flow: CoarseFlow, correlation: Correlation) -> Features:
        """The motion features: the flow, and how well the pictures match around where it leads."""
        grid = pixel_grid(*flow.shape[-2:], like=flow)
        return self.motion_encoder(flow, correlation.lookup(grid + flow))

    def read_out(self, hidden: Features, flow: CoarseFlow, confidence: bool) -> tuple[Flow, Float[Tensor, "B _ H W"]]:
        """The flow of the padded picture in pixels, and what the mixture head says of its error: no channels without it."""
        values = 8 * flow
        if confidence and self.mixture_head is not None:
            values = torch.cat([values, self.mixture_head(hidden)], dim=1)
        values = self.upsampler(hidden, values)
        return values[:, :2], values[:, 2:]

    def upsample(
        self, flow: CoarseFlow, hidden: Features, padding: Padding, confidence: bool
    ) -> tuple[Flow, Float[Tensor, "B _ H W"]]:
        """`read_out` without the padding."""
        full, mixture = self.read_out(hidden, flow, confidence)
        return padding.remove(full), padding.remove(mixture)

    def refine(
        self,
        flow: CoarseFlow,
        correlation: Correlation,
        state: Any,
        gate: Gate | None = None,
        motion: Features | None = None,
    ) -> tuple[CoarseFlow, Features, Any]:
        """One refinement: the flow after it, what the heads read, and the operator's next state.

        `motion`: the motion features of `flow`, where they are known already.
        """
        hidden, state = self.operator.step(self.look_up(flow, correlation) if motion is None else motion, state)
        change = self.flow_head(hidden)
        if gate is not None:
            change = gate * change
        # In this order the sum lies in memory as the network's maps do.
        return change + flow, hidden, state

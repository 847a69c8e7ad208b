"""The network around the update operator: the loop of RAFT (Teed and Deng 2020, arXiv 2003.12039, section 3.3)."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.grid import Padding, PaddingMode, padding_for, pixel_grid
from flowgru.model.correlation.choice import Correlation, CorrelationMethod, correlate
from flowgru.model.encoders import Encoder
from flowgru.model.heads import FlowHead, MixtureHead, Upsampler
from flowgru.model.initial_flow import Start, start_from
from flowgru.model.motion_encoder import MotionEncoder
from flowgru.operators import make_operator
from flowgru.types import CoarseFlow, Features, Flow, Images


class EncodedFrame(NamedTuple):
    """All that is computed of one frame alone, so that a video computes it once."""

    features: Features
    """What is matched."""
    context: Features | None
    """What starts the hidden state and guides it; None for a frame that is only ever the second of a pair."""
    padding: Padding
    """What was added to the frame's sides."""

    @property
    def picture_shape(self) -> list[int]:
        """[B, 3, H, W] of the frame that was encoded."""
        batch, _, height, width = self.features.shape
        left, right, top, bottom = self.padding
        return [batch, 3, 8 * height - top - bottom, 8 * width - left - right]


class FlowPrediction(NamedTuple):
    """The flow from the first to the second picture."""

    flows: tuple[Flow, ...]
    """After each refinement, or after the last one only."""
    coarse: CoarseFlow
    """The last flow before upsampling, over the padded picture: where the next pair of a video can start."""
    confidence: Float[Tensor, "B H W"] | None = None
    """In [0, 1]: the share of the narrow distribution (1 px) in the error's; None for a network that does not say."""
    mixtures: tuple[Float[Tensor, "B 3 H W"], ...] = ()
    """For each of the flows, what MixtureHead says of its error, at the picture's size; empty without one."""
    num_refinements: int = 0
    """How many there were, without those that only settled."""


class FlowNetwork(nn.Module):
    """Estimates optical flow by repeated refinement; the update operator is the part that can be swapped."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.card: dict[str, Any] = {}
        """What the model file says of itself (data, licence, recommended iterations, ...); empty for a new network."""
        self.correlation: CorrelationMethod = "auto"
        """How matches are computed; it changes memory and time, and the flow by rounding only."""
        self.memory_budget: int | None = None
        """Bytes that the correlation may take; None lets auto see what is free."""
        self.compiled_parts: tuple[Any, ...] = ()
        """What compile_network has compiled."""
        self.sizes = sizes = config.sizes
        floor = config.texture_floor if sizes.normalized_features else None
        self.feature_encoder = Encoder(sizes, sizes.feature_norm, sizes.feature_size, match_floor=floor)
        self.context_encoder = Encoder(sizes, sizes.context_norm, sizes.hidden_size + sizes.context_size)
        self.motion_encoder = MotionEncoder(sizes)
        self.operator = make_operator(
            config.operator, sizes.hidden_size, sizes.motion_size, sizes.context_size, **config.options
        )
        self.flow_head = FlowHead(sizes.hidden_size, sizes.flow_head)
        self.upsampler = Upsampler(sizes.hidden_size, sizes.mask_head)
        self.mixture_head = MixtureHead(sizes.hidden_size, sizes.flow_head) if config.confidence else None

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
        settling: int = 0,
        stop_below: float | None = None,
        padding: PaddingMode = "sintel",
    ) -> FlowPrediction:
        """Flow from the first to the second picture, after each of `iterations` refinements or only the last.

        The refinement begins at initial_flow, in pixels of the picture, NaN where it is not known, or at initial_coarse,
        which an earlier prediction gave as `coarse`; without both it begins at zero. `hold` refinements settle the hidden
        state before the others and leave the flow where it is: a hidden state that knows nothing of a start would throw
        it away. `settling` refinements without gradient run next: training then sees states deep into a refinement at
        the price of a few. `stop_below` ends the refinement early, see update_length. `padding` says where pictures of an
        awkward size grow. RequestError where the pictures, or the start, have another size.
        """
        if first.shape != second.shape:
            raise RequestError(
                f"first is {list(first.shape)} and second {list(second.shape)}: both frames of a pair must have one size"
            )
        return self.match(
            self.encode(first, padding=padding),
            self.encode(second, with_context=False, padding=padding),
            iterations=iterations,
            initial_flow=initial_flow,
            initial_coarse=initial_coarse,
            hold=hold,
            final_only=final_only,
            settling=settling,
            stop_below=stop_below,
        )

    def for_inference(self) -> "FlowNetwork":
        """In evaluation mode, laid out in memory for the device that it is on."""
        layout = inference_layout(next(self.parameters()).device)
        return self.to(memory_format=layout).eval()  # pyright: ignore[reportCallIssue]

    def compile_parts(self) -> None:
        """Lets torch.compile make the parts faster, each for itself: the loop between them stays Python's.

        Every new picture size costs minutes of compiling.
        """
        for part in (self.feature_encoder, self.context_encoder, self.motion_encoder, self.flow_head, self.upsampler):
            part.compile(dynamic=False)
        self.operator.step = torch.compile(self.operator.step, dynamic=False)

    def encode(self, frame: Images, *, with_context: bool = True, padding: PaddingMode = "sintel") -> EncodedFrame:
        """What the network computes of one frame alone; a frame that only ends pairs needs no context."""
        height, width = frame.shape[-2:]
        added = padding_for(height, width, padding)
        frame = _to_network_range(frame, added)
        context = self.context_encoder(frame) if with_context else None
        return EncodedFrame(self.feature_encoder(frame), context, added)

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
        settling: int = 0,
        stop_below: float | None = None,
    ) -> FlowPrediction:
        """`forward` for frames that are already encoded."""
        for name, count, least in (("iterations", iterations, 1), ("hold", hold, 0), ("settling", settling, 0)):
            if count < least:
                raise RequestError(f"{name} is {count}: at least {least} refinements are needed")
        if stop_below is not None and not 0 < stop_below < math.inf:
            raise RequestError(f"stop_below is {stop_below}: it must be above 0, in pixels")
        if first.picture_shape != second.picture_shape:
            raise RequestError(
                f"first is {first.picture_shape} and second {second.picture_shape}: "
                "both frames of a pair must have one size"
            )
        assert first.context is not None, "the first frame of a pair is encoded with its context"
        start = start_from(initial_flow, initial_coarse, first.picture_shape, first.padding)
        flow = start.coarse.to(first.features.device, torch.float32)
        correlation = correlate(
            first.features,
            second.features,
            levels=self.sizes.correlation_levels,
            radius=self.sizes.correlation_radius,
            method=self.correlation,
            memory_budget=self.memory_budget,
            compiled=bool(self.compiled_parts),
        )
        hidden, context = first.context.split([self.sizes.hidden_size, self.sizes.context_size], dim=1)
        state = self.hold(flow, correlation, self.operator.begin(hidden, context), hold)
        flows, mixtures = [], []
        for iteration in range(-settling, iterations):
            with torch.set_grad_enabled(torch.is_grad_enabled() and iteration >= 0):
                before = flow.detach()  # gradients stop between refinements (RAFT, section 3.3)
                flow, hidden, state = self.refine(before, correlation, state)
                still = stop_below is not None and iteration >= 0 and update_length(flow - before) < stop_below
                last = still or iteration == iterations - 1
                if last or (iteration >= 0 and not final_only):
                    upsampled, mixture = self.upsample(flow, hidden, start, first.padding)
                    flows.append(upsampled)
                    mixtures.append(mixture)
                if last:
                    break
        if self.mixture_head is None:
            return FlowPrediction(tuple(flows), flow, num_refinements=iteration + 1)
        confidence = mixtures[-1][:, :2].softmax(dim=1)[:, 1]
        return FlowPrediction(tuple(flows), flow, confidence, tuple(mixtures), iteration + 1)

    def hold(self, flow: CoarseFlow, correlation: Correlation, state: Any, count: int) -> Any:
        """The operator's state after `count` refinements that leave the flow where it is.

        What they see is the same in each, so the look-up and the motion features are computed once.
        """
        if not count:
            return state
        motion = self.look_up(flow, correlation)
        for _ in range(count):
            _, state = self.operator.step(motion, state)
        return state

    def look_up(self, flow: CoarseFlow, correlation: Correlation) -> Features:
        """The motion features: the flow, and how well the pictures match around where it leads."""
        grid = pixel_grid(*flow.shape[-2:], like=flow)
        return self.motion_encoder(flow, correlation.lookup(grid + flow))

    def upsample(
        self, flow: CoarseFlow, hidden: Features, start: Start, padding: Padding
    ) -> tuple[Flow, Float[Tensor, "B _ H W"]]:
        """The flow at the picture's size, and what the mixture head says of its error there (no channels without one).

        With config.keep_detail the detail of a start at the picture's size stays: what is upsampled is how far the coarse
        flow has moved away from the coarse start, so a flow that has not moved is the start exactly.
        """
        keeps = self.config.keep_detail and start.full is not None
        values = 8 * (flow - start.coarse.to(flow)) if keeps else 8 * flow
        if self.mixture_head is not None:
            values = torch.cat([values, self.mixture_head(hidden)], dim=1)
        upsampled = padding.remove(self.upsampler(hidden, values))
        full, mixture = upsampled[:, :2], upsampled[:, 2:]
        return (full + start.full.to(full) if keeps and start.full is not None else full), mixture

    def refine(self, flow: CoarseFlow, correlation: Correlation, state: Any) -> tuple[CoarseFlow, Features, Any]:
        """One refinement: the flow after it, what the heads read, and the operator's next state."""
        hidden, state = self.operator.step(self.look_up(flow, correlation), state)
        # In this order the sum lies in memory as the network's maps do.
        return self.flow_head(hidden) + flow, hidden, state


def update_length(update: CoarseFlow) -> float:
    """How far a refinement has moved the flow, in pixels of the picture: the mean over its area, the largest of a batch."""
    return 8 * update.norm(dim=1).flatten(1).mean(dim=1).max().item()


def inference_layout(device: torch.device) -> torch.memory_format:
    """How weights and maps lie in memory where the device convolves them fastest."""
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def _to_network_range(images: Images, padding: Padding) -> Float[Tensor, "B 3 H8 W8"]:
    """Pictures in [0, 1] to [-1, 1], their edge pixels repeated outwards."""
    return F.pad(2 * images - 1, padding, mode="replicate")

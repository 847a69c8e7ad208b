"""The flow from each frame to the next one that is taken, and the picture of both."""

import time
from collections import deque
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from flowgru.data.formats.images import to_tensor
from flowgru.data.lettering import lettered
from flowgru.data.video.reader import Frame
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.opening import match_settings
from flowgru.estimation.stream import Handover
from flowgru.live.newest import Grabbed
from flowgru.live.settings import LiveSettings
from flowgru.model.pair_network import PairNetwork
from flowgru.view.arrows import legible_arrows
from flowgru.view.colour_wheel import FlowArray, Picture, suggest_max_flow
from flowgru.view.panels import flow_panel

FLOWS_FOR_RATE = 20
"""Over how many flows the rate is measured."""
SMALLER = 3.0
"""The scale shrinks where the flow is so many times smaller, and grows at once: a scale that follows all would flicker."""


class LivePair(NamedTuple):
    """A flow [H, W, 2] in pixels, and the frame that it begins in."""

    first: Frame
    flow: FlowArray


class LiveFlow:
    """Takes one frame after the other, and gives the flow to each from the one before."""

    def __init__(self, network: PairNetwork, settings: LiveSettings) -> None:
        self._matcher = PairMatcher(network, match_settings(network, settings, resize=settings.size_to_compute()))
        self._before: tuple[Frame, Tensor] | None = None
        self._handover = Handover()

    def to(self, frame: Frame) -> LivePair | None:
        """The flow to this frame; None for the first one, and where frames get another size."""
        image = to_tensor(frame.image)[None]
        before, self._before = self._before, (frame, image)
        if before is None or before[1].shape != image.shape or before[0].segment != frame.segment:
            self._handover.carried = ()
            return None
        starts = self._handover.starts(before[1], image, [lambda: None])
        result = self._matcher.match(before[1], image, starts, with_context=True)
        self._handover.take(result.carried)
        return LivePair(before[0], np.ascontiguousarray(result.forward.permute(1, 2, 0).cpu().numpy()))


class Pace:
    """How fast the work is: flows a second over the last of them, and the time from a frame to its picture."""

    def __init__(self) -> None:
        self._shown: deque[float] = deque(maxlen=FLOWS_FOR_RATE)
        self.latency = 0.0
        """In seconds, of the flow that was shown last."""
        self._sum_of_latencies = 0.0
        self.num_shown = 0

    def shown(self, grabbed: Grabbed) -> None:
        """A picture of the flow to this frame is about to be seen."""
        now = time.perf_counter()
        self._shown.append(now)
        self.latency = now - grabbed.at
        self._sum_of_latencies += self.latency
        self.num_shown += 1

    def __str__(self) -> str:
        gaps = [later - sooner for sooner, later in pairwise(self._shown)]
        rate = f"{len(gaps) / max(sum(gaps), 1e-9):.1f} flows/s, " if gaps else ""
        return f"{rate}latency {1000 * self.latency:.0f} ms"

    @property
    def mean_latency(self) -> float:
        """In seconds, over all flows."""
        return self._sum_of_latencies / max(self.num_shown, 1)


class LivePicture:
    """Pictures of flows, one after the other, in colours whose scale stays while it suits."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._scale = settings.max_flow

    def of(self, pair: LivePair, caption: str) -> Picture:
        """A frame beside its flow, over a line of text."""
        longest = suggest_max_flow([pair.flow])
        if self._settings.max_flow is None and (
            self._scale is None or not self._scale / SMALLER <= longest <= self._scale
        ):
            self._scale = longest
        assert self._scale is not None
        arrows = legible_arrows(longest, *pair.flow.shape[:2]) if self._settings.arrows else None
        panel = flow_panel(pair.first.image, pair.flow, max_flow=self._scale, arrows=arrows)
        text = lettered(caption)[:, : panel.shape[1]]
        strip = np.pad(text, ((0, 0), (0, panel.shape[1] - text.shape[1]), (0, 0)), constant_values=255)
        return np.concatenate([panel, strip])

"""What is shown of an estimated clip: a frame beside its flow, and the motion of one pixel in words."""

import math
from typing import NamedTuple

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image
from flowgru.view.arrows import legible_arrows
from flowgru.view.colour_wheel import FlowArray, Picture, flow_picture, suggest_max_flow
from flowgru.view.legend import colour_wheel_legend, lay_into_corner, legend_size
from flowgru.view.panels import with_labelled_arrows
from flowgru.web.work import EstimatedClip

FORWARD, BACKWARD, OCCLUSION, CONFIDENCE = "flow", "backward flow", "occlusion", "confidence"


class Look(NamedTuple):
    """How a visitor wants to look at a clip."""

    number: int = 1
    """Of the pair, from 1."""
    what: str = FORWARD
    """One of kinds_of."""
    arrows: bool = False
    max_flow: float | None = None
    """Length in pixels of the strongest colour; None is the clip's own scale."""


def kinds_of(clip: EstimatedClip) -> list[str]:
    """What there is to look at beside the frames."""
    return [FORWARD, *[BACKWARD, OCCLUSION] * clip.has_backward, *[CONFIDENCE] * clip.has_confidence]


def pictures_of(clip: EstimatedClip, look: Look) -> tuple[Picture, Picture]:
    """The frame, with arrows if they are wanted, and what there is to say of its flow.

    The backward flow begins in the second frame, which is then shown.
    """
    pair = clip.pairs[look.number - 1]
    backward = look.what == BACKWARD
    frame = read_image(pair.second if backward else pair.first)
    flow = flow_of(clip, look.number, backward=backward)
    if look.arrows:
        frame = with_labelled_arrows(frame, flow, legible_arrows(suggest_max_flow([flow]), *flow.shape[:2]))
    if look.what in (OCCLUSION, CONFIDENCE):
        return frame, read_image(clip.folder / f"{pair.name}_{look.what}.png")
    scale = look.max_flow or clip.scale
    colours = flow_picture(flow, scale)
    return frame, lay_into_corner(colours, colour_wheel_legend(scale, legend_size(colours)))


def flow_of(clip: EstimatedClip, number: int, *, backward: bool = False) -> FlowArray:
    """A flow of the clip, [H, W, 2] in pixels."""
    return read_flow(clip.folder / f"{clip.pairs[number - 1].name}{'_backward' * backward}.flo").flow


def motion_at(clip: EstimatedClip, look: Look, x: int, y: int) -> str:
    """Where a pixel goes, how far and in which direction, and what else is known of it."""
    flow = flow_of(clip, look.number, backward=look.what == BACKWARD)
    height, width = flow.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    u, v = (float(component) for component in flow[y, x])
    name = clip.pairs[look.number - 1].name
    parts = [f"x {x}, y {y}: {look.what if look.what == BACKWARD else FORWARD} u {u:+.2f}, v {v:+.2f} px"]
    parts.append(f"length {math.hypot(u, v):.2f} px")
    parts.append(f"direction {math.degrees(math.atan2(-v, u)) % 360:.0f}° (0° is right, 90° is up)")
    if clip.has_backward and look.what != BACKWARD:
        hidden = read_image(clip.folder / f"{name}_occlusion.png")[y, x, 0] > 0
        parts.append("not seen in the second frame" if hidden else "seen in the second frame")
    if clip.has_confidence and look.what != BACKWARD:
        parts.append(f"confidence {read_image(clip.folder / f'{name}_confidence.png')[y, x, 0] / 255:.0%}")
    return "; ".join(parts)

"""Panels: pictures side by side, as a video of flow shows them."""

import numpy as np

from flowgru.errors import RequestError
from flowgru.view.arrows import draw_arrows
from flowgru.view.colour_wheel import FlowArray, Picture, flow_to_image, require_one_size
from flowgru.view.legend import colour_wheel_legend, lay_into_corner, legend_size


def side_by_side(left: Picture, right: Picture, legend: Picture | None = None) -> Picture:
    """Two pictures of one height next to each other, with the legend, if any, in the right one's corner."""
    if len(left) != len(right):
        raise RequestError(f"the pictures are {len(left)} and {len(right)} pixels high: expected one height for both")
    return np.concatenate([left, right if legend is None else lay_into_corner(right, legend)], axis=1)


def flow_panel(
    image: Picture, flow: FlowArray, *, max_flow: float, arrows: bool = False, legend: bool = True
) -> Picture:
    """What a video shows of one frame: the frame, with arrows if asked for, and on its right the flow in colour.

    image: [H, W, 3]; flow: [H, W, 2] from this frame to the next; gives [H, 2 W, 3]. `max_flow` pixels have the full
    colours, so one value for the whole clip keeps its colours comparable (suggest_max_flow).
    """
    require_one_size(image=image, flow=flow)
    wheel = colour_wheel_legend(max_flow, legend_size(image)) if legend else None
    return side_by_side(draw_arrows(image, flow) if arrows else image, flow_to_image(flow, max_flow), wheel)

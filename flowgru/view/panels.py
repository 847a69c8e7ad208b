"""Panels: pictures side by side, as a video of flow shows them, and all that is known of one estimate."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from flowgru.data.lettering import lettered
from flowgru.errors import RequestError
from flowgru.view.arrows import Arrows, with_arrows
from flowgru.view.colour_wheel import FlowArray, Picture, flow_picture, require_one_size, suggest_max_flow
from flowgru.view.error_map import error_legend, error_map
from flowgru.view.legend import (
    colour_wheel_legend,
    fit_text,
    lay_into_corner,
    legend_size,
    stack_centred,
    write_text,
)


def side_by_side(left: Picture, right: Picture, legend: Picture | None = None) -> Picture:
    """Two pictures of one height next to each other, with the legend, if any, in the right one's corner."""
    if len(left) != len(right):
        raise RequestError(f"the pictures are {len(left)} and {len(right)} pixels high: expected one height for both")
    return np.concatenate([left, right if legend is None else lay_into_corner(right, legend)], axis=1)


def flow_panel(
    image: Picture, flow: FlowArray, *, max_flow: float, arrows: Arrows | None = None, legend: bool = True
) -> Picture:
    """What a video shows of one frame: the frame, with arrows if asked for, and on its right the flow in colour.

    image: [H, W, 3]; flow: [H, W, 2] from this frame to the next; gives [H, 2 W, 3]. `max_flow` pixels have the full
    colours, so one value for the whole clip keeps its colours comparable (suggest_max_flow). Arrows that are longer or
    shorter than the flow say so at the bottom left.
    """
    require_one_size(image=image, flow=flow)
    wheel = colour_wheel_legend(max_flow, legend_size(image)) if legend else None
    left = image if arrows is None else with_labelled_arrows(image, flow, arrows)
    return side_by_side(left, flow_picture(flow, max_flow), wheel)


def with_labelled_arrows(image: Picture, flow: FlowArray, arrows: Arrows) -> Picture:
    """The frame with its arrows; where they are longer or shorter than the flow, it says so at the bottom left."""
    drawn = with_arrows(image, flow, arrows)
    if arrows.scale == 1:
        return drawn
    text = write_text(arrows.factor, fit_text(arrows.factor, legend_size(image)))
    return lay_into_corner(drawn, text, on_left=True)


def flow_sheet(image: Picture, flows: Sequence[FlowArray], *, max_flow: float, columns: int = 2) -> Picture:
    """A frame and then several flows of it in colours of one scale, row by row, with the legend in the last.

    image: [H, W, 3]; flows: [H, W, 2] each, at least one; `columns` pictures in a row; white where the last row ends early.
    """
    require_one_size(image=image, **{f"flow {number}": flow for number, flow in enumerate(flows, start=1)})
    pictures = [image, *(flow_picture(flow, max_flow) for flow in flows)]
    pictures[-1] = lay_into_corner(pictures[-1], colour_wheel_legend(max_flow, legend_size(image)))
    pictures += [np.full_like(image, 255)] * (-len(pictures) % columns)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def error_panel(
    first: Picture,
    second: Picture,
    flow: FlowArray,
    truth: FlowArray,
    valid: Bool[np.ndarray, "_ _"],
    title: str = "",
) -> Picture:
    """One estimate against the truth, in three rows: both frames; estimated and true flow; error map and legends.

    first, second: [H, W, 3]; flow, truth: [H, W, 2]; valid: [H, W], where the truth is known. The title stands above all and
    each picture's own above it; the cells are as wide as the widest of them. Both flows have one scale, the 99th percentile
    of the true one's length; the error map ends at the 99th percentile of the error.
    """
    require_one_size(first=first, second=second, flow=flow, truth=truth, valid=valid)
    truth = np.where(valid[..., None], truth, np.nan)
    max_flow, max_error = suggest_max_flow([truth]), suggest_max_flow([flow - truth])
    size = 2 * legend_size(first)  # they have a cell to themselves
    legends = stack_centred(colour_wheel_legend(max_flow, size), error_legend(max_error, size))
    cells = [
        ("first frame", first),
        ("second frame", second),
        ("estimated flow", flow_picture(flow, max_flow)),
        ("true flow", flow_picture(truth, max_flow)),
        ("end-point error", error_map(flow, truth, valid, max_error, legend=False)),
        ("flow and error in pixels", legends),
    ]
    titled = [_stacked(lettered(name), picture) for name, picture in cells]
    width = max(cell.shape[1] for cell in titled)
    rows = []
    for left, right in zip(titled[::2], titled[1::2], strict=True):
        height = max(len(left), len(right))
        rows.append(side_by_side(_on_white(left, height, width), _on_white(right, height, width)))
    return _stacked(*([lettered(title)] if title else []), *rows)


def _stacked(*pictures: Picture) -> Picture:
    """Pictures below each other at the left of a white sheet."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([_on_white(picture, len(picture), width) for picture in pictures])


def _on_white(picture: Picture, height: int, width: int) -> Picture:
    """The picture at the top left of a white sheet."""
    return np.pad(picture, ((0, height - len(picture)), (0, width - picture.shape[1]), (0, 0)), constant_values=255)

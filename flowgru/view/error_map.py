"""Where an estimated flow is wrong, and by how many pixels."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from flowgru.errors import RequestError
from flowgru.kinds import positive_number
from flowgru.view.colour_wheel import LONGEST_KNOWN, FlowArray, Picture, require_one_size
from flowgru.view.legend import fit_text, lay_into_corner, legend_size, pixel_label, write_text

_RAMP = np.array([(255, 255, 255), (255, 220, 100), (250, 120, 40), (200, 20, 30), (90, 0, 40)])
"""From no error to max_error, ever darker: no error is white and unknown is black, as in the pictures of flow."""


def error_map(
    flow: FlowArray, truth: FlowArray, valid: Bool[np.ndarray, "_ _"], max_error: float, legend: bool = True
) -> Picture:
    """The end-point error |flow - truth| as colour, from white (0) to the darkest red (`max_error` pixels and more).

    Black where the truth is not valid or unknown; an estimate that is not finite there has the darkest red.
    RequestError if the sizes differ or max_error is not above 0.
    """
    positive_number("max_error", max_error)
    require_one_size(flow=flow, truth=truth, valid=valid)
    counted = valid & (np.abs(truth) <= LONGEST_KNOWN).all(axis=2)
    picture = np.zeros((*valid.shape, 3), np.uint8)
    difference = flow[counted].astype(np.float64) - truth[counted]
    error = np.nan_to_num(np.hypot(*difference.T), nan=np.inf, posinf=np.inf)
    picture[counted] = _error_colours(error / max_error)
    return lay_into_corner(picture, error_legend(max_error, legend_size(picture))) if legend else picture


def error_legend(max_error: float, size: int = 96) -> Picture:
    """The colours from no error to `max_error` pixels, at least `size` pixels long, over a label at each end."""
    positive_number("max_error", max_error)
    if size < 2:
        raise RequestError(f"the legend's size is {size}: expected at least 2, in pixels")
    text = pixel_label(max_error)
    dot = fit_text(f"0   {text}", size)
    none, most = write_text("0", dot), write_text(text, dot)
    apart = max(12 * dot, size - none.shape[1] - most.shape[1])  # or the two labels read as one number
    gap = np.full((len(none), apart, 3), 255, np.uint8)
    labels = np.concatenate([none, gap, most], axis=1)
    length = labels.shape[1]
    return np.concatenate([np.tile(_error_colours(np.linspace(0, 1, length)), (max(4, size // 8), 1, 1)), labels])


def _error_colours(share: Float[np.ndarray, "N"]) -> UInt8[np.ndarray, "N 3"]:
    """The ramp's colours [N, 3] at these shares of the largest error."""
    stops = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(share, stops, channel) for channel in _RAMP.T], axis=-1).round().astype(np.uint8)

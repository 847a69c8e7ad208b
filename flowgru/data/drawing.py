"""Points and the ways that they have come, drawn over pictures, antialiased."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

_FRACTION_BITS = 4
"""Of a pixel, as OpenCV counts the places of what it draws."""

_FURTHEST = 16_000.0
"""Pixels from the corner beyond which a place is drawn no further away: OpenCV holds it in whole numbers."""


def rainbow(places: Sequence[float]) -> UInt8[np.ndarray, "P 3"]:
    """A bright colour for each place from 0 to 1, from red over green to violet; what lies outside has that of the end."""
    hues = np.array([[round(150 * min(max(place, 0.0), 1.0)), 255, 255] for place in places], np.uint8)
    return cv2.cvtColor(hues[:, None], cv2.COLOR_HSV2RGB)[:, 0]


def with_points(
    image: UInt8[np.ndarray, "H W 3"],
    trails: Sequence[Float[np.ndarray, "P 2"]],
    visible: Bool[np.ndarray, "P"],
    colours: UInt8[np.ndarray, "P 3"],
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the picture with points at the last of the places, and behind those that are seen the way they have come.

    trails: x and y of each point, in pixels, in some frames and at last in this one. A point that is not seen is a ring.
    """
    drawn = image.copy()
    radius = max(2.0, min(image.shape[:2]) / 150)
    places = np.nan_to_num(np.stack([*trails])).clip(-_FURTHEST, _FURTHEST)
    fixed = np.rint(places * 2**_FRACTION_BITS).astype(np.int32)
    size, width = round(radius * 2**_FRACTION_BITS), max(1, round(radius / 2))
    for way, seen, colour in zip(
        np.ascontiguousarray(fixed.transpose(1, 0, 2)), visible, colours.tolist(), strict=True
    ):
        if seen and len(way) > 1:
            cv2.polylines(drawn, [way], False, colour, width, cv2.LINE_AA, _FRACTION_BITS)
        thickness = cv2.FILLED if seen else 1
        cv2.circle(drawn, way[-1].tolist(), size, colour, thickness, cv2.LINE_AA, _FRACTION_BITS)
    return drawn

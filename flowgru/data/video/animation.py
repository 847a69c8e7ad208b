"""Animated pictures (GIF, WebP, APNG, AVIF) and the pages of a TIFF as frames, one after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from flowgru.data.formats.images import read_pages
from flowgru.data.formats.orientation import Orientation
from flowgru.data.formats.pillow import opened_by_pillow, orientation_of, readable
from flowgru.data.formats.samples import over_black
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, png_header
from flowgru.data.formats.tiff import is_tiff
from flowgru.errors import InputFileError
from flowgru.files.bounded import MAX_PIXELS, read_bytes

SHORTEST, INSTEAD = 0.010, 0.100
"""Seconds. Viewers show a picture that asks for no more than the first for as long as the second."""


class ShownPicture(NamedTuple):
    """A picture of an animation, 8-bit RGB and over black where it is transparent; its time in seconds, if it has one."""

    image: UInt8[np.ndarray, "H W 3"]
    time: float | None


def read_animation(path: Path, start: int = 1, end: int | None = None) -> Iterator[ShownPicture]:
    """The pictures of an animation, or the pages of a TIFF, from number start to number end, counted from 1.

    InputFileError where one cannot be read, after those that came before it.
    """
    if is_tiff(read_bytes(path, 4)):
        yield from (ShownPicture(page, None) for page in read_pages(path, start, end))
        return
    with readable(path), opened_by_pillow(path, MAX_PIXELS) as opened:
        head, orientation = read_bytes(path, 26), orientation_of(opened)
    if head.startswith(PNG_SIGNATURE) and png_header(head, path).bit_depth == 16:
        raise InputFileError(f"{path} is an animation of 16 bits a channel: convert it to 8 bits")
    pictures = _shown(path, end, orientation)
    number = 0
    while True:
        with readable(path):
            picture = next(pictures, None)
        if picture is None:
            return
        number += 1
        if number >= start:
            yield picture


def _shown(path: Path, end: int | None, orientation: Orientation) -> Iterator[ShownPicture]:
    import imageio.v3 as iio

    # An open file, because imageio would take some names for addresses or devices.
    with path.open("rb") as file, iio.imopen(file, "r", plugin="pillow") as opened:
        animation: Any = opened
        time, number = 0.0, 0
        for index, rgba in enumerate(animation.iter(mode="RGBA", rotate=False)):
            noted = animation.metadata(index=index, exclude_applied=False)
            if index == 0 and noted.get("default_image"):
                continue  # for viewers that cannot show the animation, of which it is no part
            yield ShownPicture(np.ascontiguousarray(orientation.upright(over_black(rgba))), round(time, 6))
            seconds = float(noted.get("duration") or 0) / 1000
            time += seconds if seconds > SHORTEST else INSTEAD
            number += 1
            if number == end:
                return

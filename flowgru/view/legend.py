"""Legends: what the colours of a picture mean, in pixels, drawn so that they can be laid into its corner."""

import numpy as np

from flowgru.kinds import positive_number, whole_number
from flowgru.view.colour_wheel import Picture, flow_picture

_GLYPHS = {  # 7 rows of 5 dots; only what a number of pixels is written with
    "0": " ### |#   #|#  ##|# # #|##  #|#   #| ### ",
    "1": "  #  | ##  |  #  |  #  |  #  |  #  | ### ",
    "2": " ### |#   #|    #|   # |  #  | #   |#####",
    "3": "#####|   # |  #  |   # |    #|#   #| ### ",
    "4": "   # |  ## | # # |#  # |#####|   # |   # ",
    "5": "#####|#    |#### |    #|    #|#   #| ### ",
    "6": "  ## | #   |#    |#### |#   #|#   #| ### ",
    "7": "#####|    #|   # |  #  | #   | #   | #   ",
    "8": " ### |#   #|#   #| ### |#   #|#   #| ### ",
    "9": " ### |#   #|#   #| ####|    #|   # | ##  ",
    ".": "     |     |     |     |     | ##  | ##  ",
    "+": "     |  #  |  #  |#####|  #  |  #  |     ",
    "-": "     |     |     |#####|     |     |     ",
    "e": "     |     | ### |#   #|#####|#    | ### ",
    "p": "     |     |#### |#   #|#### |#    |#    ",
    "x": "     |     |#   #| # # |  #  | # # |#   #",
    " ": "     |     |     |     |     |     |     ",
}


def colour_wheel_legend(max_flow: object, size: object = 96) -> Picture:
    """The disc of all vectors up to `max_flow` pixels, drawn from its centre, over a label that says how long that is.

    The disc is `size` pixels wide; each of its pixels has the colour that flow_to_image gives the vector that leads
    there from the centre. RequestError for a size below 3 or a scale that is not above 0.
    """
    longest, width = positive_number("max_flow", max_flow), whole_number("the legend's size in pixels", size, 3)
    radius = (width - 1) / 2
    offset = (np.arange(width) - radius) / radius
    u, v = np.meshgrid(offset, offset)
    disc = flow_picture(np.stack([u, v], axis=2) * longest, longest)
    disc[np.hypot(u, v) > 1] = 255
    label = write_text(pixel_label(longest), fit_text(pixel_label(longest), width))
    return stack_centred(disc, label)


def pixel_label(pixels: float) -> str:
    """A length as the legends write it: whole pixels from 100 on, three significant digits below."""
    return f"{round(pixels):.6g} px" if pixels >= 100 else f"{pixels:.3g} px"


def fit_text(text: str, width: int) -> int:
    """How large the text's dots may be: 2 pixels from 80 on, 3 from 120 on, as long as the line fits."""
    return max(1, min(width // 40, width // (6 * len(text))))


def write_text(text: str, dot: int = 1) -> Picture:
    """A line of text, black on white with a margin of one dot; each dot of a letter is `dot` pixels wide."""
    rows = [" " + " ".join(glyph) + " " for glyph in zip(*(_GLYPHS[letter].split("|") for letter in text), strict=True)]
    ink = np.pad(np.array([[mark == "#" for mark in row] for row in rows]), ((1, 1), (0, 0)))
    paper = np.where(ink, 0, 255).astype(np.uint8).repeat(dot, axis=0).repeat(dot, axis=1)
    return paper[:, :, None].repeat(3, axis=2)


def stack_centred(*pictures: Picture) -> Picture:
    """Pictures below each other on white, each in the middle."""
    width = max(picture.shape[1] for picture in pictures)
    sheet = np.full((sum(len(picture) for picture in pictures), width, 3), 255, np.uint8)
    top = 0
    for picture in pictures:
        left = (width - picture.shape[1]) // 2
        sheet[top : top + len(picture), left : left + picture.shape[1]] = picture
        top += len(picture)
    return sheet


def legend_size(picture: Picture) -> int:
    """How large a legend suits a picture: a fifth of its shorter side, between 40 and 160 pixels."""
    return int(np.clip(min(picture.shape[:2]) // 5, 40, 160))


def lay_into_corner(picture: Picture, legend: Picture, margin: int = 4, *, on_left: bool = False) -> Picture:
    """A copy of the picture with the legend at the bottom right or left; left out where it needs more than a quarter."""
    laid = picture.copy()
    (height, width), (rows, columns) = picture.shape[:2], legend.shape[:2]
    if 2 * (rows + margin) <= height and 2 * (columns + margin) <= width:
        left = margin if on_left else width - margin - columns
        laid[height - margin - rows : height - margin, left : left + columns] = legend
    return laid

"""A legend shows the colours that it explains and says how long they are."""

import numpy as np
import pytest

from flowgru.view.colour_wheel import flow_to_image
from flowgru.view.legend import colour_wheel_legend, lay_into_corner, pixel_label, write_text


@pytest.mark.parametrize("size", [17, 40])
@pytest.mark.parametrize("max_flow", [0.5, 24.0])
def test_the_legends_disc_is_what_it_explains(max_flow, size):
    legend = colour_wheel_legend(max_flow, size)
    left = (legend.shape[1] - size) // 2
    centre = (size - 1) / 2
    num_inside = 0
    for y in range(size):
        for x in range(size):
            vector = np.array([x - centre, y - centre]) / centre * max_flow
            inside = np.hypot(x - centre, y - centre) <= centre
            num_inside += inside
            expected = flow_to_image(vector[None, None], max_flow)[0, 0].tolist() if inside else [255, 255, 255]
            assert legend[y, left + x].tolist() == expected
    assert num_inside == pytest.approx(np.pi * centre**2, rel=0.05)


def test_the_legend_says_how_long_its_radius_is():
    legend = colour_wheel_legend(24.0, 96)
    label = legend[96:]
    text = write_text("24 px", 2)
    left = (96 - text.shape[1]) // 2
    assert np.array_equal(label[:, left : left + text.shape[1]], text)
    assert (label == 0).any() and not np.array_equal(label, colour_wheel_legend(25.0, 96)[96:])


def test_the_font_reads_as_drawn():
    rows = ["".join("#" if ink else "." for ink in row) for row in write_text("1.")[:, :, 0] == 0]
    assert rows == [
        ".............",
        "...#.........",
        "..##.........",
        "...#.........",
        "...#.........",
        "...#.........",
        "...#....##...",
        "..###...##...",
        ".............",
    ]
    large = write_text("1.", 3)
    assert np.array_equal(large[1::3, 1::3], write_text("1.")) and large.shape == (27, 39, 3)


@pytest.mark.parametrize(
    "pixels, label",
    [(1.0, "1 px"), (2.5, "2.5 px"), (12.345, "12.3 px"), (1280.4, "1280 px"), (1e8, "1e+08 px"), (2e-5, "2e-05 px")],
)
def test_every_length_can_be_written(pixels, label):
    assert pixel_label(pixels) == label
    assert colour_wheel_legend(pixels, 3).dtype == np.uint8


def test_a_small_picture_is_not_covered_by_its_legend():
    picture = np.full((60, 60, 3), 7, np.uint8)
    assert np.array_equal(lay_into_corner(picture, colour_wheel_legend(1.0, 40)), picture)

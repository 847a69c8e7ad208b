"""Arrows start on a grid, lead where the flow goes, and are drawn fast."""

import time

import numpy as np
import pytest

from flowgru.view.arrows import Arrows, draw_arrows, legible_arrows


def ink(flow: np.ndarray, **settings) -> np.ndarray:
    """The share of ink on black paper."""
    paper = np.zeros((*flow.shape[:2], 3), np.uint8)
    return draw_arrows(paper, flow, colour=(200, 200, 200), **settings)[..., 0] / 200


@pytest.mark.parametrize(
    "u, v", [(20, 0), (-20, 0), (0, 20), (0, -20), (17, 9), (-9, 17), (-15.5, -15.5), (3.3, -21.7)]
)
def test_an_arrow_leads_from_its_point_to_where_the_flow_goes(u, v):
    flow = np.full((64, 64, 2), np.nan, np.float32)
    flow[32, 32] = u, v
    drawn = ink(flow, spacing=64, line_width=1.0)
    y, x = np.mgrid[:64, :64]
    length = np.hypot(u, v)
    along, beside = ((x - 32) * u + (y - 32) * v) / length, ((x - 32) * v - (y - 32) * u) / length
    head = length / 3
    assert (drawn[(np.abs(beside) <= 0.5) & (along >= 0) & (along <= length)] >= 0.49).all()  # the shaft is there
    assert drawn[32, 32] == 1.0
    assert not drawn[(along < -1) | (along > length + 1)].any()  # and nothing before it or after it
    assert not drawn[(np.abs(beside) >= 1) & (along < length - head - 1)].any()  # nor beside it, but for the head
    for side in (1, -1):
        stroke_end = along - (length - head * np.cos(np.pi / 6)), beside - side * head / 2
        assert drawn[np.hypot(*stroke_end) <= 0.71].max() >= 0.29  # whose two strokes end where they should


def test_a_line_has_the_ink_of_its_area():
    flow = np.full((64, 64, 2), np.nan, np.float32)
    for angle in np.linspace(0, 2 * np.pi, 17):
        flow[32, 32] = 25 * np.cos(angle), 25 * np.sin(angle)
        drawn = ink(flow, spacing=64, line_width=2.0)
        y, x = np.mgrid[:64, :64]
        along = ((x - 32) * flow[32, 32, 0] + (y - 32) * flow[32, 32, 1]) / 25
        middle = drawn[(along >= 3) & (along < 13)].sum()
        assert middle == pytest.approx(10 * 2, rel=0.12)  # 10 pixels long, 2 wide; the cut pixels make the rest


def test_arrows_start_on_a_grid_and_only_where_the_flow_is_known():
    flow = np.zeros((48, 64, 2), np.float32)
    flow[8, 24] = np.nan
    flow[24, 8, 1] = np.inf
    flow[40, 40, 0] = 1e10
    drawn = ink(flow)
    dots = {(int(y), int(x)) for y, x in np.argwhere(drawn == 1)}
    grid = {(y, x) for y in (8, 24, 40) for x in (8, 24, 40, 56)}
    assert dots == grid - {(8, 24), (24, 8), (40, 40)}
    assert drawn[12:20].sum() == 0


def test_arrows_beyond_the_border_are_cut():
    flow = np.full((32, 32, 2), np.nan, np.float32)
    flow[16, 16] = 9e8, 0
    drawn = ink(flow, spacing=32)
    assert (drawn[16, 16:] == 1).all() and not drawn[16, :15].any() and not drawn[:14].any()
    assert (
        draw_arrows(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 2), np.float32)).sum() == 0
    )  # below half a spacing


@pytest.mark.parametrize("longest", [1.0, 2.0, 3.0, 8.0, 24.0, 60.0, 400.0])
@pytest.mark.parametrize("size", [(48, 64), (440, 1024), (1080, 1920)])
def test_the_arrows_of_a_clip_are_long_enough_to_read_and_do_not_cover_each_other(longest, size):
    arrows = legible_arrows(longest, *size)
    assert 0.5 * arrows.spacing < arrows.scale * longest <= 1.5 * arrows.spacing
    assert arrows.scale == float(f"{arrows.scale:.1g}") and f"{arrows.scale:g}".strip("0.") in ("1", "2", "5")


def test_arrows_say_how_long_they_are():
    assert str(Arrows(16, 10.0)) == "arrows: one every 16 px, 10 times as long as the flow"
    assert str(Arrows(20, 1.0)) == "arrows: one every 20 px, as long as the flow"


def test_scaled_arrows_are_so_many_times_as_long():
    flow = np.full((64, 64, 2), np.nan, np.float32)
    flow[32, 32] = 2, 0
    for scale, tip in ((1, 34), (10, 52)):
        drawn = ink(flow, spacing=64, scale=scale, line_width=1.0)
        assert np.argwhere(drawn[32] >= 0.5).max() == tip


def test_arrows_are_fast():
    flow = (np.random.default_rng(0).normal(size=(720, 1280, 2)) * 20).astype(np.float32)
    image = np.zeros((720, 1280, 3), np.uint8)
    best = np.inf
    for _ in range(3):
        before = time.process_time()
        draw_arrows(image, flow)
        best = min(best, time.process_time() - before)
    assert best < 1.0

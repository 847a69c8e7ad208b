"""A panel is a frame beside its flow; all that draws refuses what does not fit, and changes nothing that it is given."""

import numpy as np
import pytest
import torch

from flowgru.errors import RequestError
from flowgru.view.arrows import Arrows, draw_arrows
from flowgru.view.colour_wheel import flow_to_image, robust_max
from flowgru.view.error_map import error_legend, error_map
from flowgru.view.legend import colour_wheel_legend, lay_into_corner, write_text
from flowgru.view.panels import flow_panel, flow_sheet, side_by_side


def test_a_panel_is_the_frame_and_its_flow_with_the_legend_in_the_corner():
    image = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
    flow = np.random.default_rng(1).normal(size=(200, 240, 2)).astype(np.float32)
    panel = flow_panel(image, flow, max_flow=2.0)
    legend = colour_wheel_legend(2.0, 40)
    assert panel.shape == (200, 480, 3) and np.array_equal(panel[:, :240], image)
    corner = (slice(196 - len(legend), 196), slice(476 - legend.shape[1], 476))
    assert np.array_equal(panel[corner], legend)
    plain = side_by_side(image, flow_to_image(flow, 2.0))
    assert np.array_equal(flow_panel(image, flow, max_flow=2.0, legend=False), plain)
    plain[corner] = legend
    assert np.array_equal(panel, plain)
    drawn = flow_panel(image, flow, max_flow=2.0, arrows=Arrows(20, 1.0))
    assert np.array_equal(drawn[:, :240], draw_arrows(image, flow, spacing=20))
    assert np.array_equal(drawn[:, 240:], panel[:, 240:])
    scaled = flow_panel(image, flow, max_flow=2.0, arrows=Arrows(20, 5.0))[:, :240]
    factor = write_text("x5")
    corner = (slice(196 - len(factor), 196), slice(4, 4 + factor.shape[1]))
    assert np.array_equal(scaled[corner], factor)
    scaled[corner] = draw_arrows(image, flow, spacing=20, scale=5)[corner]
    assert np.array_equal(scaled, draw_arrows(image, flow, spacing=20, scale=5))


def test_a_sheet_shows_a_frame_and_flows_of_one_scale_row_by_row():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    flows = [np.full((40, 60, 2), value, np.float32) for value in (0, 1, 2, -1)]
    sheet = flow_sheet(image, flows, max_flow=4.0)
    assert sheet.shape == (120, 120, 3) and np.array_equal(sheet[:40, :60], image)
    for number, flow in enumerate(flows, start=1):
        top, left = 40 * (number // 2), 60 * (number % 2)
        assert np.array_equal(sheet[top : top + 40, left : left + 60], flow_to_image(flow, 4.0))
    assert (sheet[80:, 60:] == 255).all()
    assert flow_sheet(image, flows, max_flow=4.0, columns=1).shape == (200, 60, 3)
    with pytest.raises(RequestError, match="expected"):
        flow_sheet(image, [flows[0][:, 1:]], max_flow=4.0)


@pytest.mark.parametrize("length", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_length_is_refused(length):
    flow, valid = np.zeros((4, 4, 2), np.float32), np.ones((4, 4), bool)
    for draw in (
        lambda: flow_to_image(flow, length),
        lambda: colour_wheel_legend(length, 20),
        lambda: error_map(flow, flow, valid, length),
        lambda: error_legend(length),
    ):
        with pytest.raises(RequestError, match="above 0"):
            draw()


def test_pictures_that_do_not_fit_together_are_refused():
    image, flow = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5, 2), np.float32)
    for draw in (
        lambda: draw_arrows(image, flow),
        lambda: flow_panel(image, flow, max_flow=1.0),
        lambda: side_by_side(image, image[:3]),
        lambda: error_map(flow, flow[:, :4], np.ones((4, 5), bool), 1.0),
        lambda: error_map(flow, flow, np.ones((4, 6), bool), 1.0),
        lambda: draw_arrows(image[:, :5], flow, spacing=0),
        lambda: colour_wheel_legend(1.0, 2),
        lambda: error_legend(1.0, 1),
    ):
        with pytest.raises(RequestError, match="expected"):
            draw()


def test_nothing_changes_its_inputs():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (200, 240, 3), dtype=np.uint8)
    flow = rng.normal(size=(200, 240, 2)).astype(np.float32)
    flow[3, 4] = np.nan
    valid = rng.random((200, 240)) > 0.5
    arrays = image, flow, valid
    for array in arrays:
        array.flags.writeable = False  # writing raises
    flow_panel(image, flow, max_flow=1.0, arrows=Arrows(16, 2.0))
    lay_into_corner(image, image[:20, :20])
    error_map(flow, flow, valid, 1.0)
    robust_max(flow)
    flow_to_image(flow)

    tensor = torch.from_numpy(flow.copy()).permute(2, 0, 1).contiguous().requires_grad_()
    before = tensor.detach().clone()
    flow_to_image(tensor)
    assert torch.equal(tensor.detach().nan_to_num(), before.nan_to_num())

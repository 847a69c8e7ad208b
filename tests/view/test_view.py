"""Pictures of flow: the colours are torchvision's and survive every flow, legends and arrows mean what they show."""

import time

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image as torchvision_flow_to_image

from flowgru.errors import RequestError
from flowgru.view.arrows import draw_arrows
from flowgru.view.colour_wheel import flow_to_image, robust_max, suggest_max_flow
from flowgru.view.error_map import error_legend, error_map
from flowgru.view.legend import colour_wheel_legend, lay_into_corner, pixel_label, write_text
from flowgru.view.panels import flow_panel, side_by_side

WHITE, BLACK, RED = [255, 255, 255], [0, 0, 0], [255, 0, 0]


def overshoot(flow: torch.Tensor) -> torch.Tensor:
    """Where torchvision's norm rounds above 1, so that its colour is below 0 and wraps to 255."""
    normalised = flow / (flow.pow(2).sum(-3).sqrt().max() + torch.finfo(torch.float32).eps)
    return normalised.pow(2).sum(-3).sqrt() > 1


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 3, 50), (2, 97, 61), (1, 2, 5, 4), (3, 2, 40, 64), (2, 2, 64, 1)])
@pytest.mark.parametrize("scale", [1e-6, 0.3, 20.0, 1e4])
def test_colours_are_torchvisions(shape, scale):
    for _ in range(10):
        flow = torch.randn(shape) * scale
        ours, theirs = flow_to_image(flow), torchvision_flow_to_image(flow)
        same = (ours == theirs).all(dim=-3) | overshoot(flow)
        assert ours.shape == theirs.shape and ours.dtype == torch.uint8 and same.all()


def test_every_direction_has_torchvisions_colour():
    angle = torch.arange(3600) * (torch.pi / 1800)
    flow = torch.stack([angle.cos(), angle.sin()])[:, None] * torch.linspace(0, 1, 20)[:, None]
    flow = torch.cat([flow, torch.tensor([[[1.0]], [[1.0]]]).expand(2, 20, 1)], dim=2)  # nothing else is longest
    theirs = torchvision_flow_to_image(flow)
    assert torch.equal(flow_to_image(flow)[..., :-1], theirs[..., :-1])


def test_the_longest_vector_never_wraps_around():
    num_wrapped = 0
    for _ in range(300):
        flow = torch.randn(2, 20, 30) * 10
        wrapped = overshoot(flow)
        num_wrapped += int(wrapped.sum())
        assert (flow_to_image(flow)[:, wrapped].amin(dim=0) == 0).all()  # the full colours lack one channel at least
    assert num_wrapped > 0


def test_an_array_has_the_colours_of_the_tensor():
    flow = torch.randn(2, 33, 47)
    array = flow.permute(1, 2, 0).numpy()
    picture = flow_to_image(array)
    assert picture.shape == (33, 47, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, flow_to_image(flow).permute(1, 2, 0).numpy())
    assert np.array_equal(picture, flow_to_image(array.astype(np.float64)))
    assert np.array_equal(picture[::-1, ::-1], flow_to_image(array[::-1, ::-1]))


@pytest.mark.parametrize("unknown", [float("nan"), float("inf"), -float("inf"), 1e10, -1.1e9, 1e30])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("max_flow", [None, 5.0])
def test_unknown_flow_is_black_and_changes_nothing_else(unknown, channel, max_flow):
    flow = torch.randn(2, 2, 12, 9)
    clean = flow_to_image(flow.index_fill(3, torch.tensor([4]), 0.0), max_flow)
    flow[:, :, :, 4] = 0
    flow[1, channel, 7, 4] = unknown
    picture = flow_to_image(flow, max_flow)
    assert picture[1, :, 7, 4].tolist() == BLACK
    picture[1, :, 7, 4] = clean[1, :, 7, 4]
    assert torch.equal(picture, clean)


@pytest.mark.parametrize("max_flow", [None, 3.0])
def test_extreme_pictures(max_flow):
    assert (flow_to_image(np.zeros((5, 6, 2), np.float32), max_flow) == 255).all()
    assert (flow_to_image(np.full((5, 6, 2), np.nan, np.float32), max_flow) == 0).all()
    assert flow_to_image(np.array([[[3.0, 0.0]]]), max_flow).tolist() == [[RED]]  # one pixel
    assert flow_to_image(np.array([[[1e300, 0.0], [0.0, 0.0]]]), max_flow).tolist() == [[BLACK, WHITE]]
    assert flow_to_image(np.array([[[1e9, 0.0], [0.0, 0.0]]]), max_flow).tolist() == [[RED, WHITE]]  # still known
    assert flow_to_image(torch.tensor([3.0, 0.0]).half().view(2, 1, 1), max_flow).flatten().tolist() == RED


def test_a_fixed_scale_gives_a_vector_one_colour_in_every_frame():
    slow, fast = torch.randn(2, 10, 10), torch.randn(2, 10, 10) * 30
    slow[:, 3, 4] = fast[:, 3, 4] = torch.tensor([1.5, -2.0])
    same = [flow_to_image(flow, 8.0)[:, 3, 4].tolist() for flow in (slow, fast, torch.stack([slow, fast])[1])]
    assert same[0] == same[1] == same[2] != flow_to_image(fast)[:, 3, 4].tolist()


def test_beyond_a_fixed_scale_the_full_colours_stay():
    vector = torch.tensor([3.0, -4.0]).view(2, 1, 1)
    assert torch.equal(flow_to_image(vector * 7, 5.0), flow_to_image(vector, 5.0))
    assert not torch.equal(flow_to_image(vector * 0.9, 5.0), flow_to_image(vector, 5.0))


@pytest.mark.parametrize("shape", [(3, 4, 4), (4, 4), (1, 1, 2, 4, 4), (2, 0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(RequestError, match=r"tensor .* expected \[2, H, W\]"):
        flow_to_image(torch.zeros(shape))
    with pytest.raises(RequestError, match=r"array .* expected \[H, W, 2\]"):
        flow_to_image(np.zeros(shape))


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


def test_robust_max_is_a_percentile_of_what_is_known():
    flow = np.zeros((10, 101, 2), np.float32)
    flow[..., 0] = np.arange(101)
    assert robust_max(flow) == pytest.approx(99.0) and robust_max(flow, 50.0) == pytest.approx(50.0)
    flow[:, 0] = np.nan, 1
    flow[:, 100, 0] = 1e10
    assert robust_max(flow, 0.0) == 1.0 and robust_max(flow, 100.0) == 99.0
    assert robust_max(torch.from_numpy(flow).permute(2, 0, 1), 100.0) == 99.0
    assert robust_max(flow[:, :100] * 0.001) == 1.0  # a scene at rest stays pale
    assert robust_max(np.full((3, 3, 2), np.nan)) == 1.0


@pytest.mark.parametrize(
    "longest, scale", [(0.2, 1.0), (1.0, 1.0), (9.31, 9.4), (30.0, 30.0), (41.2, 42.0), (991, 1e3)]
)
def test_one_scale_for_a_clip_is_the_largest_rounded_up(longest, scale):
    flows = [np.full((2, 2, 2), (length, 0.0), np.float32) for length in (0.1, longest, 0.5)]
    assert suggest_max_flow(iter(flows)) == scale
    assert suggest_max_flow([]) == 1.0


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
            expected = flow_to_image(vector[None, None], max_flow)[0, 0].tolist() if inside else WHITE
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


def test_arrows_are_fast():
    flow = (np.random.default_rng(0).normal(size=(720, 1280, 2)) * 20).astype(np.float32)
    image = np.zeros((720, 1280, 3), np.uint8)
    best = np.inf
    for _ in range(3):
        before = time.process_time()
        draw_arrows(image, flow)
        best = min(best, time.process_time() - before)
    assert best < 1.0


def test_an_error_map_grows_darker_with_the_error_and_is_black_where_nothing_is_known():
    truth = np.zeros((2, 5, 2), np.float32)
    flow = np.zeros((2, 5, 2), np.float32)
    flow[0] = [(0, 0), (0.6, 0.8), (0, 2), (3, 4), (300, 0)]
    flow[1] = [(np.nan, 0), (np.inf, 0), (1, 0), (1, 0), (-np.inf, np.nan)]
    truth[1, 2] = np.nan, 0
    valid = np.ones((2, 5), bool)
    valid[1, 3] = False
    picture = error_map(flow, truth, valid, 4.0, legend=False)
    assert picture[0, 0].tolist() == WHITE and picture[0, 4].tolist() == picture[0, 3].tolist()
    assert (np.diff(picture[0, :4].astype(int).sum(axis=1)) < 0).all()
    assert picture[1, 2].tolist() == picture[1, 3].tolist() == BLACK
    assert all(picture[1, x].tolist() == picture[0, 3].tolist() for x in (0, 1, 4))


@pytest.mark.parametrize("max_error", [3.0, 1280.0])
def test_an_error_maps_legend_shows_its_scale(max_error):
    legend = error_legend(max_error, 60)
    length = legend.shape[1]
    flow = np.zeros((1, length, 2))
    flow[0, :, 1] = np.linspace(0, max_error, length)
    expected = error_map(flow, flow * 0, np.ones((1, length), bool), max_error, legend=False)
    assert np.array_equal(legend[:1], expected)

    picture = error_map(np.zeros((300, 400, 2)), np.zeros((300, 400, 2)), np.zeros((300, 400), bool), max_error)
    ours = error_legend(max_error, 60)
    assert np.array_equal(picture[296 - len(ours) : 296, 396 - ours.shape[1] : 396], ours)


@pytest.mark.parametrize("max_error, size", [(91.0, 160), (2.7, 40), (210.0, 150)])
def test_the_two_ends_of_an_error_legend_are_apart(max_error, size):
    legend = error_legend(max_error, size)
    labels = legend[max(4, size // 8) :, :, 0]
    inked = np.flatnonzero((labels == 0).any(axis=0))
    dot = np.flatnonzero((labels == 0).any(axis=1))[0]  # the margin
    first_gap = next(gap for gap in np.diff(inked) if gap > 2 * dot + 1)
    assert first_gap > 12 * dot  # between words there are 7 or 8


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
    with_arrows = flow_panel(image, flow, max_flow=2.0, arrows=True)
    assert np.array_equal(with_arrows[:, :240], draw_arrows(image, flow))
    assert np.array_equal(with_arrows[:, 240:], panel[:, 240:])


def test_a_small_picture_is_not_covered_by_its_legend():
    picture = np.full((60, 60, 3), 7, np.uint8)
    assert np.array_equal(lay_into_corner(picture, colour_wheel_legend(1.0, 40)), picture)


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
    flow_panel(image, flow, max_flow=1.0, arrows=True)
    lay_into_corner(image, image[:20, :20])
    error_map(flow, flow, valid, 1.0)
    robust_max(flow)
    flow_to_image(flow)

    tensor = torch.from_numpy(flow.copy()).permute(2, 0, 1).contiguous().requires_grad_()
    before = tensor.detach().clone()
    assert not flow_to_image(tensor).requires_grad
    robust_max(tensor)
    assert torch.equal(tensor.detach().nan_to_num(), before.nan_to_num())

"""The colours of flow are torchvision's and survive every flow; a scale fits one picture or a whole clip."""

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image as torchvision_flow_to_image

from flowgru.view.colour_wheel import flow_colours, flow_to_image, robust_max, suggest_max_flow

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
        ours, theirs = flow_colours(flow), torchvision_flow_to_image(flow)
        same = (ours == theirs).all(dim=-3) | overshoot(flow)
        assert ours.shape == theirs.shape and ours.dtype == torch.uint8 and same.all()


def test_every_direction_has_torchvisions_colour():
    angle = torch.arange(3600) * (torch.pi / 1800)
    flow = torch.stack([angle.cos(), angle.sin()])[:, None] * torch.linspace(0, 1, 20)[:, None]
    flow = torch.cat([flow, torch.tensor([[[1.0]], [[1.0]]]).expand(2, 20, 1)], dim=2)  # nothing else is longest
    theirs = torchvision_flow_to_image(flow)
    assert torch.equal(flow_colours(flow)[..., :-1], theirs[..., :-1])


def test_the_longest_vector_never_wraps_around():
    num_wrapped = 0
    for _ in range(300):
        flow = torch.randn(2, 20, 30) * 10
        wrapped = overshoot(flow)
        num_wrapped += int(wrapped.sum())
        assert (flow_colours(flow)[:, wrapped].amin(dim=0) == 0).all()  # the full colours lack one channel at least
    assert num_wrapped > 0


def test_an_array_has_the_colours_of_the_tensor():
    flow = torch.randn(2, 33, 47)
    array = flow.permute(1, 2, 0).numpy()
    picture = flow_to_image(array)
    assert picture.shape == (33, 47, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, flow_colours(flow).permute(1, 2, 0).numpy())
    assert np.array_equal(picture, flow_to_image(array.astype(np.float64)))
    assert np.array_equal(picture[::-1, ::-1], flow_to_image(array[::-1, ::-1]))


@pytest.mark.parametrize("unknown", [float("nan"), float("inf"), -float("inf"), 1e10, -1.1e9, 1e30])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("max_flow", [None, 5.0])
def test_unknown_flow_is_black_and_changes_nothing_else(unknown, channel, max_flow):
    flow = torch.randn(2, 2, 12, 9)
    clean = flow_colours(flow.index_fill(3, torch.tensor([4]), 0.0), max_flow)
    flow[:, :, :, 4] = 0
    flow[1, channel, 7, 4] = unknown
    picture = flow_colours(flow, max_flow)
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
    same = [flow_to_image(flow, 8.0)[3, 4].tolist() for flow in (slow, fast, torch.stack([slow, fast])[1])]
    assert same[0] == same[1] == same[2] != flow_to_image(fast)[3, 4].tolist()


def test_beyond_a_fixed_scale_the_full_colours_stay():
    vector = torch.tensor([3.0, -4.0]).view(2, 1, 1)
    assert np.array_equal(flow_to_image(vector * 7, 5.0), flow_to_image(vector, 5.0))
    assert not np.array_equal(flow_to_image(vector * 0.9, 5.0), flow_to_image(vector, 5.0))


def test_robust_max_is_a_percentile_of_what_is_known():
    flow = np.zeros((10, 101, 2), np.float32)
    flow[..., 0] = np.arange(101)
    assert robust_max(flow) == pytest.approx(99.0) and robust_max(flow, 50.0) == pytest.approx(50.0)
    flow[:, 0] = np.nan, 1
    flow[:, 100, 0] = 1e10
    assert robust_max(flow, 0.0) == 1.0 and robust_max(flow, 100.0) == 99.0
    assert robust_max(flow[:, :100] * 0.001) == 1.0  # a scene at rest stays pale
    assert robust_max(np.full((3, 3, 2), np.nan)) == 1.0


@pytest.mark.parametrize(
    "longest, scale", [(0.2, 1.0), (1.0, 1.0), (9.31, 9.4), (30.0, 30.0), (41.2, 42.0), (991, 1e3)]
)
def test_one_scale_for_a_clip_is_the_largest_rounded_up(longest, scale):
    flows = [np.full((2, 2, 2), (length, 0.0), np.float32) for length in (0.1, longest, 0.5)]
    assert suggest_max_flow(iter(flows)) == scale
    assert suggest_max_flow([]) == 1.0

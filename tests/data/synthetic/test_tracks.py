"""Exact tracks of generated clips belong to their frames and flows."""

import pytest
import torch

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.clip import exact_tracks, render_clip

SETTINGS = SyntheticSettings(64, 96, seed=5, speed=(1.0, 3.0), static_share=0.0, nonrigidity=0.02, num_textures=4)


def grid() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(0, 64, 3), torch.arange(0, 96, 3), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_tracks_go_as_the_exact_flow_goes(index):
    points = grid()
    clip = render_clip(SETTINGS, index, 6)
    tracks = exact_tracks(SETTINGS, index, 6, points)
    assert torch.equal(tracks.positions[0], points) and tracks.visible[0].all()
    x, y = points.long().T
    moved = tracks.positions[1] - tracks.positions[0]
    torch.testing.assert_close(moved, clip.flows[0][:, y, x].T, rtol=0, atol=1e-3)
    for time in range(1, 5):
        gaps = []
        for corner in ([0, 0], [1, 0], [0, 1], [1, 1]):  # beside the edge of a layer, some show another one
            x, y = (tracks.positions[time].floor() + torch.tensor(corner)).long().T
            flow = clip.flows[time][:, y.clamp(0, 63), x.clamp(0, 95)].T
            gaps.append((tracks.positions[time + 1] - tracks.positions[time] - flow).norm(dim=1))
        gap, seen = torch.stack(gaps).amin(dim=0), tracks.visible[time]
        assert (gap[seen] < 0.3).float().mean() > 0.97
    hidden = ~tracks.visible[1:]
    assert 0 < hidden.float().mean() < 0.6


def test_what_a_layer_covers_is_not_seen_and_outside_neither():
    tracks = exact_tracks(SETTINGS, 0, 12, grid())
    x, y = tracks.positions.unbind(dim=2)
    outside = (x < -0.5) | (x > 95.5) | (y < -0.5) | (y > 63.5)
    assert outside.any() and not tracks.visible[outside].any()
    assert (~tracks.visible & ~outside).any()


def test_a_layer_that_bends_too_far_has_no_exact_tracks():
    settings = SyntheticSettings(64, 96, seed=5, speed=(8.0, 9.0), static_share=0.0, nonrigidity=4.0, num_textures=4)
    with pytest.raises(ValueError, match="bends too far"):
        for index in range(8):
            exact_tracks(settings, index, 24, grid())

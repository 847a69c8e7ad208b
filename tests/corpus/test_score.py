"""What a clip's flow comes down to, against numbers that are known beforehand."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from flowgru.corpus.score import ClipScore, camera_and_object, is_cut
from flowgru.data.video.reader import Frame
from flowgru.estimation.stream import PairFlow
from flowgru.grid import backward_warp, pixel_grid

HEIGHT, WIDTH = 60, 80


def picture(seed: int) -> np.ndarray:
    """Smooth noise, which shows where it moves."""
    small = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    return (large[0] * 255).byte().permute(1, 2, 0).numpy()


def frames(pictures, *, damaged=()) -> list[Frame]:
    return [Frame(one, f"f{n}", n / 10, 0, n in damaged) for n, one in enumerate(pictures)]


def scored(pictures, flows, **options) -> dict:
    score, shown = ClipScore(), frames(pictures, **options)
    for first, second, flow in zip(shown, shown[1:], flows, strict=False):
        score.add(PairFlow(first, second, flow, None))
    return score.row("clip")


def constant(u, v) -> torch.Tensor:
    return torch.tensor([float(u), float(v)])[:, None, None].expand(2, HEIGHT, WIDTH).clone()


def test_lengths_and_what_is_still():
    flow = constant(0.0, 0.0)
    flow[:, :, WIDTH // 2 :] = constant(3.0, 4.0)[:, :, WIDTH // 2 :]
    flow[:, : HEIGHT // 10, :] = constant(0.0, 50.0)[:, : HEIGHT // 10, :]
    row = scored([picture(0)] * 3, [flow, flow], damaged=(1,))
    assert row["frames"] == 3 and row["seconds"] == 0.2 and (row["width"], row["height"]) == (WIDTH, HEIGHT)
    assert row["length_mean"] == pytest.approx(0.1 * 50 + 0.45 * 5, rel=1e-4)
    assert row["length_p50"] == pytest.approx(5, rel=0.01) and row["length_p99"] == pytest.approx(50, rel=0.01)
    assert row["still"] == pytest.approx(0.45) and row["damage"] == pytest.approx(1 / 3, rel=1e-3)
    assert row["cuts"] == 0


def test_seconds_go_on_where_the_clock_of_a_clip_begins_anew():
    score, times = ClipScore(), (5.0, 5.1, 0.0, 0.1)
    shown = [Frame(picture(0), f"f{number}", time, 0, False) for number, time in enumerate(times)]
    for first, second in pairwise(shown):
        score.add(PairFlow(first, second, constant(0, 0), None))
    assert score.row("clip")["seconds"] == pytest.approx(0.3)


def test_a_still_clip_is_zero_in_all():
    row = scored([picture(0)] * 3, [constant(0, 0)] * 2)
    assert row["still"] == 1 and not any(
        row[name] for name in ("length_mean", "length_p99", "camera", "object", "flicker")
    )


def test_the_camera_is_found_behind_an_object_that_moves_against_it():
    grid = pixel_grid(HEIGHT, WIDTH, like=torch.zeros(1))[0]
    zoom = (
        0.05 * (grid - torch.tensor([WIDTH / 2, HEIGHT / 2])[:, None, None]) + torch.tensor([2.0, 0.0])[:, None, None]
    )
    flow = zoom.clone()
    flow[:, 10:30, 20:50] += torch.tensor([-6.0, 0.0])[:, None, None]
    camera, own = camera_and_object(flow.numpy(), np.ones((HEIGHT, WIDTH), bool))
    assert camera == pytest.approx(torch.linalg.vector_norm(zoom, dim=0).mean().item(), rel=0.03)
    assert own == pytest.approx(6 * 600 / (HEIGHT * WIDTH), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2)])
def test_a_tiny_picture_has_a_camera_too(shape):
    camera, own = camera_and_object(np.full((2, *shape), 3.0), np.ones(shape, bool))
    assert camera == pytest.approx(18**0.5) and own == pytest.approx(0, abs=1e-9)


def test_flicker_is_the_change_of_the_flow_where_it_leads():
    assert scored([picture(0)] * 4, [constant(2, 0)] * 3)["flicker"] == pytest.approx(0, abs=1e-5)
    assert scored([picture(0)] * 4, [constant(2, 0), constant(2, 3), constant(2, 0)])["flicker"] == pytest.approx(3)


def test_a_cut_counts_as_a_cut_and_as_nothing_else():
    pictures = [picture(0), picture(0), picture(1), picture(1)]
    row = scored(pictures, [constant(1, 0), constant(30, 0), constant(1, 0)])
    assert row["cuts"] == 1 and row["length_p99"] == pytest.approx(1, rel=0.02) and row["flicker"] == ""


def test_a_fast_pan_is_no_cut():
    big = torch.from_numpy(picture(3)).permute(2, 0, 1)[None].float()
    moved, _ = backward_warp(big, constant(-25, 0)[None])
    second = moved[0].byte().permute(1, 2, 0).numpy()
    first, after = frames([picture(3), second])
    assert not is_cut(first, after, constant(25, 0)) and is_cut(first, after, constant(0, 25))


def test_numbers_that_no_pair_gives_are_empty():
    row = scored([picture(0), picture(1)], [torch.full((2, HEIGHT, WIDTH), float("nan"))])
    assert row["length_mean"] == row["camera"] == row["flicker"] == row["length_p50"] == ""

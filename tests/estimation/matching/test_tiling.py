"""Tiles cover the picture and blend without a seam; their flow is near that of the whole picture."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from flowgru import estimate_flow, load_model
from flowgru.config import SyntheticSettings
from flowgru.config.estimation import EstimateSettings
from flowgru.data.formats.images import read_image
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.estimation.matching.tiles import blend, tile_layout

LAYOUTS = [(512, 768, 2, 2), (301, 517, 1, 3), (640, 130, 4, 1), (300, 300, 1, 1), (4320, 7680, 3, 4)]


@pytest.mark.parametrize("height, width, rows, columns", LAYOUTS)
def test_tiles_cover_the_picture_in_one_size_and_overlap(height, width, rows, columns):
    tiles = tile_layout(height, width, rows, columns)
    assert len(tiles) == rows * columns and len({tile[2:] for tile in tiles}) == 1
    assert (tiles[0].top, tiles[0].left) == (0, 0)
    last = tiles[-1]
    assert (last.top + last.height, last.left + last.width) == (height, width)
    for one, next_one in pairwise(tiles):
        if one.top == next_one.top:
            assert 0.15 * one.width < one.left + one.width - next_one.left < 0.35 * one.width


@pytest.mark.parametrize("height, width, rows, columns", LAYOUTS[:-1])
def test_what_all_tiles_agree_on_comes_out_unchanged(height, width, rows, columns):
    picture = torch.randn(1, 2, height, width)
    tiles = tile_layout(height, width, rows, columns)
    found = blend([tile.cut(picture) for tile in tiles], tiles, height, width)
    torch.testing.assert_close(found, picture)


def test_where_tiles_differ_the_change_is_spread_over_the_overlap():
    tiles = tile_layout(256, 800, 1, 2)
    values = [torch.full((1, 2, tile.height, tile.width), float(index)) for index, tile in enumerate(tiles)]
    row = blend(values, tiles, 256, 800)[0, 0, 100]
    overlap = tiles[0].width - tiles[1].left
    steps = row.diff()
    assert row[0] == 0 and row[-1] == 1 and (steps >= -1e-6).all() and steps.max() < 1.5 / overlap


def test_tiles_too_small_to_show_a_motion_are_refused():
    with pytest.raises(
        RequestError, match=r"8x8 tiles of a picture of 512x512 are 88x88 px .height x width.: fewer tiles are needed"
    ):
        tile_layout(512, 512, 8, 8)


@pytest.mark.parametrize("words", ["2", "0x2", "2x-1", "2x2x2", "100x1", "", "axb"])
def test_tiles_are_rows_and_columns(words):
    with pytest.raises(RequestError, match="expected ROWSxCOLUMNS"):
        EstimateSettings(output="out", tiles=words)
    assert EstimateSettings(output="out", tiles="3x12").rows_and_columns() == (3, 12)


def seam_error(first, second) -> float:
    """The mean length of what two tiles side by side change in the flow, in pixels."""
    model = load_model(device="cpu")
    (whole,) = estimate_flow([first, second], model, iterations=4)
    (tiled,) = estimate_flow([first, second], model, iterations=4, tiles=(1, 2))
    return (tiled - whole).norm(dim=0).mean().item()


def test_the_flow_of_tiles_is_near_the_wholes_on_a_generated_pair():
    sample = SyntheticPairs(SyntheticSettings(height=256, width=512, most_speed=8.0, num_textures=8))[0]
    assert seam_error(sample.first, sample.second) < 0.25


def test_the_flow_of_tiles_is_near_the_wholes_on_a_real_pair(data_root: Path):
    folder = data_root / "Sintel/training/final/alley_1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    assert seam_error(*(read_image(folder / f"frame_{number:04d}.png") for number in (2, 3))) < 0.25


@pytest.mark.parametrize("tiles", [(0, 1), (1, 0), (-1, 2), (1, 100), (True, 1)])
def test_tiles_of_the_python_interface_are_counts(network, tiles):
    frames = torch.rand(2, 3, 32, 40)
    with pytest.raises(RequestError, match=r"tiles is .*: expected \(rows, columns\), each from 1 to 99"):
        list(estimate_flow(frames, network, iterations=1, tiles=tiles))

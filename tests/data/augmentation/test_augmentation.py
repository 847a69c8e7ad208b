"""Augmented pairs are still true: warping the second picture by the flow gives the first, and masks say where."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_run import NOTHING
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision_functional

from flowgru import warp
from flowgru.config import SyntheticSettings
from flowgru.data.augmentation.augment import augment
from flowgru.data.augmentation.photometric import Box, ColourChange, change_colour, draw_colour_change, erase
from flowgru.data.augmentation.spatial import crop, flip, resize
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.pairs import SyntheticPairs

PARTS: dict[str, dict[str, object]] = {
    "crop": {},
    "smaller": {"scaling": 1.0, "log2_scale": (-0.3, -0.1)},
    "larger": {"scaling": 1.0, "log2_scale": (0.3, 1.0)},
    "stretched": {"scaling": 1.0, "stretching": 1.0},
    "too small": {"height": 300, "width": 400},
    "left and right": {"horizontal_flip": 1.0},
    "upside down": {"vertical_flip": 1.0},
    "recoloured": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.16},
    "erased": {"erasing": 1.0},
    "all": {
        "scaling": 0.8,
        "log2_scale": (-0.2, 0.6),
        "stretching": 0.8,
        "horizontal_flip": 0.5,
        "vertical_flip": 0.1,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.16,
        "erasing": 0.5,
    },
}


@pytest.fixture(scope="module")
def pairs() -> list[FlowSample]:
    """Generated pairs between whose pictures nothing differs but motion."""
    clean = SyntheticSettings(height=192, width=256, num_textures=16, colour=0.0, shadow=0.0, blur=0.0, noise=0.0)
    return [SyntheticPairs(clean)[index] for index in range(10)]


def tensors(sample: FlowSample) -> list[Tensor]:
    return [value for value in sample[:5] if value is not None]


def thinned(sample: FlowSample) -> FlowSample:
    """The pair with its flow known at a third of the pixels, and nonsense at the others."""
    valid = torch.rand(sample.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    return sample._replace(valid=valid, flow=sample.flow.where(valid, torch.tensor(math.nan)))


def warp_error(sample: FlowSample, flow: Tensor) -> float:
    """Mean difference between the first picture and the second brought back, where it can be seen."""
    assert sample.occlusion is not None
    brought_back, inside = warp(sample.second[None], flow[None])
    seen = sample.valid & ~sample.occlusion & inside[0]
    assert float(seen.float().mean()) > 0.02
    return float((brought_back[0] - sample.first).abs().mean(0)[seen].mean())


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("part", PARTS)
def test_warping_the_second_picture_still_gives_the_first(pairs: list[FlowSample], part: str, sparse: bool) -> None:
    settings = replace(NOTHING, **PARTS[part], sparse=sparse)
    true, shifted = [], []
    for index, pair in enumerate(pairs):
        sample = augment(thinned(pair) if sparse else pair, settings, Draws(0, index))
        assert sample.valid.shape == (settings.height, settings.width) and not sample.flow[:, ~sample.valid].any()
        true.append(warp_error(sample, sample.flow))
        shifted.append(warp_error(sample, sample.flow + 1.5))
    # Without augmentation it is 0.004; a sparse vector may lie half a pixel beside its place.
    assert sum(true) / len(true) < 0.008
    assert max(true) < 0.02
    assert sum(shifted) > 3 * sum(true)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_what_comes_in_is_not_changed(pairs: list[FlowSample], sparse: bool) -> None:
    before = [value.clone() for value in tensors(pairs[0])]
    for index in range(6):
        augment(pairs[0], replace(NOTHING, **PARTS["all"], sparse=sparse), Draws(0, index))
    assert all(torch.equal(value, old) for value, old in zip(tensors(pairs[0]), before, strict=True))


def test_colours_and_boxes_of_one_picture_leave_geometry_alone(pairs: list[FlowSample]) -> None:
    coloured = replace(NOTHING, scaling=1.0, asymmetric=1.0, **PARTS["recoloured"])
    for index, pair in enumerate(pairs[:4]):
        plain = augment(pair, replace(NOTHING, scaling=1.0), Draws(0, index))
        changed = augment(pair, coloured, Draws(0, index))
        assert torch.equal(plain.flow, changed.flow) and torch.equal(plain.valid, changed.valid)
        assert not torch.equal(plain.second, changed.second)
        same = change_colour(torch.stack((plain.first, plain.second)), draw_colour_change(Draws(1, index), coloured))
        assert not torch.equal(changed.first, same[0])


def ramp(height: int, width: int) -> FlowSample:
    """Pictures and flow that are linear in x and y, so that bilinear interpolation has a closed form."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    picture = torch.stack((x / width, y / height, (x + y) / (width + height)))
    return FlowSample(
        picture, 1 - picture, torch.stack((0.1 * x - 2, 3 - 0.2 * y)), x >= 0, occlusion=x > width / 2, name="ramp"
    )


def test_a_dense_pair_is_resized_around_pixel_centres() -> None:
    height, width = 45, 96
    resized = resize(ramp(30, 60), height, width)
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    x, y = (x + 0.5) / 1.6 - 0.5, (y + 0.5) / 1.5 - 0.5
    inner = (slice(None), slice(1, -1), slice(1, -1))  # outside the outermost centres the edge is repeated
    assert torch.allclose(
        resized.flow[inner], torch.stack((1.6 * (0.1 * x - 2), 1.5 * (3 - 0.2 * y)))[inner], atol=1e-4
    )
    assert torch.allclose(resized.first[inner], torch.stack((x / 60, y / 30, (x + y) / 90))[inner], atol=1e-5)
    assert resized.valid.all() and resized.occlusion is not None
    assert torch.equal(resized.occlusion, x.round() > 30)


def test_dense_flow_beside_unknown_flow_is_unknown() -> None:
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(40, 50, generator=generator) < 0.9
    flow = torch.full((2, 40, 50), 5.0).where(valid, torch.tensor(math.nan))
    for height, width in ((40, 75), (61, 64), (33, 41), (20, 25), (80, 100)):
        resized = resize(ramp(40, 50)._replace(flow=flow, valid=valid), height, width)
        support = torch.zeros(height, width, dtype=torch.bool)
        for row in range(height):
            for column in range(width):
                y = min(max((2 * row + 1) * 40 / (2 * height) - 0.5, 0.0), 39.0)
                x = min(max((2 * column + 1) * 50 / (2 * width) - 0.5, 0.0), 49.0)
                rows, columns = {math.floor(y), math.ceil(y)}, {math.floor(x), math.ceil(x)}
                support[row, column] = all(valid[r, c] for r in rows for c in columns)
        assert torch.equal(resized.valid, support)
        scale = torch.tensor([width / 50, height / 40]).view(2, 1)
        assert torch.allclose(resized.flow[:, resized.valid], 5 * scale, rtol=1e-5)
        assert not resized.flow[:, ~resized.valid].any()


@pytest.mark.parametrize(("height", "width"), [(40, 75), (61, 64), (80, 100), (33, 41), (20, 25)])
def test_sparse_flow_moves_to_the_nearest_pixel_and_keeps_row_and_column_0(height: int, width: int) -> None:
    valid = torch.zeros(40, 50, dtype=torch.bool)
    valid[0], valid[:, 0], valid[-1, -1], valid[17, 23] = True, True, True, True
    flow = torch.rand(2, 40, 50).where(valid, torch.tensor(math.nan))
    resized = resize(ramp(40, 50)._replace(flow=flow, valid=valid, occlusion=valid), height, width, sparse=True)
    scale = torch.tensor([width / 50, height / 40])
    expected = {}
    for y, x in valid.nonzero().tolist():
        place = math.floor((y + 0.5) * height / 40), math.floor((x + 0.5) * width / 50)
        expected[place] = flow[:, y, x] * scale
    assert {(y, x) for y, x in resized.valid.nonzero().tolist()} == set(expected)
    for (y, x), vector in expected.items():
        assert torch.equal(resized.flow[:, y, x], vector)
    top, left = math.floor(height / 80), math.floor(width / 100)  # where the centres of row 0 and column 0 are now
    assert resized.valid[top].sum() == min(50, width) and resized.valid[:, left].sum() == min(40, height)
    assert not resized.flow[:, ~resized.valid].any()
    assert resized.occlusion is not None and torch.equal(resized.occlusion, resized.valid)


def test_flips_mirror_pictures_masks_and_one_component_of_the_flow(pairs: list[FlowSample]) -> None:
    before = thinned(pairs[0])._replace(flow=pairs[0].flow)
    across, down = flip(before, horizontally=True), flip(before, vertically=True)
    u, v = before.flow
    assert torch.equal(across.flow, torch.stack((-u, v)).flip(-1)) and torch.equal(across.valid, before.valid.flip(-1))
    assert torch.equal(down.flow, torch.stack((u, -v)).flip(-2)) and torch.equal(down.valid, before.valid.flip(-2))
    assert torch.equal(across.second, before.second.flip(-1)) and torch.equal(down.first, before.first.flip(-2))
    assert before.occlusion is not None and across.occlusion is not None
    assert torch.equal(across.occlusion, before.occlusion.flip(-1))
    twice = flip(flip(before, horizontally=True, vertically=True), horizontally=True, vertically=True)
    assert all(torch.equal(value, old) for value, old in zip(tensors(twice), tensors(before), strict=True))


def test_what_moves_out_of_the_crop_is_occluded_and_stays_valid() -> None:
    still = ramp(20, 30)._replace(flow=torch.tensor([4.0, 0.0]).view(2, 1, 1).expand(2, 20, 30).clone())
    part = crop(still._replace(occlusion=torch.zeros(20, 30, dtype=torch.bool)), 2, 3, 10, 15)
    assert torch.equal(part.first, still.first[:, 2:12, 3:18]) and torch.equal(part.flow, still.flow[:, 2:12, 3:18])
    assert part.occlusion is not None and part.valid.all()
    assert torch.equal(part.occlusion, (torch.arange(15) >= 11).expand(10, 15))


def test_masks_go_where_their_pixels_go() -> None:
    blocks = (torch.rand(24, 32, generator=torch.Generator().manual_seed(0)) < 0.5).repeat_interleave(8, 0)
    mask = blocks.repeat_interleave(8, 1)
    painted = FlowSample(
        mask.float().expand(3, -1, -1), torch.zeros(3, 192, 256), torch.zeros(2, 192, 256), ~mask, mask, "mask"
    )
    for sparse in (False, True):
        settings = replace(NOTHING, scaling=0.8, log2_scale=(-0.2, 0.6), stretching=0.8, sparse=sparse)
        settings = replace(settings, horizontal_flip=0.5, vertical_flip=0.5)
        for index in range(8):
            sample = augment(painted, settings, Draws(0, index))
            assert sample.occlusion is not None
            white = sample.first[0] > 0.5
            if sparse:
                # A vector is up to half a pixel beside its place, which is more than half an old pixel in smaller pictures.
                assert float((sample.valid & white).sum() / sample.valid.sum()) < 0.02
            else:
                assert float((sample.occlusion != white).float().mean()) < 0.02
                assert not (sample.valid & (sample.first[0] > 0)).any()
                assert float((sample.valid == ~white).float().mean()) > 0.85


def test_an_erased_box_has_the_mean_colour_and_hides_what_moves_there() -> None:
    pair = ramp(60, 80)._replace(flow=torch.tensor([5.0, -3.0]).view(2, 1, 1).expand(2, 60, 80).clone())
    pair = pair._replace(occlusion=torch.zeros(60, 80, dtype=torch.bool))
    erased = erase(pair, [Box(10, 20, 15, 25), Box(50, 70, 30, 30)])
    boxes = torch.zeros(60, 80, dtype=torch.bool)
    boxes[10:25, 20:45], boxes[50:, 70:] = True, True
    assert torch.equal(erased.second[:, ~boxes], pair.second[:, ~boxes])
    assert torch.allclose(erased.second[:, boxes], pair.second.mean((1, 2))[:, None].expand(-1, int(boxes.sum())))
    assert torch.equal(erased.first, pair.first) and torch.equal(erased.flow, pair.flow) and erased.valid.all()
    y, x = torch.meshgrid(torch.arange(60) - 3, torch.arange(80) + 5, indexing="ij")
    hits = ((y >= 10) & (y < 25) & (x >= 20) & (x < 45)) | ((y >= 50) & (x >= 70) & (x < 100))
    assert erased.occlusion is not None and torch.equal(erased.occlusion, hits)
    assert erase(pair._replace(occlusion=None), [Box(0, 0, 9, 9)]).occlusion is None


@pytest.mark.parametrize(
    ("name", "factor"),
    [(name, factor) for name in ("brightness", "contrast", "saturation") for factor in (0.6, 1.4)]
    + [("hue", turn) for turn in (0.159, -0.159, 0.5, 0.0)],
)
def test_each_change_of_colour_is_torchvisions(name: str, factor: float) -> None:
    picture = torch.rand(1, 3, 40, 50)
    picture[..., :10, :10], picture[..., 10:20, :10] = 0.0, 0.5
    changed = change_colour(picture, ColourChange(1.0, 1.0, 1.0, 0.0)._replace(**{name: factor}))
    expected = getattr(torchvision_functional, f"adjust_{name}")(picture, factor)
    assert torch.allclose(changed, expected, atol=1e-4)  # torchvision rounds the weights of grey
    assert (name, factor) == ("hue", 0.0) or not torch.allclose(changed, picture, atol=0.01)

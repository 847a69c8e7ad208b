"""What is drawn to change a pair comes from the whole range that was asked for, and RAFT's numbers are RAFT's."""

import math
from dataclasses import replace

import pytest
from tiny_run import NOTHING

from flowgru.config import STAGES, AugmentationSettings
from flowgru.data.augmentation.augment import draw_corner, draw_size
from flowgru.data.augmentation.photometric import draw_boxes, draw_colour_change
from flowgru.data.draws import Draws
from flowgru.errors import RequestError


def test_boxes_have_the_drawn_sides() -> None:
    drawn = [draw_boxes(Draws(0, index), NOTHING, 300, 400) for index in range(500)]
    assert {len(boxes) for boxes in drawn} == {1, 2}
    sides = [side for boxes in drawn for box in boxes for side in box[2:]]
    assert min(sides) == 50 and max(sides) == 99


def test_changes_of_colour_are_drawn_from_their_whole_range_and_in_any_order() -> None:
    settings = STAGES["chairs"][0].augmentation
    drawn = [draw_colour_change(Draws(0, index), settings) for index in range(2000)]
    for name in ("brightness", "contrast", "saturation"):
        factors = [getattr(change, name) for change in drawn]
        assert 0.6 <= min(factors) < 0.61 and 1.39 < max(factors) <= 1.4
    hues = [change.hue for change in drawn]
    assert -0.5 / 3.14 <= min(hues) < -0.157 and 0.157 < max(hues) <= 0.5 / 3.14
    assert len({change.order for change in drawn}) == 24


def test_scales_are_drawn_from_their_whole_range_and_as_often_as_asked() -> None:
    settings = replace(STAGES["chairs"][0].augmentation, height=100, width=100)
    sizes = [draw_size(Draws(0, index), settings, 1000, 2000) for index in range(4000)]
    scaled = [(height / 1000, width / 2000) for height, width in sizes if (height, width) != (1000, 2000)]
    stretched = [math.log2(vertical / horizontal) for vertical, horizontal in scaled]
    assert 0.77 < len(scaled) / len(sizes) < 0.83
    assert 0.77 < sum(abs(ratio) > 2e-3 for ratio in stretched) / len(scaled) < 0.83
    assert 0.35 < max(stretched) < 0.402 and -0.402 < min(stretched) < -0.35
    exponents = [math.log2(vertical * horizontal) / 2 for vertical, horizontal in scaled]
    assert -0.3 < min(exponents) < -0.1 and 1.0 < max(exponents) < 1.2
    alike = [draw_size(Draws(0, index), replace(settings, stretching=0.0), 1000, 2000) for index in range(2000)]
    exponents = [math.log2(height / 1000) for height, width in alike if width != 2000]
    assert -0.101 < min(exponents) < -0.095 and 0.995 < max(exponents) < 1.001
    assert all(abs(width - 2 * height) <= 1 for height, width in alike)


@pytest.mark.parametrize(("sparse", "spare"), [(False, 8), (True, 1)])
def test_pictures_smaller_than_the_crop_are_enlarged(sparse: bool, spare: int) -> None:
    settings = AugmentationSettings(200, 300, log2_scale=(-2.0, -1.0), stretching=0.0, sparse=sparse)
    for scaling in (0.0, 1.0):
        small = draw_size(Draws(0, 0), replace(settings, scaling=scaling), 50, 100)
        assert small == (200 + spare, round((200 + spare) / 50 * 100))
    assert draw_size(Draws(0, 0), replace(settings, scaling=0.0), 200, 300) == (200, 300)


def test_sparse_crops_prefer_the_bottom_and_both_sides() -> None:
    dense, sparse = NOTHING, replace(NOTHING, sparse=True)
    corners = {
        s: [draw_corner(Draws(0, index), s, 144 + 40, 176 + 100) for index in range(3000)] for s in (dense, sparse)
    }
    tops, lefts = zip(*corners[dense], strict=True)
    assert set(tops) == set(range(41)) and set(lefts) == set(range(101))
    tops, lefts = zip(*corners[sparse], strict=True)
    assert abs(tops.count(40) / 3000 - 21 / 61) < 0.04 and min(tops) == 0
    assert abs(lefts.count(0) / 3000 - 51 / 201) < 0.04 and abs(lefts.count(100) / 3000 - 51 / 201) < 0.04


def test_the_stages_have_rafts_published_numbers() -> None:
    sets = {(stage, part.name): part for stage, parts in STAGES.items() for part in parts}
    numbers = {
        key: (part.repeats, part.augmentation.log2_scale, part.augmentation.height, part.augmentation.width)
        for key, part in sets.items()
    }
    assert numbers == {
        ("chairs", "chairs_train"): (1, (-0.1, 1.0), 368, 496),
        ("things", "things_clean"): (1, (-0.4, 0.8), 400, 720),
        ("things", "things_final"): (1, (-0.4, 0.8), 400, 720),
        ("sintel", "sintel_clean"): (100, (-0.2, 0.6), 368, 768),
        ("sintel", "sintel_final"): (100, (-0.2, 0.6), 368, 768),
        ("sintel", "kitti2015"): (200, (-0.3, 0.5), 368, 768),
        ("sintel", "hd1k"): (5, (-0.5, 0.2), 368, 768),
        ("sintel", "things_clean"): (1, (-0.2, 0.6), 368, 768),
        ("kitti", "kitti2015"): (1, (-0.2, 0.4), 288, 960),
    }
    for (stage, name), part in sets.items():
        settings, sparse = part.augmentation, name in ("kitti2015", "hd1k")
        assert settings.sparse == sparse
        assert settings.scaling == 0.8 and settings.erasing == 0.5
        assert settings.eraser_boxes == (1, 2) and settings.eraser_sides == (50, 100)
        assert settings.horizontal_flip == (0.0 if stage == "kitti" else 0.5)
        assert settings.brightness == settings.contrast == settings.saturation == (0.3 if sparse else 0.4)
        assert settings.hue == (0.3 if sparse else 0.5) / 3.14
        if sparse:
            assert settings.stretching == settings.vertical_flip == settings.asymmetric == 0.0
        else:
            assert (settings.stretching, settings.log2_stretch) == (0.8, 0.2)
            assert (settings.vertical_flip, settings.asymmetric) == (0.1, 0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"log2_scale": (1.0, 0.0)},
        {"scaling": 1.5},
        {"brightness": -0.1},
        {"hue": 0.6},
        {"eraser_sides": (5, 5)},
        {"eraser_boxes": (2, 1)},
        {"log2_stretch": -1.0},
    ],
)
def test_settings_that_cannot_be_drawn_from_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong)).replace("height", "crop")):
        replace(NOTHING, **wrong)

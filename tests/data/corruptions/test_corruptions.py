"""Twelve corruptions spoil both frames of a pair: seeded, alike where the world makes it so, in any size and depth."""

import numpy as np
import pytest

from flowgru.config.evaluation.corruptions import CORRUPTION_NAMES
from flowgru.data.corruptions.pairs import CORRUPTIONS, corrupt_pair
from flowgru.errors import RequestError

STILL = ("defocus_blur", "motion_blur", "brightness", "contrast", "fog", "jpeg", "pixelate")
FRESH = ("gaussian_noise", "shot_noise", "impulse_noise", "rain")


def picture(height: int, width: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Smooth colours with some structure, at every size."""
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.4 * np.sin(x / 7 + channel + seed) * np.cos(y / 5 + channel) for channel in range(3)]
    return np.round(np.stack(waves, axis=2) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 2), (16, 16)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_and_depth_stays_as_it_is(name, size, dtype):
    height, width = size
    first, second = picture(height, width, dtype), picture(height, width, dtype, seed=1)
    for severity in (1, 2, 3):
        for spoiled in corrupt_pair(first, second, name, severity):
            assert spoiled.shape == first.shape and spoiled.dtype == dtype


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_each_severity_is_further_from_the_clean_picture(name):
    first, second = picture(96, 128), picture(96, 128, seed=1)
    levels = [np.stack(corrupt_pair(first, second, name, severity)).astype(float) for severity in (1, 2, 3)]
    away = [np.abs(level - np.stack([first, second])).mean() for level in levels]
    assert 0.1 < away[0] < away[1] < away[2]


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_the_depth_changes_nothing_but_the_steps(name):
    first, second = picture(48, 64), picture(48, 64, seed=1)
    flat = corrupt_pair(first, second, name)
    deep = corrupt_pair(first.astype(np.uint16) * 257, second.astype(np.uint16) * 257, name)
    for one, two in zip(deep, flat, strict=True):
        assert np.abs(one / 257 - two).max() < 0.51


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_a_seed_gives_the_same_pair_and_another_one_another(name):
    first, second = picture(48, 64), picture(48, 64, seed=1)
    one, again, other = (np.stack(corrupt_pair(first, second, name, 2, seed)) for seed in (5, 5, 6))
    assert (one == again).all()
    drawn = name in (*FRESH, "fog", "motion_blur")
    assert (one != other).any() == drawn


@pytest.mark.parametrize("name", STILL)
def test_what_lies_still_is_alike_in_both_frames(name):
    first, second = corrupt_pair(picture(48, 64), picture(48, 64), name)
    assert (first == second).all()


@pytest.mark.parametrize("name", FRESH)
def test_what_changes_from_frame_to_frame_is_not(name):
    first, second = corrupt_pair(picture(48, 64), picture(48, 64), name)
    assert (first != second).mean() > 0.02


def test_rain_falls():
    """The streaks of the second frame are those of the first, further down by one step for all of one nearness."""
    black = np.zeros((240, 320, 3), np.uint8)
    first, second = (each[..., 0].astype(float) for each in corrupt_pair(black, black, "rain", 1, seed=3))
    shifted = [np.corrcoef(first.ravel(), np.roll(second, -fall, axis=0).ravel())[0, 1] for fall in range(0, 60)]
    assert max(range(60), key=shifted.__getitem__) > 8 and shifted[0] < max(shifted)


def test_a_clip_is_encoded_as_a_whole():
    """With the frame before it the second frame is stored as what has changed: another picture than alone."""
    first, second = picture(96, 128), picture(96, 128, seed=1)
    together = corrupt_pair(first, second, "h264", 3)[1]
    alone = corrupt_pair(second, second, "h264", 3)[0]
    assert (together != alone).any()


def test_the_pictures_given_stay_as_they_are():
    first, second = picture(20, 20), picture(20, 20, seed=1)
    kept = first.copy(), second.copy()
    for name in CORRUPTIONS:
        corrupt_pair(first, second, name, 3)
    assert (first == kept[0]).all() and (second == kept[1]).all()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "fogg"}, "unknown corruption 'fogg': did you mean 'fog'?"),
        ({"severity": 4}, "the severity is 4: expected one of 1, 2, 3"),
        ({"first": np.zeros((4, 4, 3))}, "the first picture is float64"),
        ({"first": np.zeros((0, 4, 3), np.uint8)}, "the first picture is uint8"),
        ({"second": picture(5, 4)}, "must have one size and depth"),
    ],
)
def test_what_is_no_pair_and_no_corruption_is_one_line(change, said):
    given = {"first": picture(4, 4), "second": picture(4, 4), "name": "fog", "severity": 2, **change}
    with pytest.raises(RequestError, match=said.replace("?", "\\?")) as caught:
        corrupt_pair(**given)
    assert "\n" not in str(caught.value)

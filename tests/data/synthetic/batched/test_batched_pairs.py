"""Pairs that are painted many at once are those that are painted one by one, up to rounding."""

import io
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from flowgru.config import StartShares, SyntheticSettings
from flowgru.data.starts import StartedPairs
from flowgru.data.synthetic.batched import batch as batch_module
from flowgru.data.synthetic.batched.batch import Contents, DrawnBatch, DrawnPairs, PaintedBatch
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.reuse import ReusedPairs

CPU = torch.device("cpu")
SMALL = SyntheticSettings(height=72, width=104, num_textures=8, photos="skimage", patterns=0.25)
KINDS = {
    "usual": SMALL,
    "motion blur": replace(SMALL, motion_blur=1.0),
    "fog": replace(SMALL, fog=1.0),
    "thin": replace(SMALL, thin=1.0),
    "untextured": replace(SMALL, untextured=0.6),
    "holes": replace(SMALL, holes=1.0),
    "plain": replace(SMALL, plain=1.0),
    "rigid": replace(SMALL, rigid=1.0),
    "grey": replace(SMALL, grey=0.5),
    "still": replace(SMALL, static_share=1.0),
    "unbent": replace(SMALL, nonrigidity=0.0),
    "of nothing but layers": replace(SMALL, colour=0.0, shadow=0.0, blur=0.0, noise=0.0),
    "backgrounds": replace(SMALL, layers=(0, 0)),
    "large and far": replace(SMALL, height=101, width=187, speed=(30.0, 60.0), radius=(0.3, 1.5)),
}
"""Every kind of content that can be asked for, each alone."""

FEW = 1e-4
"""Share of the pixels at which half of a layer's edge, to the last bit, may decide in another way."""


def painted(pairs: DrawnPairs, indices: range) -> PaintedBatch:
    return DrawnBatch.of([pairs[index] for index in indices], pairs.pairs.settings).painted(CPU)


def assert_alike(found: PaintedBatch, expected: list) -> None:
    """To a thousandth of a pixel and half a level, but for FEW of the pixels."""
    flow, occlusion = (torch.stack([getattr(each, name) for each in expected]) for name in ("flow", "occlusion"))
    pictures = torch.stack([torch.stack((each.first, each.second)) for each in expected])
    off = (found.flow - flow).abs().amax(dim=1) > 1e-3
    assert off.float().mean() <= FEW
    assert (found.occlusion != occlusion).float().mean() <= FEW
    levels = ((found.pictures - pictures).abs() * 255).amax(dim=2)
    assert (levels > 1.5).float().mean() <= FEW and (levels > 0.5).float().mean() < 0.005
    assert torch.equal((found.pictures * 255).round() / 255, found.pictures)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_flow_and_occlusion_are_those_of_single_pairs(kind):
    pairs = SyntheticPairs(KINDS[kind])
    drawn = DrawnPairs(pairs, uses=1, shares=StartShares(), seed=0)
    indices = range(8, 14)  # some of the plain ones fade, some are drawn
    assert_alike(painted(drawn, indices), [pairs[index] for index in indices])


def test_a_pair_does_not_depend_on_the_others_of_its_batch():
    drawn = DrawnPairs(
        SyntheticPairs(replace(SMALL, motion_blur=0.5, fog=0.5, plain=0.3)), uses=1, shares=StartShares(), seed=0
    )
    together, alone = painted(drawn, range(5)), painted(drawn, range(3, 4))
    for name, value in alone._asdict().items():
        assert torch.allclose(getattr(together, name)[3].float(), value[0].float(), atol=1.5 / 255), name
    again = painted(drawn, range(5))
    assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))


def test_a_batch_of_many_pixels_is_painted_in_parts(monkeypatch):
    drawn = DrawnPairs(SyntheticPairs(replace(SMALL, motion_blur=0.5)), uses=1, shares=StartShares(), seed=0)
    whole = painted(drawn, range(6))
    monkeypatch.setattr(batch_module, "MAX_PIXELS", 5 * 72 * 104)
    samples = [drawn[index] for index in range(6)]
    parts = Contents.of(samples, SMALL.height, SMALL.width).parts
    assert 3 <= len(parts) <= 6 and sum(len(tables.backgrounds) for tables, _ in parts) == 6
    in_parts = painted(drawn, range(6))
    assert torch.allclose(whole.flow, in_parts.flow, atol=1e-3)


@pytest.mark.parametrize("uses", [2, 4])
def test_pairs_that_are_used_again_are_painted_once_and_mirrored_alike(uses):
    pairs = SyntheticPairs(SMALL, length=4)
    drawn, one_by_one = DrawnPairs(pairs, uses=uses, shares=StartShares(), seed=5), ReusedPairs(pairs, uses, seed=5)
    assert len(drawn) == len(one_by_one)
    indices = range(1, 1 + 2 * uses)
    samples, expected = [drawn[index] for index in indices], [one_by_one[index] for index in indices]
    parts = Contents.of(samples, SMALL.height, SMALL.width).parts
    assert sum(len(tables.backgrounds) for tables, _ in parts) == 3
    batch = DrawnBatch.of(samples, SMALL)
    assert batch.names == [sample.name for sample in expected]
    assert_alike(batch.painted(CPU), expected)


def test_starts_at_true_flow_have_the_same_error_and_those_of_dis_are_left_open():
    shares = StartShares(zero=0.25, dis=0.2, dis_fast=0.05, truth=0.5)
    pairs = SyntheticPairs(SMALL, length=24)
    drawn = DrawnPairs(pairs, uses=1, shares=shares, seed=3)
    batch = DrawnBatch.of([drawn[index] for index in range(24)], SMALL)
    found = batch.painted(CPU)
    started = StartedPairs(pairs, shares, seed=3)
    assert set(batch.starts) == {"zero", "dis", "dis_fast", "truth"}
    for index, kind in enumerate(batch.starts):
        if kind == "truth":
            expected = started[index].initial_flow
            assert expected is not None
            off = (found.start[index] - expected).abs().amax(dim=0) > 2e-3
            assert off.float().mean() <= 10 * FEW
        else:
            assert not found.start[index].any()


def test_a_batch_is_handed_over_in_three_tensors_and_is_whole_after_torch_has_pinned_it(monkeypatch):
    drawn = DrawnPairs(
        SyntheticPairs(replace(SMALL, motion_blur=0.5)), uses=2, shares=StartShares(zero=0.5, truth=0.5), seed=0
    )
    batch = DrawnBatch.of([drawn[index] for index in range(5)], SMALL)
    expected, pinned = batch.painted(CPU), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor) or tensor)
    found: Any = pin_memory(batch)
    assert [each.dtype for each in pinned] == [torch.float32, torch.int64, torch.bool]
    assert all(torch.equal(one, other) for one, other in zip(found.painted(CPU), expected, strict=True))
    sent = io.BytesIO()
    ForkingPickler(sent).dump(batch)
    assert len(sent.getvalue()) < 100_000

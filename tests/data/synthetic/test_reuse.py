"""A generated pair that is used again is another view of the same collage, with flow that is as exact."""

from dataclasses import replace

import pytest
import torch
from tiny_run import TINY

from flowgru.config import SyntheticSettings, TrainConfig
from flowgru.config.training import MAX_USES
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.reuse import ReusedPairs
from flowgru.errors import RequestError
from flowgru.grid import backward_warp
from flowgru.training.feeding.pairs import described, training_pairs

SETTINGS = SyntheticSettings(
    height=96, width=128, photos=None, num_textures=4, colour=0.0, noise=0.0, shadow=0.0, blur=0.0
)


def unlike(sample) -> float:
    """How far the second picture, brought back by the flow, is from the first, where nothing hides it."""
    warped, inside = backward_warp(sample.second[None], sample.flow[None])
    seen = inside[0] & ~sample.occlusion
    return (warped[0] - sample.first).abs().mean(0)[seen].mean().item()


def test_each_pair_comes_as_it_is_and_then_mirrored_each_time_another_way():
    pairs = SyntheticPairs(SETTINGS, length=2)
    reused = ReusedPairs(pairs, MAX_USES, seed=3)
    assert len(reused) == 2 * MAX_USES
    for number in range(2):
        plain, *others = (reused[MAX_USES * number + use] for use in range(MAX_USES))
        assert torch.equal(plain.first, pairs[number].first) and torch.equal(plain.flow, pairs[number].flow)
        lengths = [plain.flow.norm(dim=0), *(other.flow.norm(dim=0) for other in others)]
        ways = {
            axes for axes in ((1,), (0,), (0, 1)) for found in lengths[1:] if torch.equal(lengths[0].flip(axes), found)
        }
        assert len(ways) == 3 and len({other.name for other in (plain, *others)}) == MAX_USES
        for other in others:
            assert unlike(other) < 2 * unlike(plain) + 0.01
            assert torch.equal((other.first * 255).round() / 255, other.first) and not other.first.equal(plain.first)


def test_it_is_a_function_of_seed_and_index_alone():
    reused, again = (ReusedPairs(SyntheticPairs(SETTINGS, length=9), 2, seed=3) for _ in range(2))
    in_order = [reused[index] for index in range(4)]
    for index in (3, 1, 2, 0):
        found = again[index]
        assert torch.equal(found.first, in_order[index].first) and torch.equal(found.flow, in_order[index].flow)
    other = ReusedPairs(SyntheticPairs(SETTINGS, length=9), 2, seed=4)
    assert not torch.equal(other[1].first, in_order[1].first) and torch.equal(other[0].first, in_order[0].first)


def test_a_pair_is_made_once_for_all_its_uses():
    made = []

    class Counted(SyntheticPairs):
        def __getitem__(self, index):
            made.append(index)
            return super().__getitem__(index)

    reused = ReusedPairs(Counted(SETTINGS, length=9), 2, seed=0)
    for index in range(6):
        reused[index]
    assert made == [0, 1, 2]


def test_a_training_may_use_its_generated_pairs_twice():
    pairs = training_pairs(replace(TINY, steps=5, batch_size=1, uses=2))
    assert isinstance(pairs, ReusedPairs) and len(pairs) == 6
    assert described(pairs) == "generated pairs of 128x128 px (height x width), each used 2 times"
    assert isinstance(training_pairs(TINY), SyntheticPairs)


@pytest.mark.parametrize("wrong", [{"uses": 0}, {"uses": 5}, {"uses": 2, "stage": "chairs"}])
def test_other_uses_are_refused(wrong):
    with pytest.raises(RequestError, match=r"^uses is \d: it must be "):
        TrainConfig(**wrong)

"""The pairs of generated clips: exact flow, one light, and the same whatever was asked for before."""

from dataclasses import replace

import pytest
import torch

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.clip import PairsOfClips, _bent_less
from flowgru.data.synthetic.rendering import pixel_grid
from flowgru.data.synthetic.scene import Scene, after
from flowgru.errors import RequestError
from flowgru.grid import backward_warp

SETTINGS = SyntheticSettings(height=64, width=80, seed=3, num_textures=4, clip_frames=4, speed=(2.0, 20.0))


def test_the_second_frame_of_a_pair_is_the_first_of_the_next_and_clips_are_apart():
    pairs = PairsOfClips(SETTINGS, length=6)
    samples = [pairs[index] for index in range(6)]
    assert len(pairs) == 6 and len({sample.name for sample in samples}) == 6
    goes_on = [torch.equal(samples[index].second, samples[index + 1].first) for index in range(5)]
    assert goes_on == [True, True, False, True, True]
    assert all(sample.valid.all() and sample.initial_flow is None for sample in samples)


def test_a_pair_is_a_function_of_its_index():
    in_order, alone = PairsOfClips(SETTINGS), PairsOfClips(SETTINGS)
    expected = [in_order[index] for index in range(5)]
    for index in (4, 0, 2):
        found = alone[index]
        assert torch.equal(found.first, expected[index].first) and torch.equal(found.flow, expected[index].flow)
    other = PairsOfClips(replace(SETTINGS, seed=4))[0]
    assert not torch.equal(other.first, expected[0].first)


def test_the_flow_leads_to_what_the_second_frame_shows():
    bare = replace(SETTINGS, colour=0.0, blur=0.0, noise=0.0, speed=(1.0, 4.0))
    pairs, medians = PairsOfClips(bare), []
    for index in range(6):
        sample = pairs[index]
        warped, inside = backward_warp(sample.second[None], sample.flow[None])
        difference = (warped[0] - sample.first).abs().mean(dim=0)[inside[0]]
        unmoved = (sample.second - sample.first).abs().mean(dim=0)[inside[0]]
        medians.append((difference.median().item(), unmoved.median().item()))
    assert all(moved < 0.04 for moved, _ in medians) and sum(u for _, u in medians) > 3 * sum(m for m, _ in medians)


def test_a_layer_bends_over_a_clip_as_far_as_over_a_pair():
    grid, num_bent = pixel_grid(64, 80, torch.device("cpu")), 0
    for index in range(8):
        for layer in Scene.draw(SETTINGS, index).layers:
            if layer.motion.waves is None:
                continue
            num_bent += 1
            motion = after(_bent_less(layer, 3).motion, 3)
            whole = layer.motion.waves.displacement(grid.flatten(1))
            assert motion.waves is not None
            torch.testing.assert_close(motion.waves.displacement(grid.flatten(1)), whole, rtol=1e-4, atol=1e-4)
            assert (motion.inverse(motion.forward(grid)) - grid).abs().max() < 0.01
    assert num_bent > 3


def test_no_clip_has_one_frame():
    with pytest.raises(RequestError, match=r"data\.clip_frames is 1: it must be 2 to 64"):
        replace(SETTINGS, clip_frames=1)


def test_a_clip_may_be_without_colour():
    grey = PairsOfClips(replace(SETTINGS, grey=1.0))[1]
    assert all(torch.equal(picture[:1].expand_as(picture), picture) for picture in (grey.first, grey.second))

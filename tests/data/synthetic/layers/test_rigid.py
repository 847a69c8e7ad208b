"""Rigid scenes: one move of the camera explains how all that stands moves, exactly, and what is nearer hides the rest."""

import math
from dataclasses import replace

import pytest
import torch

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers.rigid import Lens, draw_rigid_layers, draw_room, draw_things
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.textures import bank_of
from flowgru.grid import backward_warp

SMALL = SyntheticSettings(height=96, width=128, num_textures=8, rigid=1.0, static_share=0.0, speed=(2.0, 20.0))
CPU = torch.device("cpu")


def homographies(index):
    """Of the room's back and of every other layer of a scene, on the scale of depth."""
    layers, _ = draw_rigid_layers(Draws(0, index), SMALL, bank_of(SMALL, CPU))
    return [layer.motion.projection for layer in layers]


def test_the_second_picture_shows_what_the_flow_leads_to():
    clean = replace(SMALL, colour=0.0, shadow=0.0, blur=0.0, noise=0.0)
    errors, unmoved = [], []
    for index in range(12):
        sample = SyntheticPairs(clean)[index]
        back, inside = backward_warp(sample.second[None], sample.flow[None])
        seen = inside[0] & ~sample.occlusion  # pyright: ignore[reportOptionalOperand]
        errors.append((back[0] - sample.first).abs().mean(dim=0)[seen].mean().item())
        unmoved.append((sample.second - sample.first).abs().mean().item())
    assert sum(errors) < 0.15 * sum(unmoved)


def test_one_move_of_the_camera_explains_all_that_stands():
    """Homographies of standing planes differ by the epipole times a line: one column for all of them."""
    standing = total = 0
    for index in range(20):
        back, *others = homographies(index)
        epipoles = []
        for other in others:
            directions, sizes, _ = torch.linalg.svd(other - back)
            if sizes[1] < 1e-9 * sizes[0]:
                epipoles.append(directions[:, 0])
        assert all(abs(float(epipoles[0] @ epipole)) > 1 - 1e-9 for epipole in epipoles)
        standing, total = standing + len(epipoles), total + len(others)
    assert total > 100 and 0.6 * total < standing < 0.95 * total  # the others move by themselves


def test_what_stands_in_the_room_is_in_front_of_it_and_the_nearest_is_painted_last():
    for index in range(20):
        draws, lens = Draws(0, index), Lens(100.0, (64.0, 48.0))
        room = draw_room(draws, lens)
        nearness = []
        for thing in draw_things(draws, SMALL, lens, room, 0.0):
            assert thing.shape is not None and not thing.own_shift.any()
            ray = lens.ray(*thing.shape.centre)
            nearness.append(float(thing.plane @ ray))
            assert nearness[-1] > max(float(surface.plane @ ray) for surface in room) > 0
        assert nearness == sorted(nearness)


def test_each_plane_of_the_room_is_seen_where_it_is_the_nearest():
    ground_seen = 0
    for index in range(20):
        lens = Lens(100.0, (64.0, 48.0))
        room = draw_room(Draws(0, index), lens)
        for x in (3.0, 64.0, 125.0):
            for y in (3.0, 48.0, 93.0):
                depths = [float(surface.plane @ lens.ray(x, y)) for surface in room]
                place = torch.tensor([[x], [y]])
                alphas = [1.0 if each.shape is None else float(each.shape.alpha(place)) for each in room]
                on_top = max(number for number, alpha in enumerate(alphas) if alpha > 0.5)
                near_an_edge = sorted(depths)[-1] - sorted([0.0, *depths])[-2] < 0.02
                assert near_an_edge or depths[on_top] == max(depths)
                ground_seen += on_top > 0
    assert ground_seen > 40


def test_half_of_the_moves_lead_into_the_picture():
    inside = 0
    for index in range(80):
        back, *others = homographies(index)
        if not others:
            continue
        x, y, z = torch.linalg.svd(others[0] - back)[0][:, 0].tolist()
        inside += abs(z) > 1e-9 and 0 <= x / z <= 127 and 0 <= y / z <= 95
    assert 25 < inside < 60


def test_displacements_are_those_that_are_asked_for():
    lengths = []
    for index in range(40):
        flow = SyntheticPairs(SMALL)[index].flow
        lengths.append(flow.norm(dim=0).mean().item())
        assert flow.isfinite().all() and flow.norm(dim=0).max() < 1.5 * SMALL.furthest * math.hypot(96, 128)
    assert sum(length < 4 for length in lengths) > 5 and sum(length > 8 for length in lengths) > 5


@pytest.mark.parametrize("share, least, most", [(0.0, 0, 0), (0.5, 20, 60)])
def test_a_share_of_the_pairs_is_rigid(share, least, most):
    settings = replace(SMALL, rigid=share, nonrigidity=0.0)
    bank = bank_of(settings, CPU)
    drawn = [SyntheticPairs(settings).drawn(index, bank) for index in range(80)]
    cut_outs_in_perspective = [any(layer.motion.projection[2, :2].any() for layer in pair.layers[1:]) for pair in drawn]
    assert least <= sum(cut_outs_in_perspective) <= most


def test_pictures_without_colour_have_three_equal_channels():
    grey = SyntheticPairs(replace(SMALL, rigid=0.0, grey=1.0))[1]
    assert all(torch.equal(picture[:1].expand_as(picture), picture) for picture in grey[:2])
    colour = SyntheticPairs(replace(SMALL, rigid=0.0))[1]
    assert torch.equal(colour.flow, grey.flow) and (colour.first.mean(dim=0) - grey.first[0]).abs().mean() < 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"layers": (254, 254), "radius": (0.05, 0.1)},
        {"furthest": 1e-17},
        {"height": 16, "width": 16, "speed": (50.0, 60.0)},
        {"layers": (0, 0)},
    ],
    ids=["many layers", "no way to go", "tiny", "nothing in the room"],
)
def test_what_may_be_asked_for_can_be_drawn(change):
    settings = replace(SMALL, **change)
    for index in range(3):
        pairs = SyntheticPairs(settings)
        assert pairs[index].flow.isfinite().all()
        assert len(pairs.drawn(index, bank_of(settings, CPU)).layers) <= 256

"""What generated pairs can be asked for besides: motion blur, fog, plain pictures, wires, patterns and no texture."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers.collage import draw_layers, draw_plain_layers
from flowgru.data.synthetic.layers.shapes import Shape, draw_wires
from flowgru.data.synthetic.motion import Motion, about
from flowgru.data.synthetic.paint import draw_paint, flat_paint
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.photos import photo_paths
from flowgru.data.synthetic.rendering import Layer, render
from flowgru.data.synthetic.textures import SIDE, bank_of, pattern, texture_bank
from flowgru.errors import RequestError
from flowgru.grid import backward_warp

SMALL = SyntheticSettings(height=96, width=128, num_textures=8)
CPU = torch.device("cpu")
STILL = Motion(torch.eye(3, dtype=torch.float64))


def sliding(pixels: float) -> Motion:
    """To the right."""
    return Motion(about((0.0, 0.0), (pixels, 0.0)))


def test_a_long_exposure_is_the_mean_of_what_is_seen_on_the_way():
    paint = draw_paint(Draws(0, 0), texture_bank(0, 8, None, CPU))
    layers = [Layer(None, sliding(8.0), paint)]
    blurred = render(layers, 64, 96, CPU, exposure=0.5).pair
    for frame in range(2):
        way = [8 * (frame + moment) for moment in torch.linspace(-0.25, 0.25, 7).tolist()]
        seen = [render([Layer(None, sliding(pixels), paint)], 64, 96, CPU).pair[1] for pixels in way]
        torch.testing.assert_close(blurred[frame], torch.stack(seen).mean(dim=0), rtol=0, atol=1e-4)


def test_motion_blur_changes_no_flow_and_nothing_that_stands_still():
    shape = Shape((40.0, 32.0), 12.0, lambda x, y: 12 - torch.hypot(x, y))
    bank = texture_bank(0, 8, None, CPU)
    draws = Draws(0, 0)
    layers = [Layer(None, STILL, draw_paint(draws, bank)), Layer(shape, sliding(20.0), draw_paint(draws, bank))]
    sharp, blurred = render(layers, 64, 96, CPU), render(layers, 64, 96, CPU, exposure=0.4)
    assert torch.equal(sharp.flow, blurred.flow) and torch.equal(sharp.occlusion, blurred.occlusion)
    difference = (sharp.pair - blurred.pair).abs().amax(dim=1)
    assert difference[0, 26:38, 26:54].mean() > 0.02 and difference[1, 26:38, 46:74].mean() > 0.02
    assert difference[0, :, 60:].max() < 1e-6 and difference[1, :, :38].max() < 1e-6 and difference[:, :16].max() < 1e-6


def test_blurred_pairs_still_match_where_the_flow_leads():
    settings = replace(SMALL, motion_blur=1.0, colour=0.0, shadow=0.0, blur=0.0, noise=0.0, nonrigidity=0.3)
    errors, unmoved = [], []
    for index in range(4):
        sample = SyntheticPairs(settings)[index]
        back, inside = backward_warp(sample.second[None], sample.flow[None])
        seen = inside[0] & ~sample.occlusion  # pyright: ignore[reportOptionalOperand]
        errors.append((back[0] - sample.first).abs().mean(dim=0)[seen].mean())
        unmoved.append((sample.second - sample.first).abs().mean(dim=0)[seen].mean())
    assert torch.stack(errors).mean() < 0.35 * torch.stack(unmoved).mean()


def test_fog_lies_still_and_hides_contrast():
    still = replace(SMALL, static_share=1.0, colour=0.0, shadow=0.0, blur=0.0, noise=0.0)
    contrast = {0.0: [], 1.0: []}
    for fog, found in contrast.items():
        for index in range(24):
            sample = SyntheticPairs(replace(still, fog=fog))[index]
            found.append(sample.first.diff(dim=2).abs().mean().item())
            if not sample.flow.any():
                assert torch.equal(sample.first, sample.second)
    assert sum(contrast[1.0]) < 0.75 * sum(contrast[0.0])


def test_plain_pairs_have_a_still_background_of_one_colour_and_some_are_empty_or_fade():
    empty = fades = still = 0
    for index in range(60):
        sample = SyntheticPairs(replace(SMALL, plain=1.0))[index]
        flat = [bool((picture == picture[:, :1, :1]).all()) for picture in (sample.first, sample.second)]
        if all(flat):
            empty += 1
            fades += not torch.equal(sample.first, sample.second)
            assert not sample.flow.any()
        still += not sample.flow.any()
        assert (sample.flow.norm(dim=0) == 0).float().mean() > 0.02  # the background shows somewhere
    assert 4 <= empty <= 20 and 2 <= fades < empty and empty < still < 55


def test_a_plain_pair_shows_where_its_cut_outs_move():
    settings = replace(SMALL, plain=1.0, nonrigidity=1.0)
    bank, kinds = bank_of(settings, CPU), []
    for number in range(200):
        (background, *cut_outs), _ = draw_plain_layers(Draws(7, number), settings, bank)
        for layer in cut_outs:
            flat = not layer.paint.mix.any()
            kinds.append((flat, layer.motion.waves is not None))
            assert not (flat and layer.paint.offset.equal(background.paint.offset))
    assert {*kinds} == {(True, False), (False, False), (False, True)}


def test_one_colour_is_one_colour_everywhere():
    colour = torch.tensor([[0.2], [0.5], [1.0]])
    assert torch.equal(flat_paint(colour).colour(100 * torch.randn(2, 5, 7)), colour[..., None].expand(3, 5, 7))


def test_wires_are_long_and_thin():
    line = torch.linspace(-60, 60, 241)
    y, x = torch.meshgrid(line, line, indexing="ij")
    for index in range(20):
        inside = draw_wires(Draws(1, index), 60.0)(x, y) > 0
        core = F.max_pool2d((~inside)[None].float(), 11, stride=1, padding=5)[0] < 1  # 5 px and more from every edge
        assert inside.any() and not core.any()
        where = inside.nonzero()
        assert (where.amax(dim=0) - where.amin(dim=0)).max() > 120  # half a pixel each: 60 px


def test_untextured_cut_outs_are_large_gently_shaded_and_move_without_bending():
    settings = replace(SMALL, untextured=0.5, layers=(6, 6), static_share=0.0)
    bank, strengths = bank_of(settings, CPU), []
    for index in range(40):
        for layer in draw_layers(Draws(0, index), settings, bank)[0]:
            if layer.paint.texture is not bank.shades[0][0]:
                continue
            assert layer.shape is not None and 0.3 * 96 <= layer.shape.radius <= 0.6 * 96 and layer.motion.waves is None
            left, top, right, bottom = layer.shape.box
            points = torch.stack(torch.meshgrid(torch.arange(left, right), torch.arange(top, bottom), indexing="xy"))
            colours = layer.paint.colour(points)
            strengths.append((colours.amax((1, 2)) - colours.amin((1, 2))).max().item())
            assert colours.diff(dim=2).abs().max() < 0.02 and colours.diff(dim=1).abs().max() < 0.02
            assert colours.min() >= -0.15 and colours.max() <= 1.15
    assert 90 <= len(strengths) <= 150  # half of 6 in each of 40 pairs
    flat = sum(strength < 1e-6 for strength in strengths)
    assert 0.15 < flat / len(strengths) < 0.45 and 0.1 < max(strengths) <= 0.25


def test_a_pattern_repeats_its_patch():
    patches = list(texture_bank(0, 8, None, CPU).made)
    repeated = []
    for index in range(20):
        made = pattern(Draws(0, index), [patch[0][0] for patch in patches])
        spectrum = torch.fft.rfft(made.mean(dim=0) - made.mean()).abs().square().mean(dim=0)
        # All of a row that repeats every `side` px lies at multiples of its frequency; of any other row, side / SIDE.
        shares = [spectrum[:: SIDE // side].sum() / spectrum.sum() for side in (12, 16, 24, 32, 48, 64, 96)]
        repeated.append(max(shares).item())
    assert sum(share > 0.9 for share in repeated) >= 15  # in the others, grain outweighs a patch of hardly any contrast


def test_wires_and_patterns_are_drawn_only_where_asked_for():
    def shapes(settings):
        layers = [
            layer for index in range(30) for layer in draw_layers(Draws(0, index), settings, bank_of(settings, CPU))[0]
        ]
        return [layer.shape for layer in layers if layer.shape is not None]

    def large(settings):
        drawn = shapes(settings)
        return sum(shape.radius > 28 for shape in drawn) / len(drawn)

    assert large(replace(SMALL, thin=0.5)) > 1.3 * large(SMALL)
    assert len(texture_bank(0, 8, None, CPU, 4).made) == 12 and len(texture_bank(0, 8, None, CPU).made) == 8


def test_what_is_not_asked_for_changes_no_pair():
    everything_off = replace(SMALL, motion_blur=0.0, fog=0.0, plain=0.0, thin=0.0, patterns=0.0, untextured=0.0)
    everything_off = replace(everything_off, rigid=0.0, grey=0.0)
    assert torch.equal(SyntheticPairs(everything_off)[3].first, SyntheticPairs(SMALL)[3].first)
    # As of before these kinds: levels summed over a picture, which another draw changes. Processors differ in a few levels.
    levels = [int((SyntheticPairs(SMALL)[index].first.double() * 255).sum().round()) for index in range(4)]
    assert abs(levels[3] - 2_740_880) < 10
    assert all(abs(levels[3] - other) > 5_000 for other in levels[:3])


def test_photographs_may_come_from_several_places(tmp_path):
    from flowgru.data.formats.images import write_image

    write_image(tmp_path / "own.png", torch.zeros(20, 20, 3, dtype=torch.uint8).numpy())
    assert (
        photo_paths(f"skimage, {tmp_path}")[-1] == tmp_path / "own.png" and len(photo_paths(f"skimage,{tmp_path}")) > 2
    )
    with pytest.raises(RequestError, match="'nowhere' is no folder"):
        photo_paths("skimage,nowhere")


@pytest.mark.parametrize("name", ["motion_blur", "fog", "plain", "thin", "rigid", "grey", "patterns", "untextured"])
def test_shares_are_from_0_to_1(name):
    with pytest.raises(RequestError, match=f"data.{name} is 1.5"):
        replace(SMALL, **{name: 1.5})

"""The errors of parts of pictures are those of their pixels, and an area without texture is known exactly."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comparisons import TINY

from flowgru.comparison.errors import DEPTHS, PARTS, measure_errors
from flowgru.comparison.runs import measured_pairs
from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.rendering import layers_on_top, render
from flowgru.data.synthetic.textures import bank_of
from flowgru.data.synthetic.untextured import untextured_depth
from flowgru.model.flow_network import FlowNetwork

CPU = torch.device("cpu")
LARGE = SyntheticSettings(
    height=192, width=256, num_textures=4, untextured=0.5, layers=(5, 5), radius=(0.1, 0.8), speed=(40.0, 40.0),
    static_share=0.0, still_background_share=0.0,
)  # fmt: skip


def test_the_error_of_a_part_is_that_of_all_its_pixels(monkeypatch):
    config = replace(
        TINY, training=replace(TINY.training, data=LARGE), test=replace(TINY.test, pairs=3, height=192, width=256)
    )
    pairs = measured_pairs(config, "synthetic")
    assert isinstance(pairs, SyntheticPairs)
    network = FlowNetwork(NetworkConfig())
    zero = torch.zeros(1, 2, 192, 256)
    monkeypatch.setattr(
        network, "forward", lambda *_, **__: SimpleNamespace(flows=[zero, zero + 3, zero + torch.nan, zero + torch.inf])
    )
    found = measure_errors(network, pairs, (1, 2, 3, 4), "sintel")
    samples = [pairs[index] for index in range(3)]
    lengths = torch.stack([sample.flow.norm(dim=0) for sample in samples]).double()
    depth = torch.stack([untextured_depth(pairs, index) for index in range(3)])
    deep = [depth >= least for least in DEPTHS]
    assert deep[0].any()
    masks = (lengths < 10, (lengths >= 10) & (lengths < 40), lengths >= 40, *deep)
    for name, mask in zip(PARTS, masks, strict=True):
        if not mask.any():
            assert (name, 1) not in found
            continue
        assert found[name, 1] == pytest.approx(lengths[mask].mean().item(), rel=1e-6)
        assert found[name, 2] == pytest.approx(
            torch.stack([(sample.flow - 3).norm(dim=0) for sample in samples])[mask].mean().item(), rel=1e-5
        )
        assert found[name, 3] == found[name, 4] == torch.inf
    assert found["epe_per_image", 1] == pytest.approx(lengths.mean().item(), rel=1e-6)
    assert found["epe_per_image", 3] == found["epe_per_image", 4] == torch.inf


def test_a_part_without_pixels_has_no_error(monkeypatch):
    pairs = SyntheticPairs(replace(LARGE, untextured=0.0, static_share=1.0), length=2)
    network = FlowNetwork(NetworkConfig())
    monkeypatch.setattr(network, "forward", lambda *_, **__: SimpleNamespace(flows=[torch.zeros(1, 2, 192, 256)]))
    assert {name for name, _ in measure_errors(network, pairs, (1,), "sintel")} == {"epe_per_image", "epe_s0_10"}


def test_the_depth_of_an_area_without_texture_is_the_distance_to_its_edge():
    settings = replace(LARGE, colour=0.0, shadow=0.0, blur=0.0, noise=0.0)
    pairs, bank = SyntheticPairs(settings), bank_of(settings, CPU)
    num_deep = 0
    for index in range(4):
        depth, layers = untextured_depth(pairs, index), pairs.drawn(index, bank).layers
        tops = layers_on_top(layers, 192, 256, CPU)
        shaded = torch.tensor([layer.paint.texture is bank.shades[0][0] for layer in layers])[tops.long()]
        assert torch.equal(depth > 0, shaded)
        picture, inside = pairs[index].first, depth > 6  # an antialiased edge is wider than a pixel
        for axis in (1, 2):
            slope = picture.diff(dim=axis).abs().amax(dim=0)
            flat = inside.narrow(axis - 1, 1, slope.shape[axis - 1])
            assert slope[flat].max() < 0.02 if flat.any() else True
        rows, columns = np.nonzero((depth >= 20).numpy())
        num_deep += len(rows)
        for row, column in list(zip(rows, columns, strict=True))[::500]:
            others = torch.stack(torch.nonzero(tops != tops[row, column], as_tuple=True)).double()
            nearest = (others - torch.tensor([[row], [column]])).norm(dim=0).min()
            assert depth[row, column].item() == pytest.approx(nearest.item(), abs=1e-3)
    assert num_deep > 1000


def test_the_layers_on_top_are_those_that_are_painted():
    pairs, bank = SyntheticPairs(LARGE), bank_of(LARGE, CPU)
    for index in range(3):
        layers = pairs.drawn(index, bank).layers
        numbered = [
            layer._replace(paint=layer.paint._replace(mix=torch.zeros(3, 3), offset=torch.full((3, 1), float(number))))
            for number, layer in enumerate(layers)
        ]
        tops = layers_on_top(layers, 192, 256, CPU)
        painted = render(numbered, 192, 256, CPU).pair[0, 0]
        assert (painted.round() == tops).float().mean() > 0.97  # but for their antialiased edges

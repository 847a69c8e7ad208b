"""A generated scene at any time and size: what its points do is exact."""

import math

import pytest
import torch

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.layers.shapes import Shape
from flowgru.data.synthetic.motion import Motion, Waves
from flowgru.data.synthetic.rendering import Layer, pixel_grid
from flowgru.data.synthetic.scene import Scene

SETTINGS = SyntheticSettings(
    height=48, width=64, seed=7, layers=(3, 4), num_textures=4, static_share=0.0, still_background_share=0.0
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.draw(SETTINGS, 2)


def test_a_point_is_where_the_flow_leads(scene):
    first = scene.frame(0)
    grid = pixel_grid(48, 64, torch.device("cpu"))
    assert torch.equal(scene.places(first.tops, 0), grid)
    assert torch.allclose(scene.places(first.tops, 1), grid + first.flow, atol=1e-3)


def test_a_point_is_seen_while_its_layer_is_on_top_there(scene):
    first = scene.frame(0)
    places = scene.places(first.tops, 0)
    assert scene.seen(places, first.tops, first.tops).all()
    assert not scene.seen(places - 100, first.tops, first.tops).any()
    assert not scene.seen(places, first.tops, first.tops + 1).any()


def test_at_its_own_size_by_name_it_is_the_same(scene):
    own, named = scene.frame(3), scene.frame(3, (48, 64))
    assert all(torch.equal(one, other) for one, other in zip(own, named, strict=True))


def test_a_bent_layer_is_whole_however_often_it_has_moved(scene):
    """A disc that bends aside as a whole, by 5 px in each frame, is 20 px further after four."""
    waves = Waves(torch.tensor([[1e-4, 0.0]]), torch.tensor([[math.pi / 2]]), torch.tensor([[5.0], [0.0]]), reach=5.0)
    back, motion = scene.layers[0], Motion(torch.eye(3, dtype=torch.float64), waves)
    disc = Layer(Shape((12.0, 24.0), 4.3, lambda x, y: 4.3 - torch.hypot(x, y)), motion, back.paint)
    seen = [Scene([back, disc], 48, 64).frame(time).tops == 1 for time in (0, 4)]
    assert seen[0].sum() > 40 and torch.equal(seen[1][:, 20:], seen[0][:, :-20])

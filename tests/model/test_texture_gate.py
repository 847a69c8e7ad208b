"""Where a pair has no texture the flow stays where it began; where it has some, nothing is lost."""

import pytest
import torch

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.texture_gate import texture_of

GREY = 0.5


def uniform(level: float, height: int, width: int) -> torch.Tensor:
    return torch.full((1, 3, height, width), level)


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    """New weights: they say something everywhere, so that what does not move is held by the gate."""
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(texture_floor=0.05, texture_gate=True)).eval()
    last = network.flow_head[-1]
    assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
    torch.nn.init.ones_(last.bias)
    return network


@pytest.fixture(scope="module")
def without_gate(network) -> FlowNetwork:
    other = FlowNetwork(NetworkConfig(texture_floor=0.05)).eval()
    other.load_state_dict(network.state_dict())
    return other


@torch.no_grad()
def flow_of(network: FlowNetwork, first: torch.Tensor, second: torch.Tensor, **options) -> torch.Tensor:
    return network(first, second, iterations=3, final_only=True, **options).flows[-1]


@pytest.mark.parametrize("height,width", [(136, 168), (96, 64), (1, 1), (31, 260)])
@pytest.mark.parametrize("first,second", [(1.0, 1.0), (0.2, 0.7)])
def test_frames_of_one_colour_keep_the_flow_that_they_began_with(network, without_gate, first, second, height, width):
    pair = uniform(first, height, width), uniform(second, height, width)
    assert flow_of(network, *pair).abs().max() < 1e-3
    with torch.no_grad():
        start = network(*pair, iterations=3).coarse + 1
        kept = network(*pair, initial_coarse=start, iterations=3).coarse
    assert (kept - 1).abs().max() < 1e-3
    assert flow_of(without_gate, *pair).abs().mean() > 1


def test_frames_of_one_colour_stay_in_sixteen_bits_too(network):
    pair = uniform(GREY, 240, 320), uniform(GREY, 240, 320)
    with torch.autocast("cpu", torch.bfloat16):
        assert flow_of(network, *pair).abs().max() < 1e-2


def test_only_one_frame_with_texture_gives_nothing_to_match(network):
    textured = torch.rand(1, 3, 128, 160)
    assert flow_of(network, textured, uniform(GREY, 128, 160)).abs().max() < 1e-3


def test_a_small_thing_on_a_large_wall_may_move_as_it_would_without(network):
    wall = uniform(GREY, 440, 1024)
    wall[:, :, 200:212, 500:512] = 1.0
    features = network.encode(wall, with_context=False).features
    gate = network.gate(features, features)
    assert gate is not None and gate.item() > 0.97
    assert texture_of(features).item() < 0.1


def test_each_pair_of_a_batch_has_its_own_gate(network):
    first = torch.cat([uniform(GREY, 128, 160), torch.rand(1, 3, 128, 160)])
    still, moving = flow_of(network, first, first)
    assert still.abs().max() < 1e-3 and moving.abs().mean() > 1


def test_a_preset_without_a_length_of_features_has_no_gate():
    with pytest.raises(RequestError, match=r"network\.texture_gate is true"):
        NetworkConfig(preset="large", texture_gate=True)

"""What a pair leaves to the next one leads the right way, in each direction and in each tile; and sizes and precisions."""

import pytest
import torch

from flowgru.config import NetworkConfig
from flowgru.config.way import Way
from flowgru.estimation.geometry import computed_size
from flowgru.estimation.matching.initial_flow import InitialFlow, carried_along
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.model.flow_network import FlowNetwork


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FlowNetwork(NetworkConfig("compact", "conv_gru")).for_inference()


@pytest.mark.parametrize(("backward", "column"), [(False, 5), (True, 1)])
def test_what_moved_is_where_the_next_pair_begins(backward, column):
    """The forward flow leads a thing on; the backward flow says where it came from, so that it moved against it."""
    flow = torch.zeros(1, 2, 6, 7)
    flow[:, 0, 2, 3] = 2.0
    carried = carried_along([flow], backward=backward)
    assert carried is not None and carried.coarse is not None
    row, other_way = carried.coarse[0][0, 0, 2], 6 - column
    assert row[column] > 0.5 and row[other_way] == 0


def test_each_tile_begins_at_its_own_flow(network, monkeypatch):
    matcher, begun, match = PairMatcher(network, MatchSettings(Way(1), tiles=(1, 2))), [], FlowNetwork.match
    pictures = torch.rand(2, 1, 3, 128, 320)

    def noting(self, first, second, **options):
        begun.append(options["initial_coarse"])
        return match(self, first, second, **options)

    monkeypatch.setattr(FlowNetwork, "match", noting)
    shapes = [each.shape for each in _coarse(network, pictures)]
    coarse = tuple(torch.full(shape, float(number)) for number, shape in enumerate(shapes))
    begun.clear()
    matcher.match(pictures[0], pictures[1], [InitialFlow("warm", coarse=coarse)])
    assert [each.unique().tolist() for each in begun] == [[0.0], [1.0]]


def _coarse(network, pictures):
    """The coarse flows of the tiles, as a pair leaves them."""
    warm = PairMatcher(network, MatchSettings(Way(1), tiles=(1, 2), warm_start=True))
    (carried,) = warm.match(pictures[0], pictures[1]).carried
    assert carried is not None and carried.coarse is not None
    return carried.coarse


@pytest.mark.parametrize(("precision", "dtype"), [("32", None), ("bf16", torch.bfloat16), ("16", torch.float16)])
def test_a_precision_is_the_one_that_is_asked_for(network, precision, dtype):
    with PairMatcher(network, MatchSettings(Way(1), precision=precision)).refiner._autocast():
        assert torch.is_autocast_enabled("cpu") == (dtype is not None)
        assert dtype is None or torch.get_autocast_dtype("cpu") == dtype


def test_a_computed_size_is_the_nearest_one():
    assert computed_size((103, 99), 0.5) == (52, 50) and computed_size((103, 99), None) == (103, 99)
    assert computed_size((103, 99), (7, 9)) == (7, 9) and computed_size((2, 3), 0.1) == (1, 1)

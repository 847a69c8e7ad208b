"""A network that is being trained is used as in evaluation, and is afterwards as it was, whoever else uses it."""

import torch
from torch import nn

from flowgru.layers.modes import evaluating


def modes(network):
    return [part.training for part in network.modules()]


def test_each_part_is_in_its_mode_again_once_nobody_uses_the_network():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3))
    network[2].eval()
    before, first, second = modes(network), evaluating(network), evaluating(network)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert modes(network) == [False] * 5
    second.__exit__(None, None, None)
    assert modes(network) == before == [True, True, True, True, False]


def test_a_part_that_is_trained_in_a_network_that_is_not_counts_too():
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm).eval()
    norm.train()
    with evaluating(network):
        network(torch.rand(2, 3, 4, 4))
    assert norm.running_mean is not None and not norm.running_mean.any() and modes(network) == [False, True]
    with evaluating("no module"):
        pass

"""The head that says how sure a network is can be trained alone, on a network that stays as it is."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import TINY

from flowgru.config import NetworkConfig, OptimizerConfig
from flowgru.errors import RequestError
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.training.run import train

HEAD = replace(
    TINY,
    init_from="trunk.safetensors",
    network=NetworkConfig("compact", "conv_gru", confidence=True),
    loss="mixture",
    part="confidence",
    optimizer=OptimizerConfig(ema_decay=0.0),
    steps=4,
)


@pytest.fixture
def trunk(tmp_path):
    """Weights of a network that does not say how sure it is."""
    from flowgru.model.flow_network import FlowNetwork

    network = FlowNetwork(NetworkConfig("compact", "conv_gru"))
    path = tmp_path / "trunk.safetensors"
    write_model_file(path, network.state_dict(), {"network": {"preset": "compact", "operator": "conv_gru"}})
    return path


def test_only_the_head_learns(trunk, tmp_path):
    ends = []
    for steps in (1, 4):
        folder = tmp_path / str(steps)
        train(replace(HEAD, init_from=str(trunk), steps=steps), str(folder), device="cpu")
        ends.append(load_file(folder / "model.safetensors"))
    before = load_file(trunk)
    heads = [name for name in ends[0] if name.startswith("mixture_head.")]
    assert {*before} | {*heads} == {*ends[0]} and heads
    assert all(torch.equal(end[name], before[name]) for end in ends for name in before)
    assert all(not torch.equal(ends[0][name], ends[1][name]) for name in heads)


def test_the_head_is_not_trained_without_its_loss():
    with pytest.raises(RequestError, match="part is confidence: it must be all, unless the loss is mixture"):
        replace(TINY, part="confidence")


def test_a_trunk_that_lacks_weights_or_is_none_is_refused(trunk, tmp_path):
    with pytest.raises(RequestError, match="part is confidence: it must be all, unless init_from"):
        replace(HEAD, init_from=None)
    other = replace(HEAD, network=NetworkConfig("compact", "conv_lstm", confidence=True), init_from=str(trunk))
    with pytest.raises(RequestError, match=r"lacks operator\..* which part confidence does not train"):
        train(other, str(tmp_path / "run"), device="cpu")

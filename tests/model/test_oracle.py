"""The network with RAFT's operators computes what torchvision's RAFT computes, under torchvision's and Princeton's names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large, raft_small

from flowgru.config import NetworkConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.raft_names import from_our_names, to_our_names

ITERATIONS = 12
MAX_DIFFERENCE = 3e-4
"""Largest difference allowed anywhere; 6e-5 is measured. Any weight reversed along its first axis changes a flow by more
than 3e-3, but for biases in front of an instance norm, which have no effect.
"""


class Pair(NamedTuple):
    """torchvision's network, ours with the same weights read from a file, and two pictures in [0, 1]."""

    theirs: nn.Module
    ours: FlowNetwork
    first: Tensor
    second: Tensor


def random_raft(make: Callable[..., nn.Module]) -> nn.Module:
    """torchvision's RAFT with random weights and statistics; a damped flow head keeps the refinements from blowing up."""
    torch.manual_seed(3)
    network = make(weights=None).eval()
    with torch.no_grad():
        last = network.get_submodule("update_block.flow_head.conv2")
        last.weight.mul_(0.5)  # type: ignore
        last.bias.mul_(0.5)  # type: ignore
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return network


def princeton_checkpoint(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names as Princeton's code saves them, written down here a second time from its source."""
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in (
            (r"^feature_encoder\.", "fnet."),
            (r"^context_encoder\.", "cnet."),
            (r"^(\wnet)\.convnormrelu\.0\.", r"\1.conv1."),
            (r"^(\wnet)\.convnormrelu\.1\.", r"\1.norm1."),
            (r"^(\wnet)\.conv\.", r"\1.conv2."),
            (r"\.convnormrelu(\d)\.0\.", r".conv\1."),
            (r"\.convnormrelu(\d)\.1\.", r".norm\1."),
            (r"\.motion_encoder\.conv(c|f)(?:orr|low)(\d)\.0\.", r".encoder.conv\1\2."),
            (r"\.motion_encoder\.conv\.0\.", ".encoder.conv."),
            (r"\.recurrent_block\.convgru(\d)\.conv(\w)\.", r".gru.conv\2\1."),
            (r"^mask_predictor\.convrelu\.0\.", "update_block.mask.0."),
            (r"^mask_predictor\.conv\.", "update_block.mask.2."),
        ):
            name = re.sub(pattern, replacement, name)
        if not any(".convgru2." in other for other in weights):
            name = re.sub(r"\.gru\.conv(\w)1\.", r".gru.conv\1.", name)
        renamed["module." + name] = value
        if ".downsample.1." in name:
            renamed["module." + name.replace("downsample.1", "norm3")] = value
    return renamed


@pytest.fixture(scope="module", params=["large", "small"])
def size(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pair(size: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs = random_raft(raft_large if size == "large" else raft_small)
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    torch.save(theirs.state_dict(), path)
    torch.manual_seed(4)
    first, second = nn.functional.interpolate(torch.rand(4, 3, 34, 40), (136, 160), mode="bicubic").clamp(0, 1).chunk(2)
    return Pair(theirs, load_model(path, device="cpu"), first, second)


@torch.no_grad()
def their_flows(pair: Pair, first: Tensor, second: Tensor) -> list[Tensor]:
    return pair.theirs(2 * first - 1, 2 * second - 1, num_flow_updates=ITERATIONS)


@torch.no_grad()
def our_flows(network: FlowNetwork, first: Tensor, second: Tensor, **options: bool) -> tuple[Tensor, ...]:
    return network(first, second, iterations=ITERATIONS, **options).flows


class Flows(NamedTuple):
    """What both networks give for the first of the two pairs, after each refinement."""

    theirs: list[Tensor]
    ours: tuple[Tensor, ...]


@pytest.fixture(scope="module")
def flows(pair: Pair) -> Flows:
    first, second = pair.first[:1], pair.second[:1]
    return Flows(their_flows(pair, first, second), our_flows(pair.ours, first, second))


def furthest(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


@pytest.mark.parametrize("extent", [(136, 160), (128, 136)], ids=str)
def test_every_flow_is_torchvisions(
    pair: Pair, flows: Flows, size: str, extent: tuple[int, int], record_property
) -> None:
    first, second = (picture[:1, :, : extent[0], : extent[1]] for picture in (pair.first, pair.second))
    theirs, ours = flows
    if extent != pair.first.shape[2:]:
        theirs, ours = their_flows(pair, first, second), our_flows(pair.ours, first, second)
    differences = [furthest(one, other) for one, other in zip(ours, theirs, strict=True)]
    length = theirs[-1].norm(dim=1)
    text = f"at most {max(differences):.1e} px after any, {differences[-1]:.1e} px after the last of {ITERATIONS}"
    print(f"RAFT-{size} at {extent}: {text}; flow of {length.mean():.1f} px on average, {length.max():.1f} at most")
    record_property("largest_difference_pixels", max(differences))
    assert length.mean() > 3, "the flow must be long enough to differ"
    assert max(differences) <= MAX_DIFFERENCE


def test_princetons_file_gives_the_same_network(
    pair: Pair, flows: Flows, size: str, tmp_path: Path, record_property
) -> None:
    weights = princeton_checkpoint(dict(pair.theirs.state_dict()))
    assert len(weights) == {"large": 179, "small": 106}[size]
    path = tmp_path / "raft-things.pth"
    torch.save({"state_dict": weights}, path)
    network = load_model(path, device="cpu")
    assert network.config == pair.ours.config
    difference = furthest(our_flows(network, pair.first[:1], pair.second[:1])[-1], flows.theirs[-1])
    print(f"RAFT-{size} from Princeton's names: {difference:.1e} px after {ITERATIONS}")
    record_property("largest_difference_pixels", difference)
    assert difference <= MAX_DIFFERENCE


def test_the_order_of_pictures_and_of_flow_components_is_seen(pair: Pair, flows: Flows) -> None:
    """The comparison above would fail for a network that exchanges the pictures or u and v."""
    flow = flows.theirs[-1]
    exchanged = our_flows(pair.ours, pair.second[:1], pair.first[:1])[-1]
    assert furthest(flow, exchanged) > 0.1
    assert furthest(flow, flow.flip(1)) > 0.1


def test_final_only_is_the_last_of_all(pair: Pair, flows: Flows) -> None:
    every = flows.ours
    final = our_flows(pair.ours, pair.first[:1], pair.second[:1], final_only=True)
    assert len(every) == ITERATIONS and len(final) == 1
    assert torch.equal(final[0], every[-1])


@torch.no_grad()
def test_frames_encoded_apart_give_the_same_flow(pair: Pair, flows: Flows) -> None:
    first, second = pair.first[:1], pair.second[:1]
    encoded = pair.ours.encode(first), pair.ours.encode(second, with_context=False)
    matched = pair.ours.match(*encoded, iterations=ITERATIONS).flows[-1]
    assert furthest(matched, flows.ours[-1]) <= MAX_DIFFERENCE


def test_a_batch_gives_what_its_pairs_give_alone(pair: Pair, flows: Flows) -> None:
    together = our_flows(pair.ours, pair.first, pair.second)[-1]
    alone = [flows.ours[-1], our_flows(pair.ours, pair.first[1:], pair.second[1:])[-1]]
    assert furthest(together, torch.cat(alone)) <= MAX_DIFFERENCE


@pytest.mark.parametrize("naming", ["torchvision", "princeton"])
def test_names_go_forth_and_back(pair: Pair, size: str, naming) -> None:
    config = NetworkConfig("large", "seq_conv_gru") if size == "large" else NetworkConfig("small", "conv_gru")
    ours = dict(pair.ours.state_dict())
    there = from_our_names(ours, naming, config)
    back = to_our_names(there, naming, config)
    assert back.keys() == ours.keys() and all(torch.equal(back[name], ours[name]) for name in ours)
    if naming == "torchvision":
        theirs = pair.theirs.state_dict()
        assert there.keys() == theirs.keys() and all(torch.equal(there[name], theirs[name]) for name in theirs)
    else:
        theirs = princeton_checkpoint(dict(pair.theirs.state_dict()))
        assert {f"module.{name}" for name in there} == {name for name in theirs if ".norm3." not in name}

"""The names that Princeton's and torchvision's RAFT give their weights, and ours.

All three lay the network out alike but for the GRU. RAFT has one convolution for each of the gates z and r and for the
candidate q, over [hidden, context, motion]. Ours has z and r in one, and every convolution in two parts, over [hidden,
motion] and over the context (operators/conv_gru.py). The same numbers, cut and joined: forth and back gives the same bits.
"""

from typing import Literal

import torch
from torch import Tensor

from flowgru.config import PRESETS, NetworkConfig
from flowgru.errors import RequestError

Naming = Literal["flowgru", "torchvision", "princeton"]

Weights = dict[str, Tensor]
"""A state dict."""

RAFT_LARGE = NetworkConfig("large", "seq_conv_gru")
RAFT_SMALL = NetworkConfig("small", "conv_gru")
RAFT_NETWORKS = (RAFT_LARGE, RAFT_SMALL)
"""The networks that have names in all three namings."""

MARKS: dict[Naming, tuple[str, ...]] = {
    "flowgru": ("feature_encoder.st", "context_encoder.st", "operator.", "upsampler."),
    "torchvision": ("feature_encoder.layer", "context_encoder.layer", "update_block.recurrent", "mask_predictor."),
    "princeton": ("fnet.", "cnet.", "update_block.gru.", "update_block.mask."),
}
"""Beginnings of names that only this naming has."""

_UPDATE_MODULES = (
    ("motion_encoder.correlation.0.0", "update_block.motion_encoder.convcorr1.0", "update_block.encoder.convc1"),
    ("motion_encoder.correlation.1.0", "update_block.motion_encoder.convcorr2.0", "update_block.encoder.convc2"),
    ("motion_encoder.flow.0.0", "update_block.motion_encoder.convflow1.0", "update_block.encoder.convf1"),
    ("motion_encoder.flow.1.0", "update_block.motion_encoder.convflow2.0", "update_block.encoder.convf2"),
    ("motion_encoder.out.0", "update_block.motion_encoder.conv.0", "update_block.encoder.conv"),
    ("flow_head.0.0", "update_block.flow_head.conv1", "update_block.flow_head.conv1"),
    ("flow_head.1", "update_block.flow_head.conv2", "update_block.flow_head.conv2"),
    ("upsampler.mask_head.0.0", "mask_predictor.convrelu.0", "update_block.mask.0"),
    ("upsampler.mask_head.1", "mask_predictor.conv", "update_block.mask.2"),
)
"""(ours, torchvision's, Princeton's) name of every module outside the encoders and the GRU."""

_PRINCETON_DUPLICATES = (".norm3.", ".norm4.")
"""Princeton's blocks hold the shortcut's norm twice; the other name is downsample.1. (RAFT-small's have no weights.)"""


def naming_of(weights: Weights) -> Naming | None:
    """Whose names these are: the naming that most of them belong to; None where not one belongs to any."""

    def num_marked(naming: Naming) -> int:
        return sum(name.startswith(MARKS[naming]) for name in weights)

    naming = max(MARKS, key=num_marked)
    return naming if num_marked(naming) else None


def without_duplicates(weights: Weights, naming: Naming) -> Weights:
    """The weights without those that Princeton's files hold a second time."""
    if naming != "princeton":
        return weights
    return {name: value for name, value in weights.items() if not any(part in name for part in _PRINCETON_DUPLICATES)}


def to_our_names(weights: Weights, naming: Naming, config: NetworkConfig) -> Weights:
    """Weights that are complete under `naming`, without duplicates, under our names."""
    if naming == "flowgru":
        return weights
    ours = {theirs: our for our, theirs in _modules(naming, config).items()}
    return _join_gates(_renamed(weights, ours), config)


def from_our_names(weights: Weights, naming: Naming, config: NetworkConfig) -> Weights:
    """Weights of one of RAFT_NETWORKS under other names, without duplicates. RequestError for another network."""
    if naming == "flowgru":
        return weights
    if config not in RAFT_NETWORKS:
        known = " or ".join(f"{raft.preset} with {raft.operator}" for raft in RAFT_NETWORKS)
        raise RequestError(
            f"{naming} has no names for the network {config.preset} with {config.operator}: only {known} is a RAFT"
        )
    return _renamed(_split_gates(weights, config), _modules(naming, config))


def _modules(naming: Naming, config: NetworkConfig) -> dict[str, str]:
    """Our name of each module that holds weights -> its name under `naming`; a cell's gates are z, r and q here."""
    rows = [*_UPDATE_MODULES]
    for ours, princeton in (("feature_encoder", "fnet"), ("context_encoder", "cnet")):
        rows += _encoder_modules(ours, princeton)
    cells = _num_cells(config)
    for cell, gate in ((cell, gate) for cell in range(cells) for gate in "zrq"):
        torchvision = f"recurrent_block.convgru{cell + 1}.conv{gate}"
        princeton = f"gru.conv{gate}{cell + 1}" if cells > 1 else f"gru.conv{gate}"
        rows.append((f"operator.cells.{cell}.{gate}", f"update_block.{torchvision}", f"update_block.{princeton}"))
    column = 1 if naming == "torchvision" else 2
    return {row[0]: row[column] for row in rows}


def _encoder_modules(ours: str, princeton: str) -> list[tuple[str, str, str]]:
    rows = [(f"{ours}.out", f"{ours}.conv", f"{princeton}.conv2")]
    for layer, kind in enumerate(("conv", "norm")):
        rows.append((f"{ours}.stem.{layer}", f"{ours}.convnormrelu.{layer}", f"{princeton}.{kind}1"))
        for stage, block in ((stage, block) for stage in range(3) for block in range(2)):
            our_block, their_block = f"{ours}.stages.{stage}.{block}", f"layer{stage + 1}.{block}"
            shortcut = f"{their_block}.downsample.{layer}"
            rows.append((f"{our_block}.shortcut.{layer}", f"{ours}.{shortcut}", f"{princeton}.{shortcut}"))
            rows += [
                (
                    f"{our_block}.convs.{conv}.{layer}",
                    f"{ours}.{their_block}.convnormrelu{conv + 1}.{layer}",
                    f"{princeton}.{their_block}.{kind}{conv + 1}",
                )
                for conv in range(3)
            ]
    return rows


def _renamed(weights: Weights, modules: dict[str, str]) -> Weights:
    renamed = {}
    for name, value in weights.items():
        module, parameter = name.rsplit(".", 1)
        renamed[f"{modules[module]}.{parameter}"] = value
    return renamed


def _num_cells(config: NetworkConfig) -> int:
    return 2 if config == RAFT_LARGE else 1


def _join_gates(weights: Weights, config: NetworkConfig) -> Weights:
    """Each cell's z, r and q become our two convolutions, each in two parts."""
    weights = dict(weights)
    sizes = PRESETS[config.preset]
    columns = [sizes.hidden_size, sizes.context_size, sizes.motion_size]
    for cell in (f"operator.cells.{i}" for i in range(_num_cells(config))):
        for ours, gates in (("gates", "zr"), ("candidate", "q")):
            weight = torch.cat([weights.pop(f"{cell}.{gate}.weight") for gate in gates])
            hidden, context, motion = weight.split(columns, dim=1)
            weights[f"{cell}.{ours}.recurrent.weight"] = torch.cat([hidden, motion], dim=1)
            weights[f"{cell}.{ours}.recurrent.bias"] = torch.cat([weights.pop(f"{cell}.{gate}.bias") for gate in gates])
            weights[f"{cell}.{ours}.context.weight"] = context.contiguous()
    return weights


def _split_gates(weights: Weights, config: NetworkConfig) -> Weights:
    """The inverse of _join_gates."""
    weights = dict(weights)
    sizes = PRESETS[config.preset]
    for cell in (f"operator.cells.{i}" for i in range(_num_cells(config))):
        for ours, gates in (("gates", "zr"), ("candidate", "q")):
            recurrent = weights.pop(f"{cell}.{ours}.recurrent.weight")
            hidden, motion = recurrent.split([sizes.hidden_size, sizes.motion_size], dim=1)
            weight = torch.cat([hidden, weights.pop(f"{cell}.{ours}.context.weight"), motion], dim=1)
            bias = weights.pop(f"{cell}.{ours}.recurrent.bias")
            parts = zip(gates, weight.chunk(len(gates)), bias.chunk(len(gates)), strict=True)
            for gate, gate_weight, gate_bias in parts:
                weights[f"{cell}.{gate}.weight"] = gate_weight.contiguous()
                weights[f"{cell}.{gate}.bias"] = gate_bias.contiguous()
    return weights

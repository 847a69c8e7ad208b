"""From a name or a file of weights to a network that is ready to use."""

import contextlib
import itertools
import os
import pickle
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flowgru.config import PRESETS, NetworkConfig
from flowgru.config.choices import CorrelationMethod
from flowgru.config.network import WITHOUT_WEIGHTS
from flowgru.errors import MachineError, RequestError, did_you_mean, first_line, one_line, value_text
from flowgru.files.sealed_folder import MANIFEST
from flowgru.kinds import given_path
from flowgru.model.compiled import compile_for_inference
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.exported.formats import format_of, runnable_suffixes
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.card_network import network_of_card
from flowgru.model.weight_files.hub import downloaded, is_hub_address
from flowgru.model.weight_files.model_file import (
    BUNDLED,
    STATE_FILE,
    WEIGHTS,
    describe_mismatch,
    listed,
    read_weights,
)
from flowgru.model.weight_files.network_part import network_part
from flowgru.model.weight_files.raft_names import (
    RAFT_NETWORKS,
    Naming,
    Weights,
    from_our_names,
    naming_of,
    to_our_names,
    without_duplicates,
)
from flowgru.operators import UPDATE_OPERATORS
from flowgru.operators import __name__ as OPERATORS

_DEVICES = "cpu, cuda, cuda:0 or the like"

DEFAULT_MODEL = BUNDLED / "default.safetensors"
"""The model that comes with the package."""

RELEASED = ("raft_large", "raft_small")
"""Networks whose weights torchvision has released."""


def load_model(
    source: object = "default",
    device: Any = None,
    *,
    correlation: CorrelationMethod = "auto",
    memory_budget: int | None = None,
    compile: bool = False,
) -> FlowNetwork:
    """The network that `source` names, in evaluation mode on `device`, with its `card`.

    source: "default" is the model that comes with flowgru; "raft_large" and "raft_small" are RAFT as torchvision has
    released it, downloaded once; "hf://owner/name" is a model on the Hugging Face Hub, downloaded once, of which
    "hf://owner/name@revision" names another revision than the newest; anything else is a file: a flowgru model, one of
    Princeton's RAFT checkpoints, or a state dict of torchvision's RAFT. A warning names what the file holds beside the
    network.
    device: None takes CUDA where there is one, else the CPU.
    correlation: all_pairs keeps all matches of a pair, on_demand computes those it needs in each refinement, in little
    memory; auto takes all_pairs where it fits memory_budget, or without one a quarter of the free memory, on a CPU 1 GiB.
    memory_budget: bytes that the correlation may take.
    compile: let torch.compile make it faster: the first pair of every size then takes a minute or more. Its weights can be
    trained no more, and it is neither copied nor pickled.

    RequestError where there is no such model or its weights do not fit, MachineError where the device or the download
    refuses.
    """
    plan = MatchPlan(correlation, memory_budget)
    chosen = choose_device(device)
    name = str(given_path(source, "the model"))
    if is_hub_address(name):
        weights, card = read_weights(downloaded(name))
    else:
        weights, card = _released_weights(name) if name in RELEASED else read_weights(_model_path(name))
    weights, others = network_part(weights, name)
    naming = naming_of(weights)
    if naming is None:
        raise RequestError(
            f"{name} holds no network: of its {len(weights)} names, such as {next(iter(weights), 'none')!r}, none is known "
            "to flowgru, torchvision's RAFT or Princeton's RAFT"
        )
    if others:
        text = f"{name}: what belongs to no part of the network is left out: {len(others)} ({listed(others)})"
        warnings.warn(text, stacklevel=2)
    weights = without_duplicates(weights, naming)
    card = dict(card or {})
    if "network" in card:
        config = network_of_card(card, name)
    else:
        config = _nearest_network(weights, naming)
        if naming == "flowgru":
            warnings.warn(_assumed(config, name), stacklevel=2)
    network = _filled_network(config, weights, naming, name)
    network.card = {**card, "network": asdict(config)}
    network.plan = plan
    network = network.to(chosen).for_inference()
    return compile_for_inference(network) if compile else network


def choose_device(device: Any = None) -> torch.device:
    """The device of that name; None takes CUDA where there is one, else the CPU.

    RequestError for what is no name of a device, MachineError where this machine does not have it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise RequestError(f"unknown device {device!r}: expected {_DEVICES}") from None
    tried = chosen
    if chosen.type == "cuda" and chosen.index is None:  # of several processes, each takes its own
        tried = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        torch.zeros(1, device=tried)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a torch without CUDA asserts
        reason = first_line(error).rstrip(".")
        raise MachineError(f"the device {chosen} cannot be used ({reason}): name another one, such as cpu") from None
    return chosen


def device_of_option(name: str) -> torch.device:
    """The device that --device names, which may be auto; see choose_device."""
    try:
        return choose_device(None if name == "auto" else name)
    except RequestError:
        raise RequestError(f"--device is {name!r}: expected auto, {_DEVICES}") from None


def _model_path(source: str) -> Path:
    if source == "default":
        if not DEFAULT_MODEL.is_file():
            raise RequestError(
                f"this copy of flowgru comes without its default model ({DEFAULT_MODEL} is missing): name a model file, "
                f"or {' or '.join(RELEASED)}"
            )
        return DEFAULT_MODEL
    path = Path(source)
    if format_of(path) is not None:
        raise RequestError(
            f"{source} is named like an exported model; the commands that estimate run "
            f"{' and '.join(runnable_suffixes())}: "
            "here, name the weights it was made from"
        )
    _refuse_run(path)
    if not path.exists():
        names = ("default", *RELEASED)
        hint = did_you_mean(source, names)
        raise RequestError(f"there is no model file {source}: {hint}name a file, or one of {', '.join(names)}")
    return path


def _refuse_run(path: Path) -> None:
    """RequestError for a folder, and for the state in a checkpoint; it names the model file of that run, or checkpoint."""
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not (path.name == STATE_FILE and (folder / MANIFEST).is_file()):
        return
    places = (
        [folder.parent, folder] if (folder / MANIFEST).is_file() else [folder, *sorted(folder.glob("step-*"))[::-1]]
    )
    models = [place / WEIGHTS for place in places if (place / WEIGHTS).is_file()]
    fix = f"give {models[0]}" if models else f"expected a model file; flowgru train writes {WEIGHTS} when it ends"
    raise RequestError(f"{path} is {'a folder' if path.is_dir() else 'the state of a training'}, no model: {fix}")


def _released_weights(name: str) -> tuple[Weights, dict[str, Any]]:
    """The weights that torchvision has released, from its cache or from the net."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    released = Raft_Large_Weights.DEFAULT if name == "raft_large" else Raft_Small_Weights.DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / released.url.rsplit("/", 1)[1]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch announces the download on stdout
            weights = released.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
    except OSError as error:  # URLError is one
        raise MachineError(
            f"cannot download {name} from {released.url} ({getattr(error, 'reason', error)}): connect to the net, or "
            f"download it elsewhere and put it at {cached}"
        ) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise MachineError(
            f"{name} from {released.url} is damaged ({one_line(error, 120)}): delete {cached} if it exists "
            "and try again"
        ) from None
    return weights, {"source": released.url}


def _nearest_network(weights: Weights, naming: Naming) -> NetworkConfig:
    """The network that shares most names and shapes with the weights of a file that does not say which it is."""

    def num_shared(config: NetworkConfig) -> int:
        expected = _expected_weights(config, naming)
        return sum(name in expected and expected[name].shape == value.shape for name, value in weights.items())

    if naming != "flowgru":
        return max(RAFT_NETWORKS, key=num_shared)
    confidence, memory = (
        any(name.startswith(part) for name in weights) for part in ("mixture_head.", "temporal_memory.")
    )
    pairs: Any = itertools.product(PRESETS, UPDATE_OPERATORS)
    return max(
        (NetworkConfig(preset, operator, confidence, memory=memory) for preset, operator in pairs), key=num_shared
    )


def _assumed(config: NetworkConfig, name: str) -> str:
    """What the weights alone do not tell of a network."""
    shown = " and ".join(f"{setting} {value_text(getattr(config, setting))}" for setting in WITHOUT_WEIGHTS)
    return (
        f"{name} has no card: it is taken for {config.preset} with {config.operator} without options, and with {shown}, of "
        "which weights say nothing; a file that save_model writes has a card"
    )


def _expected_weights(config: NetworkConfig, naming: Naming) -> Weights:
    """The names and shapes, without values, that a network has under `naming`."""
    with torch.device("meta"):
        network = FlowNetwork(config)
    return from_our_names(network.state_dict(), naming, config)


def _filled_network(config: NetworkConfig, weights: Weights, naming: Naming, name: str) -> FlowNetwork:
    """The network with these weights. RequestError, in the file's own naming, where they do not fit."""
    expected = _expected_weights(config, naming)
    # Batch norm counts the batches it has seen, which nothing here goes by and some programs do not save.
    unseen = {key: torch.tensor(0) for key in expected if key.endswith(".num_batches_tracked") and key not in weights}
    weights = {**weights, **unseen}
    if mismatch := describe_mismatch(expected, weights):
        raise RequestError(f"{name} does not fit the network {config.preset} with {config.operator}: {mismatch}")
    broken = [key for key, value in weights.items() if not bool(value.isfinite().all())]
    if broken:
        raise RequestError(f"{name} holds values that are not finite, first in {broken[0]}: it is of no use")
    network = _new_network(config)
    network.load_state_dict(to_our_names(weights, naming, config))
    return network


def _new_network(config: NetworkConfig) -> FlowNetwork:
    """The network in float32 on the CPU, with weights of any values, whatever the caller's defaults are, which stay.

    No value is drawn, so that the caller's random numbers do not depend on loading a model. But an update operator of
    somebody else's may have values that are no weights, and is made with them.
    """
    if UPDATE_OPERATORS[config.operator].__module__.startswith(f"{OPERATORS}."):
        with torch.device("meta"):
            network = FlowNetwork(config).float()
        return network.to_empty(device="cpu")
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return FlowNetwork(config)
    finally:
        torch.set_default_dtype(dtype)

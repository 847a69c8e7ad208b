"""Opens the model of a command: weights, or an exported file, which cannot follow every setting."""

from pathlib import Path
from typing import Any

import torch

from flowgru.config.model_settings import ModelSettings
from flowgru.console import say, warn
from flowgru.errors import MachineError, RequestError, counted
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.exported.formats import runnable_suffixes
from flowgru.model.pair_network import PairNetwork
from flowgru.model.weight_files.loading import device_of_option, load_model


def is_exported(model: str) -> bool:
    """Whether --model names a file that `flowgru export` has written."""
    return Path(model).suffix in runnable_suffixes()


def open_network(settings: ModelSettings) -> PairNetwork:
    """The model that the settings name, ready to be used. What an exported file is, is said.

    RequestError for a model that cannot be read, or not be used as the settings ask; MachineError where the device, or the
    precision on it, is not to be had.
    """
    if is_exported(settings.model):
        exported = open_exported(settings)
        say(description(exported))
        return exported
    device = device_of_option(settings.device)
    if (
        settings.precision == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise MachineError(f"{torch.cuda.get_device_name(device)} cannot compute in bf16: use --precision 16 or 32")
    return load_model(settings.model, device, correlation=settings.correlation, compile=settings.compile)


def warn_without_gpu(settings: ModelSettings, network: PairNetwork) -> None:
    """Says so where a model that a GPU could compute has none."""
    if settings.device == "auto" and network.device.type == "cpu" and not is_exported(settings.model):
        warn("computing on the CPU: no CUDA device was found")


def match_settings(network: PairNetwork, settings: ModelSettings, **more: Any) -> MatchSettings:
    """How pairs are matched as the settings of a command ask; `more`: fields of MatchSettings that not every command has."""
    return MatchSettings(
        settings.way(network.card),
        warm_start=settings.warm_start,
        precision=settings.precision,
        tiles=settings.rows_and_columns(),
        stop_below=settings.stop_below,
        cuda_graph=settings.cuda_graph,
        **more,
    )


def open_exported(settings: ModelSettings) -> ExportedFlow:
    """The model that the settings name. RequestError where it cannot be run, or not as the settings ask."""
    network = ExportedFlow(settings.model)
    name = network.path.name
    wanted, start = settings.iterations, settings.initial_flow
    for option, refused, why in (
        (f"--iterations {wanted}", wanted not in (None, network.iterations), f"it always does {network.iterations}"),
        (f"--hold {settings.hold}", settings.hold not in (None, network.hold), f"it always does {network.hold}"),
        (
            f"--initial-flow {start}",
            start not in (None, "zero") and not network.warm_start,
            "it was exported without the input initial_flow (export --warm-start)",
        ),
        (
            f"--scales {settings.scales}",
            settings.scales not in (None, 1) and not network.warm_start,
            "it was exported without the input initial_flow (export --warm-start)",
        ),
        (
            f"--coarse-iterations {settings.coarse_iterations}",
            settings.coarse_iterations not in (None, network.iterations),
            f"it always does {network.iterations}",
        ),
        (f"--precision {settings.precision}", settings.precision != "32", "it computes in 32 bits"),
        (f"--correlation {settings.correlation}", settings.correlation != "auto", "it keeps all pairs of pixels"),
        (
            f"--device {settings.device}",
            settings.device not in ("auto", "cpu"),
            f"{network.runtime} runs it on the CPU",
        ),
        ("--compile", settings.compile, "it is compiled already"),
        (
            "--stop-below",
            settings.stop_below is not None,
            f"it always does {counted(network.iterations, 'refinement')}",
        ),
        ("--warm-start", settings.warm_start and not network.warm_start, "it was exported without --warm-start"),
    ):
        if refused:
            raise RequestError(f"{option} cannot be kept by {name}: {why}; leave it out, or use the weights themselves")
    return network


def description(network: ExportedFlow) -> str:
    """What a file is, in one line."""
    config, card = network.config, network.card
    return (
        f"{network.path.name}: {card['export'].get('model')}, {config.preset} with {config.operator}, {network.iterations} "
        f"refinements, up to {network.max_size}x{network.max_size} px, {card.get('license')}; by flowgru "
        f"{card['export'].get('flowgru')}, in {network.runtime}"
    )

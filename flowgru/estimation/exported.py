"""An exported file as `flowgru estimate` takes it: what it is, and which settings it cannot follow."""

from pathlib import Path

from flowgru.config.estimation import EstimateSettings
from flowgru.errors import RequestError
from flowgru.grid import padding_for
from flowgru.model.correlation.all_pairs import pyramid_bytes
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.exported.formats import runnable_suffixes
from flowgru.model.memory import taken_memory
from flowgru.model.memory_estimate import MemoryEstimate


def is_exported(model: str) -> bool:
    """Whether --model names a file that `flowgru export` has written."""
    return Path(model).suffix in runnable_suffixes()


def open_exported(settings: EstimateSettings) -> ExportedFlow:
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
        (f"--precision {settings.precision}", settings.precision != "32", "it computes in 32 bits"),
        (f"--correlation {settings.correlation}", settings.correlation != "auto", "it keeps all pairs of pixels"),
        (
            f"--device {settings.device}",
            settings.device not in ("auto", "cpu"),
            f"{network.runtime} runs it on the CPU",
        ),
        ("--compile", settings.compile, "it is compiled already"),
        ("--stop-below", settings.stop_below is not None, f"it always does {network.iterations} refinements"),
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


def exported_memory(network: ExportedFlow, height: int, width: int, *, after: int = 0) -> MemoryEstimate:
    """What a pair of that size takes at least: the correlation of all pairs of pixels, which is most of it when large.

    after: bytes that are taken once its flow is there.
    """
    padding = padding_for(height, width)
    rows, columns = (height + padding.top + padding.bottom) // 8, (width + padding.left + padding.right) // 8
    correlation = pyramid_bytes(1, rows, columns, network.config.sizes.correlation_levels)
    peak = 36 * height * width + max(correlation, after)
    return MemoryEstimate(network.device, "all_pairs", taken_memory(network.device) + peak)

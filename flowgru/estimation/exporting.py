"""The work of `flowgru export`: trace, write, compare with PyTorch, keep."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from flowgru.config import SyntheticSettings
from flowgru.config.export import ExportSettings
from flowgru.config.way import Way, resolve_way
from flowgru.console import progress, say
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import MachineError, RequestError, counted, first_line, lacks_memory, sides
from flowgru.files.atomic import atomic_write
from flowgru.files.own_folders import require_writable
from flowgru.model.exported.exportable import ExportableFlow, trace
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.exported.formats import FORMATS, require_packages
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.card import origin_of
from flowgru.model.weight_files.loading import load_model
from flowgru.version import VERSION

TOLERANCE = 1e-3
"""Largest difference in pixels between a file's flow and PyTorch's."""

SIZES = ((128, 128), (136, 232), (256, 184))
"""Height and width of the pairs on which they are compared; none is the traced one."""


def export_network(settings: ExportSettings) -> None:
    """Writes the file, or files, and says how far its flow is from PyTorch's.

    RequestError where the request makes no sense or a file exists already; MachineError where the flows differ by more than
    TOLERANCE, and then nothing is left.
    """
    paths = _paths(settings)
    network = load_model(settings.model, "cpu", correlation="all_pairs").requires_grad_(False)
    if network.config.memory:
        raise RequestError(
            f"{settings.model} carries a memory from pair to pair (network.memory), and an exported file carries none: "
            "export a network without it"
        )
    way = resolve_way(network.card, iterations=settings.iterations, hold=settings.hold)
    starts = way.initial_flow != "zero" if settings.warm_start is None else settings.warm_start
    if settings.iterations is None:  # the file has one number of refinements for all sizes
        way = replace(way, iterations=way.most_iterations)
    way = replace(way, coarse_iterations=None)
    if not starts:
        way = replace(way, initial_flow="zero", scales=1)
    require_writable(paths[0])  # tracing takes minutes
    card = _card(settings, network, way, warm_start=starts)
    exportable = ExportableFlow(network, way.iterations, hold=way.hold, warm_start=starts)
    counts = f"{way.hold} held and {way.iterations}" if way.hold else str(way.iterations)
    refinements = "refinement" if counts == "1" else "refinements"
    say(f"tracing {card['export']['model']}: {counts} {refinements}, pictures up to {settings.max_size} px a side")
    num_parts = 3 + len(SIZES)  # traced, written, compared at each size, and proved equal
    with (
        atomic_write(paths[0], overwrite=settings.overwrite) as temporary,
        progress("export", num_parts, "parts") as advance,
    ):
        beside = [temporary.with_suffix(path.suffix) for path in paths[1:]]
        try:
            _write(settings, exportable, temporary, card, advance)
            difference = _proved(settings, network, ExportedFlow(temporary), advance)
            for file, path in zip(beside, paths[1:], strict=True):
                os.replace(file, path)
        finally:
            for file in beside:
                file.unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in paths) / 2**20
    say(
        f"wrote {' and '.join(map(str, paths))} ({size:.1f} MiB); its flow differs from PyTorch's by at most "
        f"{difference:.2g} px, over pictures of {', '.join(map(sides, SIZES))} (height x width)"
    )


def _paths(settings: ExportSettings) -> list[Path]:
    """The file, or files, to be written. RequestError where the name does not fit the format, or a file is there already."""
    suffixes = FORMATS[settings.format].suffixes
    if (suffix := Path(settings.output).suffix) != suffixes[0]:
        other = [f", or give --format {name}" for name, each in FORMATS.items() if each.suffixes[0] == suffix]
        raise RequestError(
            f"--output is {settings.output!r}: a file of the format {settings.format} ends in {suffixes[0]}; "
            f"name it so{''.join(other)}"
        )
    require_packages(settings.format)
    paths = [Path(settings.output).with_suffix(suffix) for suffix in suffixes]
    for path in paths:
        if os.path.lexists(path) and not settings.overwrite:
            raise RequestError(f"{path} exists already: give --overwrite or another --output")
    return paths


def _write(
    settings: ExportSettings, exportable: ExportableFlow, path: Path, card: dict[str, Any], advance: Callable[[], None]
) -> None:
    """RequestError for a network that PyTorch's tracer, or a converter, cannot take."""
    try:
        began = time.perf_counter()
        traced = trace(exportable, settings.max_size)
        advance()
        say(f"traced in {time.perf_counter() - began:.1f} s, writing {settings.format}")
        began = time.perf_counter()
        FORMATS[settings.format].write(traced, exportable.output_names, path, card)
        advance()
        say(f"written in {time.perf_counter() - began:.1f} s, comparing with PyTorch on {counted(len(SIZES), 'size')}")
    except OSError:
        raise
    except Exception as error:  # they have many kinds of their own
        if lacks_memory(error):
            raise
        config = exportable.network.config
        raise RequestError(
            f"{config.preset} with {config.operator} cannot be exported as {settings.format}: {first_line(error)}"
        ) from error


def _proved(
    settings: ExportSettings, network: FlowNetwork, exported: ExportedFlow, advance: Callable[[], None]
) -> float:
    """How far the file's flow is from PyTorch's, in pixels. MachineError where that is more than TOLERANCE."""
    difference = largest_difference(network, exported, advance)
    if not difference <= TOLERANCE:
        raise MachineError(
            f"{settings.output} is not kept: its flow in {exported.runtime} differs from PyTorch's by up to "
            f"{difference:.3g} px, more than {TOLERANCE} px"
        )
    advance()
    return difference


def _card(settings: ExportSettings, network: FlowNetwork, way: Way, *, warm_start: bool) -> dict[str, Any]:
    """What the file says of itself: the network's own card, and what was fixed by exporting it."""
    origin = origin_of(settings.model, network.card)
    return {
        **network.card,
        **asdict(way),
        "license": origin["license"],
        "export": {
            "model": Path(origin["name"]).name,
            "sha256": origin.get("sha256"),
            "max_size": settings.max_size,
            "warm_start": warm_start,
            "flowgru": VERSION,
            "torch": torch.__version__,
        },
    }


@torch.no_grad()
def largest_difference(
    network: FlowNetwork, exported: ExportedFlow, advance: Callable[[], None] = lambda: None
) -> float:
    """Largest difference in pixels between both flows over generated pairs of SIZES; NaN where one is not finite.

    Where the file can begin at a flow, each pair is refined a second time from its own.
    """
    differences = []
    for height, width in SIZES:
        (pair,) = SyntheticPairs(SyntheticSettings(height=height, width=width, num_textures=4), length=1)
        pictures = pair.first[None], pair.second[None]
        frames = [exported.encode(picture) for picture in pictures]
        start = None
        for _ in range(2 if exported.warm_start else 1):
            way: dict[str, Any] = dict(iterations=exported.iterations, hold=exported.hold, initial_coarse=start)
            expected = network(*pictures, **way, final_only=True)
            found = exported.match(*frames, **way)
            differences.append((found.flows[-1] - expected.flows[-1]).abs().max())
            start = expected.coarse
        advance()
    return torch.stack(differences).max().item()

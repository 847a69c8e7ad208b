"""The work of `flowgru evaluate`: a model or a baseline on data sets, as a table and as files."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import COMPUTED, Way
from flowgru.console import progress, warn
from flowgru.data.classical import BASELINES, OPENCV_VERSION
from flowgru.data.sets.opening import FlowPairs, open_datasets
from flowgru.estimation.initial_flow import FlowFolder, InitialFlow
from flowgru.estimation.opening import open_network
from flowgru.estimation.outputs import make_folders
from flowgru.evaluation.evaluate import (
    Estimator,
    GivenStart,
    benchmark_estimator,
    evaluate,
    picture_estimator,
    read_estimate,
)
from flowgru.evaluation.set_report import MeasuredSet, print_table, refuse_existing, write_results
from flowgru.evaluation.worst import WorstPairs


def run_evaluation(
    data: list[str],
    settings: ModelSettings,
    *,
    root: str,
    baseline: str | None,
    flows: str | None,
    static: int,
    output: str | None,
    worst: int,
    overwrite: bool,
) -> bool:
    """Measures and reports, see flowgru.commands.evaluate; whether every pair could be read."""
    sets = open_datasets(data, root)
    folder = None if flows is None else FlowFolder(flows, option="--flows")
    if output is not None:
        refuse_existing(Path(output), overwrite=overwrite)
    if folder is not None:
        static = 0  # nothing can be estimated between a picture and itself
        estimator_for, method = _from_files(flows)
    else:
        estimator_for, method = open_model(settings) if baseline is None else open_baseline(baseline)
    method["static_pairs"] = static
    if output is not None:
        make_folders([Path(output)])
    if (start := settings.initial_flow) is not None and start not in COMPUTED:
        folder = FlowFolder(start)
    measured = []
    for pairs in sets:
        given = None if folder is None else partial(_read_flow, folder, pairs.label, filled=flows is None)
        measured.append(_measure(estimator_for(pairs.name), pairs, static, given, worst if output else 0))
    print_table(method, measured)
    if output is not None:
        write_results(Path(output), method, measured, overwrite=overwrite)
    left_out = [line for found in measured for line in found.evaluation.left_out]
    for line in left_out:
        warn(f"error: {line}; this pair was left out")
    return not left_out


def _from_files(flows: str | None) -> tuple[Callable[[str], Estimator], dict[str, Any]]:
    """What passes on the flows of a folder, and what the report says of it."""
    return lambda _: read_estimate, {"flows": flows}


def _read_flow(folder: FlowFolder, label: str, name: str, size: tuple[int, ...], *, filled: bool) -> InitialFlow:
    """The flow of a pair in a folder, named as the pair, with the name of its set, without ending, or without it."""
    without = name.removeprefix(f"{label}/")
    named = f"{label.removesuffix('.csv')}/{without}"
    return folder.read(without if folder.has(without) and not folder.has(named) else named, size, filled=filled)


def open_baseline(name: str) -> tuple[Callable[[str], Estimator], dict[str, Any]]:
    """What makes the estimator of a data set, and what the report says of it."""
    return lambda _: picture_estimator(BASELINES[name]), {"baseline": name, "opencv": OPENCV_VERSION}


def open_model(settings: ModelSettings) -> tuple[Callable[[str], Estimator], dict[str, Any]]:
    """What makes the estimator of a data set, which pads as is usual there, and what the report says of it."""
    network = open_network(settings)
    way = settings.way(network.card)
    computed = ("precision", "correlation", "tiles", "stop_below", "compile")
    usual = {field.name: field.default for field in fields(ModelSettings)}
    return partial(benchmark_estimator, network, settings), {
        "model": settings.model,
        "way": str(way),
        **asdict(way),
        **({} if way.initial_flow != "given" else {"initial_flow": settings.initial_flow}),
        "warm_start": settings.warm_start,
        "device": str(network.device),
        **{name: value for name in computed if (value := getattr(settings, name)) != usual[name]},
        "torch": torch.__version__,
        **({} if way == Way(way.iterations) else {"opencv": OPENCV_VERSION}),
    }


def _measure(
    estimator: Estimator, pairs: FlowPairs, static: int, given: GivenStart | None, num_worst: int
) -> MeasuredSet:
    worst = WorstPairs(num_worst)
    with progress(pairs.label, len(pairs), "pairs") as advance:

        def watch(measured, sample, flow):
            worst(measured, sample, flow)
            advance()

        evaluation = evaluate(
            estimator, pairs, static_pairs=static, given=given, watch=watch, on_left_out=lambda _: advance()
        )
    return MeasuredSet(pairs, evaluation, worst.pairs)

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
from flowgru.data.sets.opening import FlowPairs, open_dataset
from flowgru.estimation.initial_flow import FlowFolder, InitialFlow
from flowgru.estimation.opening import open_network
from flowgru.estimation.outputs import make_folders
from flowgru.evaluation.evaluate import Estimator, GivenStart, benchmark_estimator, evaluate, picture_estimator
from flowgru.evaluation.set_report import MeasuredSet, print_table, refuse_existing, write_results
from flowgru.evaluation.worst import WorstPairs


def run_evaluation(
    data: list[str],
    settings: ModelSettings,
    *,
    root: str,
    baseline: str | None,
    static: int,
    output: str | None,
    worst: int,
    overwrite: bool,
) -> bool:
    """Measures and reports, see flowgru.commands.evaluate; whether every pair could be read."""
    sets = [open_dataset(name, root) for name in dict.fromkeys(data)]
    if output is not None:
        refuse_existing(Path(output), overwrite=overwrite)
    estimator_for, method = open_model(settings) if baseline is None else open_baseline(baseline)
    method["static_pairs"] = static
    if output is not None:
        make_folders([Path(output)])
    start = settings.initial_flow
    folder = None if start is None or start in COMPUTED else FlowFolder(start)
    measured = []
    for pairs in sets:
        given = None if folder is None else partial(_read_initial_flow, folder, pairs.name)
        measured.append(_measure(estimator_for(pairs.name), pairs, static, given, worst if output else 0))
    print_table(method, measured)
    if output is not None:
        write_results(Path(output), method, measured, overwrite=overwrite)
    damaged = [line for found in measured for line in found.evaluation.damaged]
    for line in damaged:
        warn(f"error: {line}; this pair was left out")
    return not damaged


def _read_initial_flow(folder: FlowFolder, data_set: str, name: str, size: tuple[int, ...]) -> InitialFlow:
    """The initial flow of a pair, named as the pair; that of a manifest lies in a folder of the manifest's name."""
    if data_set.endswith(".csv"):
        name = f"{Path(data_set).stem}/{name.removeprefix(f'{data_set}/')}"
    return folder.read(name, size)


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
    with progress(pairs.name, len(pairs), "pairs") as advance:

        def watch(measured, sample, flow):
            worst(measured, sample, flow)
            advance()

        evaluation = evaluate(
            estimator, pairs, static_pairs=static, given=given, watch=watch, on_damaged=lambda _: advance()
        )
    return MeasuredSet(pairs, evaluation, worst.pairs)

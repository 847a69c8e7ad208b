"""`flowgru evaluate`: the errors of a model, or of a baseline, on benchmark pairs with known flow."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import COMPUTED, Way
from flowgru.errors import InputFileError, RequestError
from flowgru.evaluation.set_report import MeasuredSet, print_table, refuse_existing, write_results

if TYPE_CHECKING:
    from flowgru.data.sets.opening import FlowPairs
    from flowgru.estimation.initial_flow import FlowFolder, InitialFlow
    from flowgru.evaluation.evaluate import Estimator, GivenStart


def evaluate(
    data: list[str],
    settings: ModelSettings,
    root: str = "datasets",
    baseline: Literal["dis", "farneback", "zero"] | None = None,
    static: int = 8,
    output: str | None = None,
    worst: int = 5,
    overwrite: bool = False,
) -> int:
    """Prints the errors of a model, or of a classical baseline, on benchmark pairs with known flow.

    A pair that cannot be read is left out and named at the end; the exit code is then 3.

    data: Data sets, such as chairs, sintel (both passes), sintel_clean, kitti2015, middlebury; or a manifest.csv, whose
        column `set` gives each of its groups a column of the table.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    baseline: Measure a method without learning instead: OpenCV's DIS or Farneback, or zero flow.
    static: Also estimate the flow from the first picture to itself, for so many pairs evenly spread over each set:
        static_flow, which should be 0; 0: none.
    output: Folder that receives evaluation.json, pairs.csv with the measures of every pair, and pictures. The files in a
        folder of --initial-flow are named as the pairs there; those of my/manifest.csv lie in its folder manifest.
    worst: With --output, pictures of so many pairs of each set, those with the largest error; 0: none.
    overwrite: Replace results that are already there; without it the command refuses before any work.
    """
    if baseline is not None and (given := settings.given()):
        raise RequestError(
            f"--baseline {baseline} is no model, and has no {' or '.join(given)}: give one or the others"
        )
    for name, value in (("worst", worst), ("static", static)):
        if value < 0:
            raise RequestError(f"--{name} is {value}: it must be 0 or more")
    from flowgru.console import warn
    from flowgru.data.sets.opening import open_dataset
    from flowgru.estimation.initial_flow import FlowFolder
    from flowgru.estimation.outputs import make_folders

    sets = [open_dataset(name, root) for name in dict.fromkeys(data)]
    if output is not None:
        refuse_existing(Path(output), overwrite=overwrite)
    if baseline is not None:
        estimator_for, method = open_baseline(baseline)
    else:
        estimator_for, method = open_model(settings)
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
    return InputFileError.exit_code if damaged else 0


def _read_initial_flow(folder: "FlowFolder", data_set: str, name: str, size: tuple[int, ...]) -> "InitialFlow":
    """The initial flow of a pair, named as the pair; that of a manifest lies in a folder of the manifest's name."""
    if data_set.endswith(".csv"):
        name = f"{Path(data_set).stem}/{name.removeprefix(f'{data_set}/')}"
    return folder.read(name, size)


def open_baseline(name: str) -> "tuple[Callable[[str], Estimator], dict[str, Any]]":
    """What makes the estimator of a data set, and what the report says of it."""
    from flowgru.data.classical import BASELINES, OPENCV_VERSION
    from flowgru.evaluation.evaluate import picture_estimator

    return lambda _: picture_estimator(BASELINES[name]), {"baseline": name, "opencv": OPENCV_VERSION}


def open_model(settings: ModelSettings) -> "tuple[Callable[[str], Estimator], dict[str, Any]]":
    """What makes the estimator of a data set, which pads as is usual there, and what the report says of it."""
    import torch

    from flowgru.data.classical import OPENCV_VERSION
    from flowgru.estimation.opening import open_network
    from flowgru.evaluation.evaluate import benchmark_estimator

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
    estimator: "Estimator", pairs: "FlowPairs", static: int, given: "GivenStart | None", num_worst: int
) -> MeasuredSet:
    from flowgru.console import progress
    from flowgru.evaluation.evaluate import evaluate as measure
    from flowgru.evaluation.worst import WorstPairs

    worst = WorstPairs(num_worst)
    with progress(pairs.name, len(pairs), "pairs") as advance:

        def watch(measured, sample, flow):
            worst(measured, sample, flow)
            advance()

        evaluation = measure(
            estimator, pairs, static_pairs=static, given=given, watch=watch, on_damaged=lambda _: advance()
        )
    return MeasuredSet(pairs, evaluation, worst.pairs)

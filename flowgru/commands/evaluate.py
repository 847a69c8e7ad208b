"""`flowgru evaluate`: the errors of a model, or of a baseline, on benchmark pairs with known flow."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowgru.config.choices import CorrelationMethod, Precision
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
    root: str = "datasets",
    model: str = "default",
    iterations: int | None = None,
    initial_flow: str | None = None,
    hold: int | None = None,
    polish: bool | None = None,
    warm_start: bool = False,
    baseline: Literal["dis", "farneback", "zero"] | None = None,
    static: int = 8,
    output: str | None = None,
    worst: int = 5,
    device: str = "auto",
    precision: Precision = "32",
    correlation: CorrelationMethod = "auto",
    tiles: str = "1x1",
    overwrite: bool = False,
) -> int:
    """Prints the errors of a model, or of a classical baseline, on benchmark pairs with known flow.

    A pair that cannot be read is left out and named at the end; the exit code is then 3.

    data: Data sets, such as chairs, sintel (both passes), sintel_clean, kitti2015, middlebury; or a manifest.csv, whose
        column `set` gives each of its groups a column of the table.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    model: default, raft_large, raft_small, a file of weights, or an exported model (.onnx, .xml).
    iterations: Refinements of each flow; without it the number in the model's card, else 12.
    initial_flow: Where the refinement of each pair begins: dis (the flow of OpenCV's DIS), zero, or a folder of flow files
        that are named as the pairs in pairs.csv (those of my/manifest.csv lie in manifest/); without it what the model's
        card says, else zero.
    hold: Refinements before the others that settle the hidden state and leave the flow where it is; without it the number
        in the model's card, else 0.
    polish: Take the initial flow where the pictures agree better with it, and refine the flow by variation; without it
        what the model's card says, else no.
    warm_start: Start each pair at the flow of the pair before, carried along by itself, where the one begins with the
        picture that ended the other; every scene and pass starts anew, at the initial flow.
    baseline: Measure a method without learning instead: OpenCV's DIS or Farneback, or zero flow.
    static: Also estimate the flow from the first picture to itself, for so many pairs evenly spread over each set:
        static_flow, which should be 0; 0: none.
    output: Folder that receives evaluation.json, pairs.csv with the measures of every pair, and pictures.
    worst: With --output, pictures of so many pairs of each set, those with the largest error; 0: none.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    precision: Bits of the arithmetic; bf16 and 16 compute in mixed precision.
    correlation: How matches are computed: all_pairs keeps those of all pairs of pixels, on_demand computes what it needs in
        each refinement, in little memory; auto takes all_pairs where it fits.
    tiles: ROWSxCOLUMNS of overlapping tiles that are computed one after the other, for pictures that memory cannot hold.
    overwrite: Replace results that are already there; without it the command refuses before any work.
    """
    settings = ModelSettings(
        model=model,
        iterations=iterations,
        initial_flow=initial_flow,
        hold=hold,
        polish=polish,
        warm_start=warm_start,
        device=device,
        precision=precision,
        correlation=correlation,
        tiles=tiles,
    )
    if baseline is not None and settings != ModelSettings():
        raise RequestError(
            "--baseline has no --model, --iterations, --initial-flow, --hold, --polish, --warm-start, --device, "
            "--precision, --correlation or --tiles: give one or the others"
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
    folder = None if initial_flow is None or initial_flow in COMPUTED else FlowFolder(initial_flow)
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

    computed = {"precision": settings.precision, "correlation": settings.correlation, "tiles": settings.tiles}
    usual = {field.name: field.default for field in fields(ModelSettings)}
    return partial(benchmark_estimator, network, settings), {
        "model": settings.model,
        "way": str(way),
        **asdict(way),
        **({} if way.initial_flow != "given" else {"initial_flow": settings.initial_flow}),
        "warm_start": settings.warm_start,
        "device": str(network.device),
        **{name: value for name, value in computed.items() if value != usual[name]},
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

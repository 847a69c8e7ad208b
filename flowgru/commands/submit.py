"""`flowgru submit`: the flows of a benchmark's test split, in the files that its server takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import COMPUTED
from flowgru.errors import InputFileError, RequestError

if TYPE_CHECKING:
    from flowgru.data.sets.test_splits import BenchmarkTestSplit, SubmissionPair
    from flowgru.evaluation.evaluate import Estimator

SHOWN_FAULTS = 5
"""As many faults of a package are printed before they are only counted."""


def submit(
    benchmark: list[str],
    settings: ModelSettings,
    root: str = "datasets",
    output: str | None = None,
    check: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes the flows of a benchmark's test split as its server takes them, and checks them before it says so.

    benchmark: sintel, kitti2012, kitti2015 or spring.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    output: Folder that receives the flows and, for KITTI, the zip to upload.
    check: Only check the flows in this folder, which may come from anywhere; nothing is written.
    partial: Go on where pairs of the test split are missing, to try the command out; a server wants them all.
    overwrite: Replace flows that are already there; without it the command refuses before any work.
    """
    from flowgru.data.sets.test_splits import TEST_SPLITS, open_test_split

    name, *more = benchmark
    if more or name not in TEST_SPLITS:
        raise RequestError(f"unknown benchmark {' '.join(benchmark)!r}: expected one of {', '.join(TEST_SPLITS)}")
    if (output is None) == (check is None):
        raise RequestError("give either --output FOLDER, to write flows, or --check FOLDER, to check those there")
    if check is not None and (given := [*settings.given(), *["--overwrite"] * overwrite]):
        raise RequestError(
            f"--check only reads, and has no {' or '.join(given)}: leave that out, or give --output to estimate flows"
        )
    if settings.warm_start and name != "sintel":
        raise RequestError(f"--warm-start is for sintel: the pairs of {name} are not estimated one after the other")
    split, pairs = TEST_SPLITS[name], open_test_split(name, Path(root))
    if len(pairs) != split.num_flows and not partial:
        raise InputFileError(
            f"the test split of {name} below {root} has {len(pairs)} pairs, the server asks for {split.num_flows}: "
            "unpack it again, or try the command out with --partial"
        )
    package = Path(output or check or "")
    zip_name = f"{name}.zip"
    if check is None:
        _refuse_existing(package, {zip_name, *(pair.target for pair in pairs)}, overwrite=overwrite)
        estimator = open_estimator(name, settings)
        _write_flows(name, package, pairs, estimator, initial_flow=settings.initial_flow, overwrite=overwrite)
    _report(name, split, package, pairs, zip_name, zipping=check is None, overwrite=overwrite)


def _refuse_existing(folder: Path, own: set[str], *, overwrite: bool) -> None:
    """RequestError where flows would be replaced, or where files lie that would make the package invalid."""
    from flowgru.data.sets.submissions import files_in

    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--output {folder} is a file: name a folder")
    present = files_in(folder)
    if others := sorted(present - own):
        raise RequestError(f"{folder} already holds {others[0]}, which is no part of a submission: remove it")
    if present and not overwrite:
        raise RequestError(f"{folder} already holds {min(present)}: give --overwrite or another --output")


def open_estimator(benchmark: str, settings: ModelSettings) -> "Estimator":
    """The model that the settings name, padding as is usual for the benchmark; says its way."""
    from flowgru.console import say
    from flowgru.estimation.opening import open_network
    from flowgru.evaluation.evaluate import benchmark_estimator

    network = open_network(settings)
    say(f"{settings.model}: {settings.way(network.card)}")
    return benchmark_estimator(network, settings, benchmark)


def _write_flows(
    name: str,
    folder: Path,
    pairs: "list[SubmissionPair]",
    estimator: "Estimator",
    *,
    initial_flow: str | None,
    overwrite: bool,
) -> None:
    """One file for each pair; pairs that follow each other are a Chain."""
    import torch

    from flowgru.console import progress, warn
    from flowgru.data.formats.images import read_image, to_tensor
    from flowgru.data.sets.submissions import write_submitted
    from flowgru.estimation.initial_flow import FlowFolder
    from flowgru.estimation.outputs import make_folders
    from flowgru.evaluation.evaluate import Chain

    given = None if initial_flow is None or initial_flow in COMPUTED else FlowFolder(initial_flow).read
    make_folders([folder])
    chain, num_clipped = Chain(estimator, given), 0
    with progress(name, len(pairs)) as advance, torch.inference_mode():
        for pair in pairs:
            first, second = (to_tensor(read_image(path))[None] for path in (pair.first, pair.second))
            start = chain.start(pair, pair.target.rpartition(".")[0], tuple(first.shape[2:]))
            flow = chain.estimate(first, second, start).flow
            array = flow[0].float().permute(1, 2, 0).cpu().numpy()
            num_clipped += write_submitted(folder / pair.target, array, overwrite=overwrite)
            advance()
    if num_clipped:
        warn(f"warning: {num_clipped} pixels moved further than the format holds (-512 to 511.98): clipped")


def _report(
    name: str,
    split: "BenchmarkTestSplit",
    folder: Path,
    pairs: "list[SubmissionPair]",
    zip_name: str,
    *,
    zipping: bool,
    overwrite: bool,
) -> None:
    """Says that the package is ready, once everything in it has been checked. InputFileError where it is not."""
    from flowgru.console import say
    from flowgru.data.sets.submissions import package_faults, zip_fault, zip_package

    besides = [zip_name] if split.zipped else []
    zipped = split.zipped and (zipping or (folder / zip_name).exists())
    faults = package_faults(folder, pairs, besides=besides)
    if zipped and not zipping and not faults and (fault := zip_fault(folder / zip_name, folder, pairs)):
        faults = [f"{zip_name} {fault}"]
    if faults:
        more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise InputFileError(f"{folder} is no submission to {name}: {'; '.join(faults[:SHOWN_FAULTS])}{more}")
    if split.zipped and zipping:
        zip_package(folder / zip_name, folder, pairs, overwrite=overwrite)
    checked = f"{folder}: {len(pairs)} flows for {name}, each of them checked"
    if len(pairs) != split.num_flows:
        say(f"{checked}; NOT to be uploaded: the server asks for {split.num_flows}")
    else:
        first_step = "" if zipped or not split.zipped else "zip them, with their names from this folder on; "
        say(f"{checked}; ready: {first_step}{split.last_step}")

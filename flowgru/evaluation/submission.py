"""The work of `flowgru submit`: the flows of a test split as its server takes them, each of them checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from flowgru.config.model_settings import ModelSettings
from flowgru.console import progress, say, warn
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.data.sets.submissions import (
    files_in,
    package_faults,
    picture_size,
    write_submitted,
    zip_fault,
    zip_package,
)
from flowgru.data.sets.test_splits import TEST_SPLITS, BenchmarkTestSplit, SubmissionPair, open_test_split
from flowgru.errors import InputFileError, RequestError, sides, size_text
from flowgru.estimation.matching.initial_flow import FlowFolder
from flowgru.estimation.opening import open_network
from flowgru.evaluation.evaluate import Chain, Estimator, benchmark_estimator
from flowgru.files.atomic import remove_leftovers
from flowgru.files.own_folders import KeptFolders, make_folders, refuse_file, refuse_link

WARM = ("sintel", "spring")
"""Benchmarks in whose test split pairs go on where those before them ended; for the way back Spring's pairs begin anew."""

SHOWN_FAULTS = 5
"""The number of faults of a package that are printed before they are only counted."""


class OpenedBenchmark(NamedTuple):
    """A benchmark and the pairs of its test split that are there."""

    name: str
    split: BenchmarkTestSplit
    pairs: Sequence[SubmissionPair]

    @property
    def zip_name(self) -> str:
        """The file to upload, of a benchmark that takes a zip; another name where pairs are missing, so that none is."""
        return f"{self.name}.zip" if self.is_whole else f"{self.name}_partial_not_for_upload.zip"

    @property
    def is_whole(self) -> bool:
        """All pairs that the server asks for are there."""
        return len(self.pairs) == self.split.num_flows


def open_benchmark(name: str, root: str, settings: ModelSettings, *, partial: bool) -> OpenedBenchmark:
    """The test split below `root`; with `partial` some of its pairs may be missing.

    RequestError for an unknown name, or settings that its pairs do not take; InputFileError where pairs are
    missing, or have two sizes.
    """
    if name not in TEST_SPLITS:
        raise RequestError(f"unknown benchmark {name!r}: expected one of {', '.join(TEST_SPLITS)}")
    if settings.warm_start and name not in WARM:
        raise RequestError(f"--warm-start is for {' and '.join(WARM)}: no pair of {name} goes on where another ended")
    split, pairs = TEST_SPLITS[name], open_test_split(name, Path(root))
    if len(pairs) != split.num_flows and not partial:
        raise InputFileError(
            f"the test split of {name} below {root} has {len(pairs)} pairs, the server asks for {split.num_flows}: "
            "unpack it again, or try the command out with --partial"
        )
    for pair in pairs:
        first, second = picture_size(pair.first), picture_size(pair.second)
        if first != second:
            raise InputFileError(
                f"{pair.second} is {sides(second)} and {pair.first} {size_text(first)}: unpack the test split again"
            )
    return OpenedBenchmark(name, split, pairs)


def make_submission(benchmark: OpenedBenchmark, output: str, settings: ModelSettings, *, overwrite: bool) -> None:
    """Estimates and writes every flow, checks what was written, and says what is left to do."""
    folder = Path(output)
    own = {benchmark.zip_name, *(pair.target for pair in benchmark.pairs)}
    _refuse_existing(folder, own, overwrite=overwrite)
    estimator = open_estimator(benchmark.name, settings)
    _write_flows(benchmark, folder, estimator, flow_folder=settings.flow_folder, overwrite=overwrite)
    _refuse_faults(benchmark, folder, zipped=False)
    if benchmark.split.zipped:
        zip_package(folder / benchmark.zip_name, folder, benchmark.pairs, overwrite=overwrite)
    _report(benchmark, folder, zipped=benchmark.split.zipped)


def check_submission(benchmark: OpenedBenchmark, folder: str) -> None:
    """Says that the flows in a folder are a submission. InputFileError, with what is wrong, where they are none."""
    zipped = benchmark.split.zipped and (Path(folder) / benchmark.zip_name).exists()
    _refuse_faults(benchmark, Path(folder), zipped=zipped)
    _report(benchmark, Path(folder), zipped=zipped)


def open_estimator(benchmark: str, settings: ModelSettings) -> Estimator:
    """The model that the settings name, padding as is usual for the benchmark; says its way."""
    network = open_network(settings)
    say(f"{settings.model}: {settings.way(network.card)}")
    return benchmark_estimator(network, settings, benchmark)


def _refuse_existing(folder: Path, own: set[str], *, overwrite: bool) -> None:
    """RequestError where flows would be replaced, or where files lie that would make the package invalid."""
    refuse_file(folder)
    for name in own:
        refuse_link((folder / name).parent, folder)
    for place in {(folder / name).parent for name in own}:
        remove_leftovers(place)
    present = files_in(folder)
    if others := sorted(present - own):
        raise RequestError(f"{folder} already holds {others[0]}, which is no part of a submission: remove it")
    if present and not overwrite:
        raise RequestError(f"{folder} already holds {min(present)}: give --overwrite or another --output")


def _write_flows(
    benchmark: OpenedBenchmark, folder: Path, estimator: Estimator, *, flow_folder: str | None, overwrite: bool
) -> None:
    """One file for each pair; pairs that follow each other are a Chain."""
    given = None if flow_folder is None else FlowFolder(flow_folder).read
    make_folders([folder])
    kept = KeptFolders([folder])
    chain, num_clipped = Chain(estimator, given), 0
    with progress(benchmark.name, len(benchmark.pairs), "pairs") as advance, torch.inference_mode():
        for pair in benchmark.pairs:
            first, second = (to_tensor(read_image(path))[None] for path in (pair.first, pair.second))
            start = chain.start(pair, pair.target.rpartition(".")[0], tuple(first.shape[2:]))
            flow = chain.estimate(first, second, start).flow
            kept.check()
            array = flow[0].float().permute(1, 2, 0).cpu().numpy()
            num_clipped += write_submitted(folder / pair.target, array, overwrite=overwrite)
            advance()
    if num_clipped:
        warn(f"warning: {num_clipped} pixels moved further than the format holds (-512 to 511.98): clipped")


def _refuse_faults(benchmark: OpenedBenchmark, folder: Path, *, zipped: bool) -> None:
    """InputFileError where the flows, or the zip of them, are not what the server takes."""
    besides = [benchmark.zip_name] if benchmark.split.zipped else []
    faults = package_faults(folder, benchmark.pairs, besides=besides)
    if zipped and not faults and (fault := zip_fault(folder / benchmark.zip_name, folder, benchmark.pairs)):
        faults = [f"{benchmark.zip_name} {fault}"]
    if faults:
        more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise InputFileError(f"{folder} is no submission to {benchmark.name}: {'; '.join(faults[:SHOWN_FAULTS])}{more}")


def _report(benchmark: OpenedBenchmark, folder: Path, *, zipped: bool) -> None:
    """Says that the package is ready, and what is left to be done with it."""
    split = benchmark.split
    checked = f"{folder}: {len(benchmark.pairs)} flows for {benchmark.name}, each of them checked"
    if not benchmark.is_whole:
        say(f"{checked}; NOT to be uploaded: the server asks for {split.num_flows}")
    else:
        first_step = "" if zipped or not split.zipped else "zip them, with their names from this folder on; "
        say(f"{checked}; ready: {first_step}{split.last_step}")

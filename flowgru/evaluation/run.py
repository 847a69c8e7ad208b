"""The work of `flowgru evaluate`: a model or a baseline on data sets, as a table and as files."""

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from flowgru.config.evaluation.measures import MeasureSettings
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import require_effect
from flowgru.config.way import Way
from flowgru.console import progress, warn
from flowgru.data.classical import BASELINES, OPENCV_VERSION
from flowgru.data.sets.clips import ClipPairs, is_clip, open_clips
from flowgru.data.sets.layouts import padding_mode
from flowgru.data.sets.opening import MANIFEST_SUFFIX, FlowPairs, is_manifest, open_datasets
from flowgru.estimation.matching.initial_flow import FlowFolder, InitialFlow
from flowgru.estimation.opening import open_network
from flowgru.evaluation.evaluate import (
    Estimator,
    benchmark_estimator,
    evaluate,
    picture_estimator,
    read_estimate,
)
from flowgru.evaluation.measures import results
from flowgru.evaluation.measures.reach import ReachBins
from flowgru.evaluation.measures.running import Gathered, measure_further, open_sweep, refuse_what_cannot_be
from flowgru.evaluation.measures.seconds import Timed
from flowgru.evaluation.measures.sections import Section
from flowgru.evaluation.measures.subjects import Subject
from flowgru.evaluation.set_report import MeasuredSet, print_table, refuse_existing, write_results
from flowgru.evaluation.worst import WorstPairs
from flowgru.files.atomic import remove_leftovers
from flowgru.files.own_folders import make_folders, remove_files
from flowgru.model.pair_network import PairNetwork

USUAL_STATIC, USUAL_WORST = 8, 5
"""Pairs of each set whose static flow is estimated, and of which there are pictures, where no other number is asked for."""


class Method(NamedTuple):
    """A way to estimate flow, and what the report says of it."""

    estimator_for: Callable[[str], Estimator]
    """Makes the estimator of a data set."""
    said: dict[str, Any]
    network: PairNetwork | None = None
    way: Way | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu") if self.network is None else self.network.device


def run_evaluation(
    data: list[str],
    settings: MeasureSettings,
    *,
    root: str,
    baseline: str | None,
    flows: str | None,
    static: int | None,
    output: str | None,
    worst: int | None,
    overwrite: bool,
) -> bool:
    """Measures and reports, see flowgru.commands.evaluate; whether everything could be read."""
    words = [word for word in data if is_clip(word)]
    sets = open_datasets([word for word in data if word not in words], root)
    refuse_what_cannot_be(settings, flows, has_truth=bool(sets), clips=words)
    for name, value in (("--static", static), ("--worst", worst)):
        require_effect(bool(sets) or not value, name, "on clips, whose true flow nobody knows")
    clips = open_clips(words, [pairs.label for pairs in sets])
    folder = None if output is None else Path(output)
    flow_folder = None if flows is None else FlowFolder(flows, option="--flows")
    if folder is not None:
        refuse_existing(folder, overwrite=overwrite)
        results.refuse_existing(folder, settings.measures(), overwrite=overwrite)
    if flow_folder is not None:
        method = _from_files(flows)
    else:
        method = open_model(settings) if baseline is None else open_baseline(baseline)
    # Of clips no pair is measured, and between a picture and itself no flow is read.
    num_static = (USUAL_STATIC if static is None else static) if sets and flows is None else 0
    num_worst = (USUAL_WORST if worst is None else worst) if output else 0
    said = {**method.said, "static_pairs": num_static}
    if folder is not None:
        make_folders([folder])
        remove_leftovers(folder)
    if settings.flow_folder is not None:
        flow_folder = FlowFolder(settings.flow_folder)
    subjects = [_subject(pairs, method, flow_folder, flows) for pairs in [*sets, *clips]]
    sweep = open_sweep(settings, subjects, said, folder, can_estimate=flows is None, overwrite=overwrite)
    whole = False
    try:
        gathered = Gathered([], [])
        measured = [
            _measure(subject, pairs, settings, num_static, num_worst, method.device, gathered)
            for subject, pairs in zip(subjects, sets, strict=False)
        ]
        print_table(said, measured)
        generated = None if flows is not None else method.estimator_for("generated")
        sections = measure_further(settings, subjects, gathered, sweep, generated, method.device, method.way)
        results.print_sections(sections)
        if folder is not None:
            _write(folder, said, measured, sections, settings, overwrite=overwrite)
        whole = True
    finally:
        sweep.close(keep=not whole)
    left_out = [line for found in measured for line in found.evaluation.left_out]
    for line in left_out:
        warn(f"error: {line}; this pair was left out")
    problems = [problem for clip in clips for problem in clip.problems]
    for problem in problems:
        warn(f"error: {problem}")
    return not left_out and not problems


def _write(
    folder: Path,
    said: dict[str, Any],
    measured: list[MeasuredSet],
    sections: list[Section],
    settings: MeasureSettings,
    *,
    overwrite: bool,
) -> None:
    """All files of the evaluation, in place of an earlier one's."""
    remove_files(results.earlier_files(folder))
    further = results.sections_report(sections, settings.measures())
    write_results(folder, said, measured, further=further, overwrite=overwrite)
    results.write_sections(folder, sections, overwrite=overwrite)
    if settings.report:
        from flowgru.evaluation.measures.page import write_page

        write_page(folder, said, measured, sections, overwrite=overwrite)


def _from_files(flows: str | None) -> Method:
    """What passes on the flows of a folder."""
    return Method(lambda _: read_estimate, {"flows": flows})


def _subject(pairs: FlowPairs | ClipPairs, method: Method, folder: FlowFolder | None, flows: str | None) -> Subject:
    given = None if folder is None else partial(_read_flow, folder, pairs.label, filled=flows is None)
    return Subject(pairs, method.estimator_for(pairs.name), given, method.network, method.way, padding_mode(pairs.name))


def _read_flow(folder: FlowFolder, label: str, name: str, size: tuple[int, ...], *, filled: bool) -> InitialFlow:
    """The flow of a pair in a folder, named as the pair, with the name of its set, without ending, or without it."""
    without = name.removeprefix(f"{label}/")
    named = f"{label[: -len(MANIFEST_SUFFIX)] if is_manifest(label) else label}/{without}"
    return folder.read(without if folder.has(without) and not folder.has(named) else named, size, filled=filled)


def open_baseline(name: str) -> Method:
    """A method without learning."""
    return Method(lambda _: picture_estimator(BASELINES[name]), {"baseline": name, "opencv": OPENCV_VERSION})


def open_model(settings: ModelSettings) -> Method:
    """A model, which pads as is usual for each data set."""
    network = open_network(settings)
    way = settings.way(network.card)
    computed = ("precision", "correlation", "tiles", "stop_below", "compile")
    usual = {field.name: field.default for field in fields(ModelSettings)}
    said = {
        "model": settings.model,
        "way": str(way),
        **{name: value for name, value in asdict(way).items() if value is not None},
        **({} if way.initial_flow != "given" else {"initial_flow": settings.initial_flow}),
        "warm_start": settings.warm_start,
        "device": str(network.device),
        **{name: value for name in computed if (value := getattr(settings, name)) != usual[name]},
        "torch": torch.__version__,
        **({} if way == Way(way.iterations) else {"opencv": OPENCV_VERSION}),
    }
    return Method(partial(benchmark_estimator, network, settings), said, network, way)


def _measure(
    subject: Subject,
    pairs: FlowPairs,
    settings: MeasureSettings,
    static: int,
    num_worst: int,
    device: torch.device,
    gathered: Gathered,
) -> MeasuredSet:
    """The errors of a data set, and what is gathered of them on the way."""
    worst, bins, estimator = WorstPairs(num_worst), ReachBins(pairs.label), subject.estimator
    if settings.time:
        estimator = Timed(estimator, device)
        gathered.timed.append((pairs.label, estimator))
    if settings.reach:
        gathered.bins.append(bins)
    with progress(pairs.label, len(pairs), "pairs") as advance:

        def watch(measured, sample, flow):
            worst(measured, sample, flow)
            if settings.reach:
                bins.add(sample, flow)
            advance()

        evaluation = evaluate(
            estimator, pairs, static_pairs=static, given=subject.given, watch=watch, on_left_out=lambda _: advance()
        )
    return MeasuredSet(pairs, evaluation, worst.pairs)

"""Which of the further measures an evaluation makes, and of what."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from flowgru.config.evaluation.measures import MeasureSettings
from flowgru.config.way import Way
from flowgru.console import say
from flowgru.data.classical import num_threads
from flowgru.data.formats.flow_formats import BY_SUFFIX
from flowgru.data.sets.opening import FlowPairs
from flowgru.errors import RequestError, counted
from flowgru.estimation.reads import content_digest, weights_beside
from flowgru.evaluation.evaluate import Estimator
from flowgru.evaluation.measures.corrupted import CLEAN, measure_corruptions
from flowgru.evaluation.measures.reach import ReachBins, kinds_of_scene, measure_sizes, reach_section
from flowgru.evaluation.measures.seconds import Timed, time_clip, time_section
from flowgru.evaluation.measures.sections import Section
from flowgru.evaluation.measures.subjects import Subject
from flowgru.evaluation.measures.sweep import Sweep
from flowgru.evaluation.measures.temporal import measure_temporal
from flowgru.evaluation.measures.trusted import measure_trust
from flowgru.processes.devices import device_name
from flowgru.version import VERSION

OF_CLIPS = {"--corruptions", "--temporal", "--time"}
"""Measures that say something of frames whose true flow is not known."""

GIVEN_IS_ZERO = "--initial-flow has no flow of generated pairs: they begin at zero here, and their polish has no gate."


class Gathered(NamedTuple):
    """What the measuring of the errors leaves for further measures."""

    bins: list[ReachBins]
    timed: list[tuple[str, Timed]]


def refuse_what_cannot_be(
    settings: MeasureSettings, flows: str | None, *, has_truth: bool, clips: Sequence[str]
) -> None:
    """RequestError where nothing that is asked for can be measured of the data or of the method."""
    asked = {*settings.measures()} - {"--report"}
    if flows is not None and (estimating := sorted(asked - {"--reach"})):
        raise RequestError(
            f"--flows {flows} holds flows of the data alone, and {' and '.join(estimating)} need others: leave one out"
        )
    if not clips:
        return
    if flows is not None:
        raise RequestError(
            f"{clips[0]} has no true flow that --flows {flows} could be measured against: "
            f"{'leave it out' if has_truth else 'give a data set'}"
        )
    if not asked & OF_CLIPS:
        why = "--trust compares errors, which need one" if settings.trust else "errors need one"
        raise RequestError(
            f"{clips[0]} has no true flow, and {why}: give --corruptions, --temporal or --time, or "
            f"{'leave it out' if has_truth else 'a data set with flow'}"
        )


def measure_further(
    settings: MeasureSettings,
    subjects: Sequence[Subject],
    gathered: Gathered,
    sweep: Sweep,
    estimator: Estimator | None,
    device: torch.device,
    way: Way | None,
) -> list[Section]:
    """All measures besides the errors that are asked for, in the order in which the help lists them.

    `estimator` is the method as it is used on generated pairs; None for flows from files.
    """
    sections = []
    of_generated = [GIVEN_IS_ZERO] if way is not None and way.initial_flow == "given" else []
    if settings.corruptions:
        names, severity = settings.names_of_corruptions(), settings.severity or 2
        sections.append(measure_corruptions(subjects, names, severity, sweep))
    if settings.trust:
        sections.append(measure_trust(subjects, settings))
    if settings.temporal and estimator is not None:
        size = settings.size_of_clips()
        temporal = measure_temporal(subjects, estimator, size, settings.clip_frames)
        sections.append(temporal._replace(notes=[*temporal.notes, *of_generated]))
    if settings.reach:
        scene, notes = None, ["The scene at several sizes is left out: --flows holds flows of the data alone."]
        if estimator is not None:
            scene, notes = measure_sizes(
                estimator, device, settings.sizes_of_scene(), sweep, _conditions(settings, device)
            )
        sections.append(reach_section(gathered.bins, scene, [*notes, *of_generated]))
    if settings.time:
        clips = [
            (subject.label, Timed(subject.estimator, device), subject) for subject in subjects if not subject.has_truth
        ]
        for _, timed, subject in clips:
            time_clip(subject, timed)
        all_timed = [*gathered.timed, *((label, timed) for label, timed, _ in clips)]
        sections.append(time_section(all_timed, settings, way, subjects[0].network))
    return sections


def open_sweep(
    settings: MeasureSettings,
    subjects: Sequence[Subject],
    method: Mapping[str, Any],
    folder: Path | None,
    *,
    can_estimate: bool,
    overwrite: bool,
) -> Sweep:
    """Where measurements that take long are kept while they are made; says so where an earlier run goes on.

    can_estimate: whether there is a method that estimates new pairs, as flows from files do not.
    """
    sizes = kinds_of_scene(settings.sizes_of_scene()) if settings.reach and can_estimate else []
    if folder is None or not (settings.corruptions or sizes):
        return Sweep()
    model, given = Path(settings.model), None if settings.flow_folder is None else Path(settings.flow_folder)
    request = {
        "flowgru": VERSION,
        "method": {name: value for name, value in method.items() if name != "static_pairs"},
        "model file": _stamp([model]) if model.is_file() else None,
        **({"weights": content_digest(weights)} if (weights := weights_beside(settings.model)) else {}),
        "severity": settings.severity or 2,
        "data": {subject.label: _stamp(_parts(subject)) for subject in subjects},
        "initial flows": None if given is None else _stamp(_flow_files(given)),
    }
    kinds = [*([CLEAN, *settings.names_of_corruptions()] if settings.corruptions else []), *sizes]
    sweep = Sweep(folder, request, kinds, overwrite=overwrite)
    if sweep.num_known:
        say(f"{folder}: goes on with {counted(sweep.num_known, 'measurement')} of an interrupted run")
    return sweep


def _conditions(settings: MeasureSettings, device: torch.device) -> dict[str, Any]:
    """What the seconds and the memory of a scene depend on, and its flow does not."""
    return {
        "threads": torch.get_num_threads(),
        "opencv_threads": num_threads(),
        "device": device_name(device),
        "cuda_graph": settings.cuda_graph,
    }


def _parts(subject: Subject) -> Iterable[object]:
    """What a data set is made of: of each pair its name and files, or the files of a clip."""
    if isinstance(subject.pairs, FlowPairs):
        return (part for pair in subject.pairs.pairs for part in pair)
    return subject.pairs.files


def _flow_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in BY_SUFFIX)


def _stamp(parts: Iterable[object]) -> str:
    """What changes where one of these does, or their order: of files it reads name, size and time, not what is in them."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part!r}\n".encode("utf-8", "surrogateescape"))
        if isinstance(part, Path) and part.is_file():
            facts = part.stat()
            digest.update(f"{facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()

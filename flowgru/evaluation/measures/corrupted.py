"""Flow under corruptions: how far it is from the flow of the clean frames, and from the true one where that is known."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flowgru.config.evaluation.corruptions import CORRUPTION_NAMES
from flowgru.console import progress
from flowgru.data.corruptions.pairs import corrupt_pair
from flowgru.data.formats.images import to_levels, to_tensor
from flowgru.evaluation.measures.sections import Chart, Column, Curve, MeasuredTable, Section, mean
from flowgru.evaluation.measures.subjects import Pair, Subject, estimated, mean_distance, read_pairs
from flowgru.evaluation.measures.sweep import Sweep

CLEAN = "none"
"""What stands for the corruption where there is none."""


class CorruptedPair(NamedTuple):
    """One pair under one corruption, as a line of corruptions.csv."""

    pair: str
    set: str
    corruption: str
    severity: int
    distance: float
    """Mean distance in pixels of the flow from that of the clean frames; 0 without a corruption."""
    epe_per_image: float
    """Mean end-point error in pixels; NaN where the true flow is not known."""


def measure_corruptions(subjects: Sequence[Subject], names: Sequence[str], severity: int, sweep: Sweep) -> Section:
    """Every pair of every subject under each of the corruptions; what `sweep` holds of an earlier run is not done again."""
    wanted = [CLEAN, *names]
    for subject in subjects:
        missing = {index: _missing(subject, index, wanted, sweep) for index in range(len(subject.pairs))}
        skip = [index for index, corruptions in missing.items() if not corruptions]
        with progress(f"{subject.label} corrupted", len(missing) - len(skip), "pairs") as advance:
            for pair in read_pairs(subject, skip):
                for row in _rows(subject, pair, missing[pair.index], severity):
                    sweep.add(subject.label, pair.index, row.corruption, row._asdict())
                advance()
    rows = {
        subject.label: [
            found
            for index in range(len(subject.pairs))
            for name in wanted
            if (found := _found(subject, index, name, sweep)) is not None
        ]
        for subject in subjects
    }
    return _section(rows, wanted, severity)


def _missing(subject: Subject, index: int, names: Sequence[str], sweep: Sweep) -> list[str]:
    return [name for name in names if _found(subject, index, name, sweep) is None]


def _found(subject: Subject, index: int, name: str, sweep: Sweep) -> CorruptedPair | None:
    row = sweep.find(subject.label, index, name)
    if row is None or row.keys() != {*CorruptedPair._fields}:
        return None
    if not all(isinstance(row[name], int | float) for name in ("distance", "epe_per_image")):  # no sweep has left that
        return None
    return CorruptedPair(**row)


def _rows(subject: Subject, pair: Pair, names: Sequence[str], severity: int) -> Iterator[CorruptedPair]:
    """Its lines for these corruptions. What is drawn depends on the pair's name and the corruption alone."""
    sample = pair.sample
    group = subject.pairs.groups[pair.index]
    clean = estimated(subject.estimator, sample.first, sample.second, pair.start)
    seed = zlib.crc32(sample.name.encode("utf-8", "surrogateescape"))
    levels = to_levels(sample.first), to_levels(sample.second)
    for name in names:
        flow = clean
        if name != CLEAN:
            first, second = map(to_tensor, corrupt_pair(*levels, name, severity, seed))
            flow = estimated(subject.estimator, first, second, pair.start)
        error = mean_distance(flow, sample.flow, sample.valid) if subject.has_truth else float("nan")
        distance = mean_distance(flow, clean) if name != CLEAN else 0.0
        yield CorruptedPair(sample.name, group, name, severity if name != CLEAN else 0, distance, error)


def _section(rows: dict[str, list[CorruptedPair]], names: Sequence[str], severity: int) -> Section:
    columns, lines = _by_corruption(rows, names)
    says = (
        f"Flow under corruptions of severity {severity}. distance is the mean distance of the flow of the corrupted frames "
        "from that of the clean frames, which needs no true flow; epe_per_image is the mean of the pairs' mean "
        "end-point errors."
    )
    spoiled = [name for name in names if name != CLEAN]
    charts = [
        Chart(
            f"Distance from the flow of the clean frames, severity {severity}",
            "corruption",
            "distance [px]",
            [Curve(label, range(len(spoiled)), _means(pairs, spoiled)) for label, pairs in rows.items()],
            ticks=spoiled,
        )
    ]
    pairs = MeasuredTable(
        "corruptions",
        "Every pair under every corruption.",
        [Column(name) for name in CorruptedPair._fields],
        [list(pair) for group in rows.values() for pair in group],
        shown=False,
    )
    summary = MeasuredTable("corruptions_by_set", says, columns, lines)
    return Section("--corruptions", "Corruptions", [summary, pairs], charts)


def _by_corruption(rows: dict[str, list[CorruptedPair]], names: Sequence[str]) -> tuple[list[Column], list[list[Any]]]:
    """A line for each corruption, and one for the mean of several; of each data set the distance, and the error if known."""
    columns = [Column("corruption")]
    for label, pairs in rows.items():
        columns.append(Column(f"{label}: distance", "px"))
        if any(pair.epe_per_image == pair.epe_per_image for pair in pairs):
            columns.append(Column(f"{label}: epe_per_image", "px"))
    lines = []
    for name in names:
        line: list[Any] = [name]
        for label, pairs in rows.items():
            chosen = [pair for pair in pairs if pair.corruption == name]
            line.append(mean([pair.distance for pair in chosen]))
            if Column(f"{label}: epe_per_image", "px") in columns:
                line.append(mean([pair.epe_per_image for pair in chosen]))
        lines.append(line)
    if len(names) > 2:
        numbers = [[line[place] for line in lines[1:]] for place in range(1, len(columns))]
        lines.append(["mean of the corruptions", *(mean([v for v in values if v is not None]) for values in numbers)])
    return columns, lines


def _means(pairs: Sequence[CorruptedPair], names: Sequence[str]) -> list[float]:
    found = (mean([pair.distance for pair in pairs if pair.corruption == name]) for name in names)
    return [float("nan") if value is None else value for value in found]


assert CLEAN not in CORRUPTION_NAMES

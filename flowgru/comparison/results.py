"""The folder of a comparison, whole or partly finished: what was to be measured, and what has been."""

import math
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any

from flowgru.comparison.measurements import VALIDATION, Measurement, read_measurements
from flowgru.comparison.record import ABOUT, ComparisonRecord, read_record
from flowgru.console import printable
from flowgru.errors import InputFileError
from flowgru.files.names import shortest_names
from flowgru.training.feeding.pairs import FROM_DIS

MEASUREMENTS = "measurements.csv"
COSTS = ("parameters", "multiply_adds", "ms_per_step", "ms_per_training_step", "peak_mib")
USUAL_ITERATIONS = 12
"""Refinements at which rows are compared, or the nearest number that was measured (RAFT's default)."""


_Key = tuple[str, str, str, str, int | None]
"""Regime, row, measure, data set and refinements."""


class Results:
    """What a comparison was to measure and what it has measured."""

    def __init__(self, record: ComparisonRecord, measurements: list[Measurement]) -> None:
        self.record = record
        self.measurements = measurements
        self._values: dict[_Key, dict[int | None, float]] = defaultdict(dict)
        self._curves: dict[_Key, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        self._numbers: set[tuple[str, str, int]] = set()
        for regime, row, seed, measure, data_set, iterations, step, value in measurements:
            if iterations is not None:
                self._numbers.add((measure, data_set, iterations))
            if step is None:
                self._values[regime, row, measure, data_set, iterations][seed] = value
            elif seed is not None:
                self._curves[regime, row, measure, data_set, iterations][seed][step] = value

    @property
    def regimes(self) -> list[str]:
        return list(dict.fromkeys([*self.record.rows, *(m.regime for m in self.measurements)]))

    def rows(self, regime: str) -> list[str]:
        """All rows of a regime, in the order of the configuration, measured or not."""
        measured = (m.row for m in self.measurements if m.regime == regime)
        return list(dict.fromkeys([*self.record.rows.get(regime, {}), *measured]))

    @cached_property
    def sets(self) -> list[str]:
        """The data sets with errors, held-out generated pairs first."""
        names = dict.fromkeys(m.set for m in self.measurements if m.measure == "epe_per_image")
        return sorted(names, key=lambda name: name != "synthetic")

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that were asked for by the last call, and those that were measured by it or by an earlier one."""
        asked = self.setting("seeds")
        measured = {m.seed for m in self.measurements if m.seed is not None}
        return sorted(measured.union(asked) if isinstance(asked, list) else measured)

    def setting(self, *path: str) -> Any:
        """A setting of the configuration by its names from the outermost level in; None where there is none."""
        value: Any = self.record.config
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def value(self, regime: str, row: str, measure: str, iterations: int | None = None) -> float | None:
        """A measure that needs no training; with several seeds, the first one's."""
        return next(iter(self._values.get((regime, row, measure, "", iterations), {}).values()), None)

    def by_seed(
        self, regime: str, row: str, data_set: str, iterations: int | None, measure: str = "epe_per_image"
    ) -> dict[int, float]:
        """An error of a row, by seed."""
        found = self._values.get((regime, row, measure, data_set, iterations), {})
        return {seed: value for seed, value in sorted(found.items(), key=str) if seed is not None}

    def diverged(self, regime: str, row: str) -> set[int]:
        """The seeds with which the training of a row diverged, so that no error is finite, and its log ends early."""
        errors: dict[int, list[float]] = defaultdict(list)
        for key, values in self._values.items():
            if key[:3] == (regime, row, "epe_per_image"):
                for seed, value in values.items():
                    if seed is not None:
                        errors[seed].append(value)
        return {seed for seed, found in errors.items() if not any(map(math.isfinite, found))}

    def zero_error(self, data_set: str) -> float | None:
        """The error of zero flow on a set."""
        return next(
            (m.value for m in self.measurements if m.measure == "zero_epe_per_image" and m.set == data_set), None
        )

    def curve(
        self, regime: str, row: str, measure: str, data_set: str = "", iterations: int | None = None
    ) -> dict[int, dict[int, float]]:
        """A measure of the training by seed and step."""
        return self._curves.get((regime, row, measure, data_set, iterations), {})

    @cached_property
    def validated(self) -> list[tuple[str, int]]:
        """The sets and numbers of refinements of the held-out learning curves."""
        found = {(m.set, m.iterations) for m in self.measurements if m.measure == VALIDATION}
        return sorted((name, count) for name, count in found if count is not None)

    def iterations(self, measure: str = "epe_per_image", data_set: str | None = None) -> list[int]:
        """The numbers of refinements for which there is a measure, ascending."""
        return sorted(
            {number for name, place, number in self._numbers if name == measure and data_set in (None, place)}
        )

    @property
    def trained_iterations(self) -> int | None:
        """Refinements with gradient in a training step."""
        number = self.setting("training", "iterations")
        return number if isinstance(number, int) else None

    def headline_iterations(self, data_set: str) -> int | None:
        """The refinements at which rows are compared on a set: as near to the usual number as there are errors, and
        times where any were taken."""
        numbers = self.iterations(data_set=data_set)
        both = [number for number in numbers if number in self.iterations("ms_per_pair")]
        return min(both or numbers, key=lambda number: abs(number - USUAL_ITERATIONS), default=None)

    def missing(self, regime: str) -> dict[str, list[str]]:
        """What is not measured yet, and of which rows."""
        rows: dict[str, list[str]] = defaultdict(list)
        for row in self.rows(regime):
            seeds = [str(seed) for seed in self.seeds if not self._is_complete(regime, row, seed)]
            if seeds:
                rows[f"errors with seed {', '.join(seeds)}"].append(row)
            if absent := [name for name in COSTS if self.value(regime, row, name) is None]:
                rows[", ".join(absent)].append(row)
        return rows

    def _is_complete(self, regime: str, row: str, seed: int) -> bool:
        return bool(self.sets) and all(
            seed in self.by_seed(regime, row, data_set, iterations)
            for data_set in self.sets
            for iterations in self.iterations(data_set=data_set)
        )


def read_results(folder: Path) -> Results:
    """Reads the folder of a comparison. InputFileError where it holds none, or a damaged one."""
    for name in (ABOUT, MEASUREMENTS):
        if not (folder / name).is_file():
            raise InputFileError(f"{folder} has no {name}: expected the --output folder of flowgru compare")
    measurements = read_measurements(folder / MEASUREMENTS)
    if not measurements:
        raise InputFileError(f"{folder / MEASUREMENTS} holds no measurement yet: let flowgru compare run on")
    names = _short_names({m.set for m in measurements})
    shown = [
        m._replace(regime=printable(m.regime), row=printable(m.row), set=printable(names[m.set])) for m in measurements
    ]
    record = read_record(folder / ABOUT)
    record.rows = {
        printable(regime): {printable(name): row for name, row in rows.items()} for regime, rows in record.rows.items()
    }
    return Results(record, shown)


def _short_names(names: set[str]) -> dict[str, str]:
    """Each set by its name, or a manifest by as much of its path's end as tells it from the others."""
    paths = {name: name.removesuffix(FROM_DIS) for name in names}
    manifests = [*{path for path in paths.values() if path.endswith(".csv")}]
    short = dict(zip(manifests, shortest_names(manifests), strict=True))
    # Whoever reads may be in another folder than who measured: its own name says nothing.
    return {name: min(short.get(path, path), path, key=len) + name[len(path) :] for name, path in paths.items()}

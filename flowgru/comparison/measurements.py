"""What a comparison has measured, one number a line, in a CSV file that any tool can read."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import InputFileError
from flowgru.files.atomic import write_file
from flowgru.files.bounded import read_bytes

VALIDATION = "validation_epe_per_image"
"""The measure of the held-out learning curves."""


class Measurement(NamedTuple):
    """One number of one trained network, or of one untrained operator where `seed` is empty."""

    regime: str
    """equal_width or equal_parameters."""
    row: str
    """The name that the configuration gives to this operator with these options."""
    seed: int | None
    """Seed of the training; None for what needs none (parameters, time, memory)."""
    measure: str
    """What was measured: parameters, operator_parameters, hidden_size, multiply_adds, ms_per_step, ms_per_pair (with
    `iterations`), ms_per_training_step, peak_mib, training_loss, training_epe_per_image (with `step`),
    validation_epe_per_image (with `set`, `iterations` and `step`), epe_per_image and those of parts of pictures, see
    flowgru.comparison.errors.PARTS (with `set` and `iterations`), and that of zero flow, zero_epe_per_image (with `set`)."""
    set: str
    """The data set of an end-point error; empty otherwise."""
    iterations: int | None
    """Refinements; None where they do not matter."""
    step: int | None
    """Training step; None for what holds after the training."""
    value: float
    """The number, in the unit of its measure: pixels, milliseconds, MiB, counts."""


@dataclass(frozen=True)
class RunMeasurement:
    """One number of a network, whichever rows share it; the fields mean what they mean in a Measurement."""

    measure: str
    value: float
    seed: int | None = None
    set: str = ""
    iterations: int | None = None
    step: int | None = None

    def of_row(self, regime: str, row: str) -> Measurement:
        """The number as one of a row."""
        return Measurement(regime, row, self.seed, self.measure, self.set, self.iterations, self.step, self.value)


def read_measurements(path: Path) -> list[Measurement]:
    """All measurements of a file, under the names of today. InputFileError, with the line, where one cannot be read."""
    try:
        reader = csv.reader(io.StringIO(read_bytes(path).decode("utf-8"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is no CSV in UTF-8: {error}") from None
    measurements: list[Measurement] = []
    header = ",".join(Measurement._fields)
    try:
        if (found := ",".join(next(reader, []))) != header:
            raise InputFileError(f"{path} begins with {found[:80]!r}: expected {header}")
        for line in reader:
            try:
                measurements.append(_measurement(*line))
            except (TypeError, ValueError):
                text = ",".join(line)[:80]
                raise InputFileError(
                    f"{path}, line {reader.line_num}: {text!r} is no measurement, expected {header}: remove the line"
                ) from None
    except csv.Error as error:
        raise InputFileError(f"{path}, line {reader.line_num}: {error}") from None
    with NamesOfToday(str(path)) as names:
        return [one._replace(measure=names.measure(one.measure)) for one in measurements]


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Writes the file anew, whole or not at all. MachineError if the disk refuses."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Measurement._fields)
    writer.writerows(["" if value is None else value for value in measurement] for measurement in measurements)
    write_file(path, file.getvalue(), overwrite=True)


def _measurement(
    regime: str, row: str, seed: str, measure: str, data_set: str, iterations: str, step: str, value: str
) -> Measurement:
    return Measurement(regime, row, _count(seed), measure, data_set, _count(iterations), _count(step), float(value))


def _count(text: str) -> int | None:
    return int(text) if text else None

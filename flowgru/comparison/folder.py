"""The folder of a comparison: what it compares, in comparison.json, and all that is measured so far, in measurements.csv."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from flowgru.comparison.errors import PARTS, WHOLE
from flowgru.comparison.measurements import Measurement, read_measurements, write_measurements
from flowgru.comparison.record import ABOUT, ComparisonRecord, read_record
from flowgru.comparison.results import MEASUREMENTS
from flowgru.config import ComparisonConfig
from flowgru.config.flatten import completed, flatten
from flowgru.errors import InputFileError, MachineError, RequestError, value_text
from flowgru.files.atomic import remove_leftovers, write_file
from flowgru.files.json_text import json_text, parse_json
from flowgru.files.own_folders import KeptFolders, refuse_foreign
from flowgru.files.writer_lock import WriterLock
from flowgru.training.checkpoints.resuming import HOW_IT_RUNS

CONFIG, LOCK = "config.yaml", "run.lock"

MAY_GROW = {"rows", "seeds", "regimes", "sets"}
"""Settings of which a later call may name more, or fewer: what is there already stays."""

EACH_RUNS_OWN = {f"training.network.{name}" for name in ("operator", "options", "hidden_size")} | {"training.seed"}
"""Settings of the recipe that every run gets anew."""


class ComparisonFolder:
    """The results of one comparison, with one writer at a time: use it in a `with`.

    RequestError where the folder holds something else, or a comparison under another recipe; InputFileError where its
    files are damaged; both are raised when it is made, before anything is written. MachineError in `with`, where another
    process writes here or the disk refuses.
    """

    def __init__(self, path: Path, config: ComparisonConfig) -> None:
        self.path = path
        self._settings: dict[str, Any] = parse_json(json_text(asdict(config)))
        self._lock = WriterLock(path / LOCK)
        self._read()

    def __enter__(self) -> "ComparisonFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise MachineError(
                f"cannot write to {self.path}: {error.strerror or error}; name another --output"
            ) from None
        remove_leftovers(self.path)
        self._kept = KeptFolders([self.path])
        self._read()  # another process may have written since
        self.record.config = self._settings
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def note(self, **facts: Any) -> None:
        """Changes what comparison.json says."""
        self._kept.check()
        self.record = replace(self.record, **facts)
        write_file(self.path / ABOUT, self.record.as_text(), overwrite=True, durable=True)
        # After the record: without it a file of this name may be the user's.
        write_file(self.path / CONFIG, json.dumps(self._settings, indent=1) + "\n", overwrite=True)

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Notes measurements, in place of earlier ones of the same things."""
        self._kept.check()
        self._found |= {measurement[:-1]: measurement for measurement in measurements}
        write_measurements(self.path / MEASUREMENTS, self._found.values())

    def unmeasured_sets(
        self, regime: str, row: str, seed: int, sets: Sequence[str], iterations: Sequence[int]
    ) -> tuple[str, ...]:
        """The sets on which errors of this run are not known yet."""
        return tuple(
            name for name in sets if not all(self._is_measured(regime, row, seed, name, count) for count in iterations)
        )

    def _is_measured(self, regime: str, row: str, seed: int, data_set: str, count: int) -> bool:
        """Whether the error of whole pictures is known, and that of a part of them: no pair is without all parts."""

        def known(measure: str) -> bool:
            return (regime, row, seed, measure, data_set, count, None) in self._found

        return known(WHOLE) and any(map(known, PARTS))

    @property
    def has_results(self) -> bool:
        """Whether anything is measured."""
        return bool(self._found)

    def has(self, regime: str, row: str, measure: str) -> bool:
        """Whether something that needs no training is measured."""
        return any(key[:4] == (regime, row, None, measure) for key in self._found)

    def _read(self) -> None:
        """What is there. Raises as the class says."""
        path = self.path / ABOUT
        self.record = ComparisonRecord(self._settings)
        self._found: dict[tuple, Measurement] = {}
        refuse_foreign(self.path, "a comparison", ABOUT, (LOCK,))
        if not path.exists():
            return
        try:
            record = read_record(path, required=("config", "rows", "machine", "zero_flow"))
        except InputFileError as error:
            if isinstance(error.__cause__, OSError):
                raise MachineError(str(error)) from None
            raise self._damaged() from None
        self._refuse_another(record.config)
        self.record = record
        self._found = {measurement[:-1]: measurement for measurement in self._measured()}

    def _measured(self) -> list[Measurement]:
        path = self.path / MEASUREMENTS
        if not path.exists():
            return []
        try:
            if not path.read_bytes().endswith(b"\n"):
                raise ValueError(f"{path} is cut: its last line has no end")
            return read_measurements(path)
        except ValueError as error:
            raise InputFileError(f"{error}; without the file the trained networks are measured again") from None

    def _damaged(self) -> InputFileError:
        return InputFileError(
            f"{self.path / ABOUT} is damaged: put a copy back, or name another --output (the networks in "
            f"{self.path / 'runs'} are untouched)"
        )

    def _refuse_another(self, noted: dict[str, Any]) -> None:
        """Refuses to go on with a comparison under another recipe."""
        noted = completed(noted, ComparisonConfig)
        try:
            rows = {row["name"]: row for row in noted["rows"]}
        except (KeyError, TypeError):
            raise self._damaged() from None
        old, new = recipe_of(noted), recipe_of(self._settings)
        if odd := sorted(old.keys() ^ new.keys()):
            raise RequestError(
                f"{self.path / ABOUT} was written by another version of flowgru (setting {odd[0]} is in only one of them): "
                "name another --output"
            )
        differing = [name for name in old if old[name] != new[name]]
        if differing:
            shown = "; ".join(
                f"{name} was {value_text(old[name])} and is {value_text(new[name])}" for name in differing[:3]
            )
            raise RequestError(f"{self.path} holds a comparison under another recipe ({shown}): name another --output")
        for row in self._settings["rows"]:
            if rows.setdefault(row["name"], row) != row:
                raise RequestError(
                    f"{self.path} holds another row called {row['name']}: rename it or name another --output"
                )
        self._settings["rows"] = [*rows.values()]


def recipe_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide results, under dotted names."""
    beside = MAY_GROW | EACH_RUNS_OWN | {f"training.{name}" for name in HOW_IT_RUNS}
    return {
        name: value
        for name, value in flatten(settings).items()
        if not any(name == other or name.startswith(f"{other}.") for other in beside)
    }

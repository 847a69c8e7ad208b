"""What comparison.json says: which rows are compared, under which settings, and on which machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import InputFileError, counted
from flowgru.files.bounded import read_bytes
from flowgru.files.json_text import json_text, parse_json

ABOUT = "comparison.json"
"""The file's name."""


@dataclass
class RowRecord:
    """What is noted of a row in a regime."""

    operator: str = ""
    """Name of the update operator."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the operator."""
    hidden_size: int | None = None
    """Width of the hidden state in channels."""
    parameters: int | None = None
    """Number of parameters of the whole network."""
    operator_parameters: int | None = None
    """Number of parameters of the update operator."""
    folder: str = ""
    """The folder of its trainings, below that of the comparison; rows that are one network share it."""
    steps: int | None = None
    """Number of steps of its trainings; None until they are chosen."""
    timed_on: str | None = None
    """The processor or GPU on which its times were taken, which for another row may be another one; None: not known."""
    timed_with: str | None = None
    """What else these times depend on: the threads and the release of PyTorch; None: not known."""


@dataclass
class ComparisonRecord:
    """What a comparison compares; the file has the same names."""

    config: dict[str, Any] = field(default_factory=dict)
    """The settings, nested as in the configuration."""
    rows: dict[str, dict[str, RowRecord]] = field(default_factory=dict)
    """Each row by its regime and its name."""
    machine: dict[str, Any] = field(default_factory=dict)
    """What it runs on."""
    zero_flow: dict[str, float] = field(default_factory=dict)
    """epe_per_image of zero flow in pixels, on each data set."""
    lists: dict[str, str] = field(default_factory=dict)
    """Digests of the lists of pairs (.csv) that it trains and measures on, by name."""
    pairs: dict[str, int] = field(default_factory=dict)
    """How many pairs each data set has that it measures on, by name."""
    initial: str | None = None
    """A digest of the weights of training.init_from; None where nothing begins with any."""
    jobs: int | None = None
    """How many trainings ran at a time when the steps were chosen that fit into config.minutes."""
    command: str | None = None
    """The command that goes on with it."""
    commit: str | None = None
    """The commit of the code that ran last."""
    date: str | None = None
    """The day on which it ran last."""

    def as_text(self) -> str:
        """The content of the file; what is not known is left out."""
        known = asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})
        return json_text(known) + "\n"


def has_steps(record: ComparisonRecord) -> bool:
    """Whether the steps of any training are chosen."""
    return any(row.steps is not None for rows in record.rows.values() for row in rows.values())


def how_timed(machine: Mapping[str, Any]) -> str:
    """What times depend on besides the processor or GPU, of a `machine` as it is noted."""
    return f"{counted(machine.get('threads') or 1, 'thread')}, torch {machine.get('torch')}"


def read_record(path: Path, required: Sequence[str] = ("rows",)) -> ComparisonRecord:
    """What the file says, under the names of today; parts that are missing or no mappings are empty.

    InputFileError where it cannot be read, or where one of the parts that are `required` is no mapping.
    """
    try:
        said = parse_json(read_bytes(path))
    except ValueError as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{path} is no JSON ({error}): let flowgru compare write it anew") from None
    said = said if isinstance(said, dict) else {}
    parts = {name: said.get(name) for name in ("config", "rows", "machine", "zero_flow")}
    for name in required:
        if not isinstance(parts[name], dict):
            by = " by regime and name" if name == "rows" else ""
            raise InputFileError(f"{path} has no {name}{by}: let flowgru compare write it anew")
    config, rows, machine, zero_flow = (part if isinstance(part, dict) else {} for part in parts.values())
    with NamesOfToday(str(path)) as names:
        config = names.settings(config)
    others: dict[str, Any] = {
        name: said[name] for name in ("initial", "command", "commit", "date") if isinstance(said.get(name), str)
    }
    others |= {name: said[name] for name in ("lists", "pairs") if isinstance(said.get(name), dict)}
    others |= {"jobs": said["jobs"]} if isinstance(said.get("jobs"), int) else {}
    return ComparisonRecord(config, _rows(path, rows), machine, zero_flow, **others)


def _rows(path: Path, said: Mapping[str, Any]) -> dict[str, dict[str, RowRecord]]:
    known = {each.name for each in fields(RowRecord)}
    try:
        rows = {
            regime: {
                row: RowRecord(**{name: value for name, value in noted.items() if name in known})
                for row, noted in named.items()
            }
            for regime, named in said.items()
        }
        sound = all(isinstance(noted.options, dict) for named in rows.values() for noted in named.values())
    except AttributeError:
        rows, sound = {}, False
    if not sound:
        raise InputFileError(f"{path} has no rows by regime and name: let flowgru compare write it anew")
    return rows

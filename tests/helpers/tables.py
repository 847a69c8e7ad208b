"""Reads the tables that commands and benchmarks write, and checks what every measurement says beside its numbers."""

import csv
import json
from pathlib import Path

STATED = {"size", "dtype", "iterations", "device", "threads", "correlation", "warm-up", "rounds", "clock", "torch"}


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rows(path: Path) -> list[dict]:
    """The rows of a file of JSON lines; every one must come with its conditions."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines and all(line["conditions"].keys() >= STATED for line in lines)
    return [line["row"] for line in lines]


def rows_without_times(path: Path) -> list[dict]:
    """The rows of a script that takes no times, whose conditions are fewer."""
    return [json.loads(line)["row"] for line in path.read_text().splitlines()]

"""What every measurement says beside its numbers."""

import json
from pathlib import Path

STATED = {"size", "dtype", "iterations", "device", "threads", "correlation", "warm-up", "rounds", "clock", "torch"}


def rows(path: Path) -> list[dict]:
    """The rows of a file of JSON lines; every one must come with its conditions."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines and all(line["conditions"].keys() >= STATED for line in lines)
    return [line["row"] for line in lines]


def rows_without_times(path: Path) -> list[dict]:
    """The rows of a script that takes no times, whose conditions are fewer."""
    return [json.loads(line)["row"] for line in path.read_text().splitlines()]

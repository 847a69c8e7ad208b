"""Times are taken in turns, compared round by round, and said with their conditions."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from tables import rows

from flowgru.benchmarking.timing import CLOCKS, Ratio, Table, conditions, interleaved_seconds, median_ms, speed_ratio

CPU = torch.device("cpu")


def test_a_ratio_is_that_of_the_rounds_not_of_the_medians():
    assert speed_ratio([1.0, 10.0, 4.0], [1.0, 5.0, 1.0]) == Ratio(2, 1, 4)


def test_what_is_short_runs_several_times_in_its_turn(monkeypatch):
    now, runs = itertools.count(), []
    clock = [0.0]
    monkeypatch.setitem(CLOCKS, "wall", lambda: clock[0])

    def action(name: str, seconds: float):
        def run() -> None:
            runs.append((name, next(now)))
            clock[0] += seconds

        return run

    actions = {"short": action("short", 0.25), "long": action("long", 2.0)}
    times = interleaved_seconds(actions, 2, CPU, warm_up=2, least=1.0)
    assert times == {"short": [0.25, 0.25], "long": [2.0, 2.0]}
    assert [name for name, _ in runs] == ["short", "long"] * 2 + [*["short"] * 4, "long"] * 2


def test_a_table_is_markdown_under_its_conditions_and_each_row_is_a_line_of_json(tmp_path):
    said = conditions(
        CPU, size="8x8 px", dtype="float32", iterations="1", correlation="none", rounds=3, warm_up="1", early_exit="no"
    )
    lines: list[str] = []
    table = Table("Title", said, ["what", "ms", "ratio", "none"], say=lines.append, lines=tmp_path / "rows.jsonl")
    table.add("a", 1234.5, Ratio(2.0, 1.0, 3.0), None)
    table.add("b", (0.5, 0.25), 1200000, math.pi)
    text = "\n".join(lines)
    assert "threads: 1; " in text and "early exit: no; " in text
    assert "| a | 1,234 | 2.00 (1.00-3.00) | - |" in text and "| b | 0.5 / 0.25 | 1,200,000 | 3.14 |" in text
    first, _ = rows(tmp_path / "rows.jsonl")
    assert first == {"what": "a", "ms": 1234.5, "ratio": {"median": 2, "lowest": 1, "highest": 3}, "none": None}


def test_a_table_wider_than_its_room_is_a_list_for_each_row():
    lines: list[str] = []
    columns = ["what", "ms"]
    for room in (len("| what | ms |") - 1, len("| what | ms |")):
        Table("Title", {}, columns, say=lines.append, room=room).add("a", 2)
    text = "\n".join(lines)
    assert (
        text.count("- what: a; ms: 2") == 1
        and text.count("| what | ms |\n|---|---|") == 1
        and text.count("| a | 2 |") == 1
    )


def test_times_are_medians_of_turns_without_the_first(monkeypatch):
    clock, turns = SimpleNamespace(now=0.0), []
    monkeypatch.setitem(CLOCKS, "wall", lambda: clock.now)

    def taking(name: str, *seconds: float):
        durations = iter(seconds)

        def action() -> None:
            turns.append(name)
            clock.now += next(durations)

        return action

    actions = {"a": taking("a", 9.0, 1.0, 6.0, 2.0), "b": taking("b", 0.0, 5.0, 3.0, 4.0)}
    assert median_ms(actions, 3, torch.device("cpu")) == pytest.approx({"a": 2000, "b": 4000})
    assert turns == ["a", "b"] * 4

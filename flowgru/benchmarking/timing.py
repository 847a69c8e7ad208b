"""Times of several ways to do one thing, measured in turns, and tables that say under which conditions."""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from flowgru.files.atomic import open_to_append
from flowgru.processes.devices import device_text

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
"""`processor` counts this process's work alone, on all its threads: for ratios on a machine that is busy otherwise."""

Cell = str | int | float | None | tuple[float, ...]
"""What a table holds: a text, a number, a Ratio, or None for what was not measured."""


class Ratio(NamedTuple):
    """How many times as fast as the reference, over the rounds."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


def interleaved_seconds(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    *,
    warm_up: int = 1,
    least: float = 0.0,
    clock: str = "wall",
    advance: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds that each action took in each round, the device's work included.

    All actions take their turn in every round, so that whatever else the machine does is shared by all; `warm_up` rounds
    before are not counted. An action that is shorter than `least` seconds when it is warm runs several times in its turn,
    which then gives the mean: for what is short against starting it on a device. `advance` is called between the turns.
    """
    now, times, repeats = CLOCKS[clock], {name: list[float]() for name in actions}, dict.fromkeys(actions, 1)
    for turn in range(-warm_up, rounds):
        for name, action in actions.items():
            _finish(device)
            began = now()
            for _ in range(repeats[name]):
                action()
            _finish(device)
            seconds = (now() - began) / repeats[name]
            if turn >= 0:
                times[name].append(seconds)
            elif turn == -1 and seconds < least:
                repeats[name] = math.ceil(least / max(seconds, 1e-6))
            advance()
    return times


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def median_ms(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Median time of each action in milliseconds, without gradients, over rounds in which they take turns.

    One more round warms up; `advance` is called after each action in each round.
    """
    times = interleaved_seconds(actions, rounds, device, advance=advance)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def speed_ratio(reference: Sequence[float], seconds: Sequence[float]) -> Ratio:
    """The reference's time over this one's, round by round: above 1 is faster than the reference."""
    ratios = sorted(a / b for a, b in zip(reference, seconds, strict=True))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1])


def conditions(
    device: torch.device,
    *,
    size: str,
    dtype: str,
    iterations: str,
    correlation: str,
    rounds: int,
    warm_up: str,
    clock: str = "wall",
    **more: object,
) -> dict[str, str]:
    """Everything that a time depends on and that its reader must know; whoever prints times has to say all of it.

    `more` is what else the measurement chose, by its name.
    """
    said = {
        "size": size,
        "dtype": dtype,
        "iterations": iterations,
        "device": device_text(device),
        "threads": str(torch.get_num_threads()),
        "correlation": correlation,
        "warm-up": warm_up,
        "rounds": f"median of {rounds}, interleaved",
        "clock": clock,
        **{key.replace("_", " "): str(value) for key, value in more.items()},
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        said["TF32 in convolutions"] = "on" if torch.backends.cudnn.allow_tf32 else "off"
        said["TF32 in matrix products"] = "on" if torch.backends.cuda.matmul.allow_tf32 else "off"
    return said


class Table:
    """Rows of measurements under one set of conditions, said as Markdown as soon as each is known."""

    def __init__(
        self,
        title: str,
        said: Mapping[str, str],
        columns: Sequence[str],
        *,
        say: Callable[[str], object] = print,
        lines: Path | None = None,
        room: int | None = None,
    ) -> None:
        """lines: a file that every row is also appended to as one line of JSON, complete in itself.

        room: letters of a line; where the columns need more, each row is a list of them.
        """
        self.title, self.said, self.columns = title, dict(said), list(columns)
        self.records: list[dict[str, Any]] = []
        """What was measured, by its column."""
        self._say, self._lines = say, lines
        say(f"\n### {title}\n")
        say("; ".join(f"{key}: {value}" for key, value in self.said.items()) + "\n")
        head = f"| {' | '.join(columns)} |"
        self._listed = room is not None and len(head) > room
        if not self._listed:
            say(f"{head}\n|{'---|' * len(columns)}")

    def add(self, *cells: Cell) -> None:
        """Says one row."""
        texts = list(map(_text, cells))
        if self._listed:
            self._say("- " + "; ".join(f"{name}: {text}" for name, text in zip(self.columns, texts, strict=True)))
        else:
            self._say(f"| {' | '.join(texts)} |")
        values = [cell._asdict() if isinstance(cell, Ratio) else cell for cell in cells]
        self.records.append(dict(zip(self.columns, values, strict=True)))
        if self._lines is not None:
            record = {"table": self.title, "conditions": self.said, "row": self.records[-1]}
            with open_to_append(self._lines) as file:
                file.write(json.dumps(record) + "\n")


def _text(cell: Cell) -> str:
    if isinstance(cell, bool | str | Ratio):
        return str(cell)
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, tuple):
        return " / ".join(map(_text, cell))
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"

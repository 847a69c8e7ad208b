"""What a run says of itself: a line of JSON for everything, and a line for people now and then."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console


class RunLog:
    """Appends to log.jsonl; a resumed run first drops the lines that its checkpoint does not know of."""

    def __init__(self, path: Path, every: int, console: Console | None = None) -> None:
        self.path = path
        self.every = every
        self.console = console or Console(soft_wrap=True)
        self.total = 0
        self._sums: dict[str, float] = {}
        self._count = 0

    def begin(self, step: int, total: int, *, passed_over: list[str]) -> None:
        """Starts, or goes on after, `step` of `total`; newer checkpoints that were damaged are named."""
        self.total = total
        for damage in passed_over:
            self.console.print(f"passed over a damaged checkpoint: {damage}")
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step_of(line) <= step]
            staged = self.path.with_suffix(".tmp")
            staged.write_text("".join(f"{line}\n" for line in kept))
            staged.replace(self.path)
        if step:
            self.console.print(f"resumed after step {step} of {total}")

    def step(
        self, step: int, loss: float | None, error: float | None, learning_rate: float, wait: float, seconds: float
    ) -> None:
        """Counts one step in; every `every` steps the means are written."""
        if loss is not None and error is not None:
            self._add(loss=loss, epe=error, finite=1.0)
        self._add(wait=wait, seconds=seconds)
        self._count += 1
        if step % self.every and step != self.total:
            return
        finite = self._sums.get("finite", 0)
        loss_mean, error_mean = (self._sums.get(name, 0) / finite if finite else None for name in ("loss", "epe"))
        steps_per_second = self._count / self._sums["seconds"]
        wait_share = self._sums["wait"] / self._sums["seconds"]
        self._write(
            step=step,
            loss=loss_mean,
            epe=error_mean,
            learning_rate=learning_rate,
            steps_per_second=steps_per_second,
            data_wait_share=wait_share,
        )
        remaining = time.strftime("%H:%M:%S", time.gmtime((self.total - step) / steps_per_second))
        shown = "not finite" if loss_mean is None else f"loss {loss_mean:.3f}  EPE {error_mean:.3f} px"
        self.console.print(
            f"step {step}/{self.total}  {shown}  {steps_per_second:.2f} steps/s  "
            f"waiting for data {wait_share:.0%}  remaining {remaining}"
        )
        self._sums, self._count = {}, 0

    def skipped(self, step: int, names: tuple[str, ...]) -> None:
        """A step whose loss or gradient was not finite, and the samples it was made of."""
        self._write(step=step + 1, skipped=list(names))
        self.console.print(f"step {step + 1} skipped: loss or gradient not finite; samples {', '.join(names)}")

    def validation(self, step: int, errors: dict[int, float]) -> None:
        """Error on held-back pairs after each number of refinements."""
        self._write(step=step, validation_epe={str(count): error for count, error in errors.items()})
        shown = ", ".join(f"{error:.3f} after {count}" for count, error in errors.items())
        self.console.print(f"step {step}/{self.total}  held-back pairs: EPE {shown} refinements")

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def _write(self, **values: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")


def _step_of(line: str) -> int:
    """The step a line speaks of; a line torn by a kill speaks of none that is kept."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62

"""What a run says of itself: a line of JSON for everything, TensorBoard, and a line for people now and then."""

import contextlib
import json
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from flowgru.config.renamed import NamesOfToday
from flowgru.console import time_left
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import open_to_append, write_file
from flowgru.files.json_text import parse_json
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.board import BOARD, Board
from flowgru.training.feeding.pairs import FROM_DIS
from flowgru.training.step_times import StepKind, TimedStep
from flowgru.view.colour_wheel import flow_colours

LOG = "log.jsonl"


class RunLog:
    """log.jsonl and TensorBoard's events in the run's folder; a resumed run drops what its checkpoint does not know of.

    A disk that refuses the log ends the log with a warning, not the run.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        console: Console | None = None,
        show: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """`show` is told of every step, with what a line would say of it."""
        self.path = folder / LOG
        self.every = every
        self.console = console or Console(soft_wrap=True, markup=False)
        self.total = 0
        self.sums: dict[str, float] = {}
        """What has been added up since the last line; a checkpoint keeps it, so that a stop changes no line."""
        self._show = show
        self._board: Board | None = None
        self._writes = True

    def begin(
        self,
        step: int,
        total: int,
        *,
        passed_over: list[str],
        validation_due: bool = False,
        resumed_by: str | None = None,
        sums: dict[str, float] | None = None,
    ) -> None:
        """Starts, or goes on after, `step` of `total`, with the `sums` of then.

        validation_due: the checkpoint does not know of the validation of its own step. Newer checkpoints that were damaged
        are named, and by which machine the run is resumed, where it is another one.
        """
        self.total = total
        with NamesOfToday(f"the checkpoint of step {step}") as names:
            self.sums = names.measures(sums or {})
        for damage in passed_over:
            self.warn(f"passed over a damaged checkpoint: {damage}")
        with self._or_without_log():
            lines = read_log(self.path.parent)
            if lines:
                kept = [values for values in lines if _is_known(values, step, validation_due)]
                write_file(self.path, "".join(f"{json.dumps(values)}\n" for values in kept), overwrite=True)
            self._board = Board(self.path.parent / BOARD, purge_step=step + 1)
        if step and step < total:
            by = f" by {resumed_by}" if resumed_by else ""
            self.console.print(f"resumed after step {step} of {total}{by}")

    def step(
        self,
        step: int,
        loss: float | None,
        error: float | None,
        learning_rate: float,
        wait: float,
        seconds: float,
        kind: StepKind = "usual",
    ) -> None:
        """Counts one step in; every `every` steps the means are written."""
        if loss is not None:
            self._add(loss=loss, finite=1.0)
        if error is not None and not math.isnan(error):  # a step without a valid pixel has no error
            self._add(epe_per_image=error, measured=1.0)
        self._add(wait=wait, seconds=seconds, steps=1.0)
        if kind != "usual":
            self._add(**{f"{kind}_steps": 1.0})
        loss_mean, error_mean = self._mean("loss", "finite"), self._mean("epe_per_image", "measured")
        steps_per_second = self.sums["steps"] / self.sums["seconds"]
        wait_share = self.sums["wait"] / self.sums["seconds"]
        remaining = time_left((self.total - step) / steps_per_second)
        text = "not finite" if loss_mean is None else f"loss {loss_mean:.3f}"
        text += "" if error_mean is None else f"  EPE per image {error_mean:.3f} px"
        text += f"  {steps_per_second:.2f} steps/s  waiting for data {wait_share:.0%}  remaining {remaining}"
        if self._show:
            self._show(step, self.total, text)
        if step % self.every and step != self.total:
            return
        values = {"loss": loss_mean, "epe_per_image": error_mean, "learning_rate": learning_rate}
        speed = {"steps_per_second": steps_per_second, "data_wait_share": wait_share}
        kinds = {name: int(self.sums[name]) for name in ("first_steps", "recorded_steps") if name in self.sums}
        self._write(step=step, **values, **speed, **kinds)
        self._plot("train", {name: value for name, value in {**values, **speed}.items() if value is not None}, step)
        self.console.print(f"step {step}/{self.total}  {text}")
        self.sums = {}

    def skipped(self, step: int, names: tuple[str, ...], lowered_scale: float | None = None) -> None:
        """A step whose loss or gradient was not finite, and its samples; or which only overflowed, and the new scale."""
        if lowered_scale is None:
            self._write(step=step, skipped=list(names))
            why = f"loss or gradient not finite; samples {', '.join(names)}"
        else:
            self._write(step=step, lowered_scale=lowered_scale)
            why = f"the gradient overflowed in 16 bits; the loss is now scaled by {lowered_scale:g}"
        self.console.print(f"step {step} skipped: {why}")

    def validation(self, step: int, sets: dict[str, dict[int, float]]) -> None:
        """epe_per_image on each validation set after each number of refinements; null in the file where it is not finite."""
        self._write(
            step=step,
            validation_epe_per_image={
                name: {str(count): error if math.isfinite(error) else None for count, error in errors.items()}
                for name, errors in sets.items()
            },
        )
        for name, errors in sets.items():
            self._plot(
                f"validation/{name}", {f"epe_per_image_after_{count}": error for count, error in errors.items()}, step
            )
            shown = ", ".join(f"{error:.3f} after {count}" for count, error in errors.items())
            unit = "refinement" if [*errors] == [1] else "refinements"
            self.console.print(f"step {step}/{self.total}  {name}: EPE per image {shown} {unit}")

    @torch.inference_mode()
    def picture(
        self, step: int, name: str, sample: FlowSample, network: FlowNetwork, iterations: int, hold: int = 0
    ) -> None:
        """First frame, estimated flow and true flow of one pair, below each other, for TensorBoard."""
        if self._board is None:
            return
        device = network.device
        pair = sample.first[None].to(device), sample.second[None].to(device)
        padding = padding_mode(name.removesuffix(FROM_DIS))
        start = None if sample.initial_flow is None else sample.initial_flow[None].to(device)
        found = network(
            *pair,
            iterations=iterations,
            initial_flow=start,
            hold=hold,
            final_only=True,
            padding=padding,
            confidence=False,
        )
        flow = found.flows[-1][0].cpu()
        longest = max(sample.flow[:, sample.valid].norm(dim=0).max().item(), 1.0) if sample.valid.any() else 1.0
        truth = torch.where(sample.valid, sample.flow, torch.nan)
        rows = [(255 * sample.first).byte(), flow_colours(flow, longest), flow_colours(truth, longest)]
        with self._or_without_log():
            self._board.image(f"{name}: frame, flow, true flow", torch.cat(rows, dim=1), step)

    def warn(self, text: str) -> None:
        """A line about something that went wrong and did not end the run."""
        self.console.print(f"warning: {text}")

    def close(self) -> None:
        """Closes TensorBoard's file."""
        if self._board is not None:
            with self._or_without_log():
                self._board.close()

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def _mean(self, name: str, count: str) -> float | None:
        return self.sums[name] / self.sums[count] if count in self.sums else None

    def _plot(self, group: str, values: dict[str, float], step: int) -> None:
        if self._board is not None:
            with self._or_without_log():
                for name, value in values.items():
                    self._board.scalar(f"{group}/{name}", value, step)

    def _write(self, **values: Any) -> None:
        if self._writes:
            with self._or_without_log(), open_to_append(self.path) as file:
                file.write(json.dumps(values, allow_nan=False) + "\n")

    @contextlib.contextmanager
    def _or_without_log(self):
        """Goes on without a log where the disk refuses it."""
        try:
            yield
        except (OSError, RequestError, MachineError) as error:
            self._writes, self._board = False, None
            reason = getattr(error, "strerror", None) or error
            self.warn(f"cannot write the log in {self.path.parent} ({reason}): training goes on without")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """What each line of a run's log says, under the names of today; nothing where it was torn or damaged.

    No lines where there is no log, or a link or a pipe in its place.
    """
    try:
        if not stat.S_ISREG((folder / LOG).lstat().st_mode):
            return []
        lines = (folder / LOG).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    with NamesOfToday(str(folder / LOG)) as names:
        return [names.measures(_line_values(line)) for line in lines]


def timed_steps(folder: Path) -> list[TimedStep]:
    """The steps of a run whose log has a line for each."""

    def kind(line: dict[str, Any]) -> StepKind:
        return "recorded" if "recorded_steps" in line else "first" if "first_steps" in line else "usual"

    return [
        TimedStep(1 / line["steps_per_second"], kind(line)) for line in read_log(folder) if line.get("steps_per_second")
    ]


def _line_values(line: str) -> dict[str, Any]:
    try:
        values = parse_json(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _is_known(values: dict[str, Any], step: int, validation_due: bool) -> bool:
    """Whether a line speaks of what a checkpoint of `step` knows."""
    number = values.get("step")
    if not isinstance(number, int):
        return False
    return number < step or (number == step and not (validation_due and "validation_epe_per_image" in values))

"""Before anything is trained: whether every operator keeps its contract, and what is compared on which machine."""

import platform
import shlex
import time
from collections.abc import Sequence

import torch

from flowgru.comparison.folder import CONFIG, ComparisonFolder
from flowgru.comparison.plan import PlannedRow
from flowgru.comparison.record import RowRecord
from flowgru.console import say
from flowgru.errors import RequestError
from flowgru.operators import make_operator
from flowgru.operators.contract import broken_contract
from flowgru.processes.devices import device_name
from flowgru.training.provenance import commit


def refuse_broken(planned: Sequence[PlannedRow]) -> None:
    """Refuses, before any training, operators that do not do what every operator must."""
    for one in planned:
        sizes, network = one.network.sizes, one.network
        operator = make_operator(
            network.operator, sizes.hidden_size, sizes.motion_size, sizes.context_size, **network.options
        )
        if broken := broken_contract(operator):
            raise RequestError(
                f"{one.row.name} breaks the contract of update operators: {broken}; it is not trained: mend it, or leave it "
                "out by --operators"
            )


def describe(
    folder: ComparisonFolder,
    planned: Sequence[PlannedRow],
    device: torch.device,
    option: str,
    operators: Sequence[str],
    jobs: int,
    *,
    compile: bool,
    finished: bool,
) -> None:
    """Notes, and says, what is compared; `option` is the device as it was asked for.

    finished: nothing is left to be trained or measured, so that where that was done stays as it was noted.
    """
    for one in planned:
        noted = folder.record.rows.setdefault(one.regime, {}).setdefault(one.row.name, RowRecord())
        noted.operator, noted.options, noted.hidden_size = one.row.operator, one.row.options, one.width
        noted.parameters, noted.operator_parameters = one.parameters, one.operator_parameters
        noted.folder = one.folder
        say(
            f"{one.regime:16}  {one.row.name:24} hidden_size {one.width:3}, {one.parameters:,} parameters "
            f"({one.difference:+.1%} of the reference's), {one.operator_parameters:,} of them the operator's"
        )
    machine = {
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }
    command = ["flowgru", "compare", "--config", str(folder.path / CONFIG), "--output", str(folder.path)]
    command += ["--operators", ",".join(operators)] if operators else []
    command += [] if option == "auto" else ["--device", option]
    command += ["--jobs", str(jobs)] if jobs > 1 else []
    command += ["--compile"] if compile else []
    folder.note(command=shlex.join(command))
    if not finished:
        folder.note(machine=machine, commit=commit(), date=time.strftime("%Y-%m-%d"))

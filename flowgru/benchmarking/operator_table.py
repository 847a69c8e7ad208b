"""What a step of every update operator costs, in turns and side by side."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from flowgru.benchmarking.costs import multiply_adds, prepared_step
from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.config import PRESETS
from flowgru.errors import RequestError, did_you_mean, sides, size_text
from flowgru.operators import UPDATE_OPERATORS, make_operator, operator_variants
from flowgru.operators.contract import broken_contract

REFERENCE_OPERATOR = "seq_conv_gru"
"""RAFT's, which a step of every other one is compared with."""


def operator_table(
    names: Sequence[str],
    *,
    preset: str,
    height: int,
    width: int,
    rounds: int,
    device: torch.device,
    clock: str = "wall",
    say: Callable[[str], object] = print,
    lines: Path | None = None,
    room: int | None = None,
) -> Table:
    """Parameters, multiply-adds and milliseconds of one inference step of update operators, interleaved.

    names: of operators or variants of them (see operator_variants); ["all"] is all of these. height and width of the
    picture in pixels; say, lines and room as in Table. RequestError for an unknown name, and for an operator that breaks
    the contract: nothing is timed then.
    """
    variants = operator_variants()
    if unknown := [name for name in names if name not in (*variants, "all")]:
        raise RequestError(
            f"--operators: there is no {unknown[0]!r}: {did_you_mean(unknown[0], ['all', *variants])}known are all, "
            f"{', '.join(UPDATE_OPERATORS)}, and their variants, such as {next(name for name in variants if ' ' in name)!r}"
        )
    chosen = list(variants) if "all" in names else list(dict.fromkeys([REFERENCE_OPERATOR, *names]))
    sizes, steps, costs = PRESETS[preset], {}, {}
    widths = (sizes.hidden_size, sizes.motion_size, sizes.context_size)
    for name in chosen:
        kind, options = variants[name]
        if broken := broken_contract(make_operator(kind, *widths, **options)):
            raise RequestError(f"{name} breaks the contract of update operators and nothing is timed: {broken}")
        operator = make_operator(kind, *widths, **options).eval().to(device)
        costs[name] = sum(p.numel() for p in operator.parameters()), multiply_adds(operator, height, width)
        steps[name] = prepared_step(operator, height, width)
    with torch.inference_mode():
        times = interleaved_seconds(steps, rounds, device, warm_up=2, clock=clock)
    said = conditions(
        device,
        size=f"{size_text((height, width))}, {sides((-(-height // 8), -(-width // 8)))} coarse pixels",
        dtype="float32",
        iterations="one step",
        correlation="none",
        rounds=rounds,
        warm_up="2 rounds",
        clock=clock,
        form="eager, inference",
        width=f"preset {preset}: {sizes.hidden_size} channels",
        multiply_adds="those of convolutions and matrix products",
    )
    columns = ["operator", "parameters", "multiply-adds, G", "ms per step", "time as a share of seq_conv_gru's (range)"]
    table = Table("One inference step of every update operator", said, columns, say=say, lines=lines, room=room)
    for name, (parameters, products) in costs.items():
        # The reference's time divides: what is asked is how much of it a step takes.
        ratio = speed_ratio(times[name], times[REFERENCE_OPERATOR])
        table.add(name, parameters, products / 1e9, 1000 * statistics.median(times[name]), ratio)
    return table

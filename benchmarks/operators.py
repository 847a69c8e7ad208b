"""Parameters, multiply-adds and milliseconds of one inference step of every update operator, interleaved in one process.

python benchmarks/operators.py [--preset small] [--height 55] [--width 128] [--rounds 15] [--threads 2]
"""

import argparse
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowgru.config import PRESETS
from flowgru.operators import UPDATE_OPERATORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--height", type=int, default=55, help="in coarse pixels; 55 is 440 px")
    parser.add_argument("--width", type=int, default=128, help="in coarse pixels; 128 is 1024 px")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)

    sizes = PRESETS[given.preset]
    hidden, context, motion = (
        torch.randn(1, size, given.height, given.width)
        for size in (sizes.hidden_size, sizes.context_size, sizes.motion_size)
    )
    steps, rows = {}, {}
    with torch.inference_mode():
        for name, kind in UPDATE_OPERATORS.items():
            operator = kind(sizes.hidden_size, sizes.motion_size, sizes.context_size).eval()
            state = operator.begin(hidden, context)
            with FlopCounterMode(display=False) as counter:
                operator.step(motion, state)
            rows[name] = (sum(p.numel() for p in operator.parameters()), counter.get_total_flops() / 2)
            steps[name] = (operator, state, [])
        for _ in range(given.rounds):
            for operator, state, times in steps.values():
                started = time.perf_counter()
                operator.step(motion, state)
                times.append(1e3 * (time.perf_counter() - started))

    print(f"{given.preset}, {given.height}x{given.width} coarse pixels, {given.threads} threads, float32, CPU, eager,")
    print(f"median of {given.rounds} interleaved rounds; multiply-adds are those of the convolutions")
    print("| operator | parameters | multiply-adds | ms per step | ratio to seq_conv_gru |")
    print("|---|---|---|---|---|")
    reference = statistics.median(steps["seq_conv_gru"][2])
    for name, (parameters, multiply_adds) in rows.items():
        median = statistics.median(steps[name][2])
        print(f"| {name} | {parameters:,} | {multiply_adds / 1e9:.2f} G | {median:.1f} | {median / reference:.2f} |")


if __name__ == "__main__":
    main()

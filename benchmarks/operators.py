"""Parameters, multiply-adds and milliseconds of one inference step of every update operator and of each of its options,
interleaved in one process.

python benchmarks/operators.py [--preset small] [--height 55] [--width 128] [--rounds 15] [--threads 2]
"""

import argparse

import torch

from flowgru.config import PRESETS
from flowgru.evaluation.contract import broken_contract
from flowgru.evaluation.costs import median_ms, multiply_adds, prepared_step
from flowgru.operators import make_operator, operator_variants


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

    sizes, device = PRESETS[given.preset], torch.device("cpu")
    height, width = 8 * given.height, 8 * given.width
    steps, rows = {}, {}
    for variant, (name, options) in operator_variants().items():
        widths = (sizes.hidden_size, sizes.motion_size, sizes.context_size)
        if broken := broken_contract(make_operator(name, *widths, **options)):
            raise SystemExit(f"{variant} breaks the contract of update operators and nothing is timed: {broken}")
        operator = make_operator(name, *widths, **options).eval()
        rows[variant] = (sum(p.numel() for p in operator.parameters()), multiply_adds(operator, height, width))
        steps[variant] = prepared_step(operator, height, width)
    medians = median_ms(steps, given.rounds, device)

    print(f"{given.preset}, {given.height}x{given.width} coarse pixels, {given.threads} threads, float32, CPU, eager,")
    print(f"median of {given.rounds} interleaved rounds; multiply-adds are those of convolutions and matrix products")
    print("| operator | parameters | multiply-adds | ms per step | ratio to seq_conv_gru |")
    print("|---|---|---|---|---|")
    reference = medians["seq_conv_gru"]
    for variant, (parameters, products) in rows.items():
        median = medians[variant]
        print(f"| {variant} | {parameters:,} | {products / 1e9:.2f} G | {median:.1f} | {median / reference:.2f} |")


if __name__ == "__main__":
    main()

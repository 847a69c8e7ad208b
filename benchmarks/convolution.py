"""Minimal filtering against PyTorch's direct convolution, layer by layer; interleaved, and right before it is timed.

python benchmarks/convolution.py [--size 440x1024] [--threads 2] [--rounds 15]

The layers are those of RAFT's two networks that filter, on pictures of --size, with random weights, channels last. Errors
are root mean squares from float64, of outputs with a variance of about one.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F
from reporting import arguments, begin, parsed, refuse, size_of

from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.layers.winograd import filtered
from flowgru.layers.winograd_matrices import transformed

LAYERS = {
    "gates, 1x5": (256, 256, (1, 5), 8),
    "candidate, 1x5": (256, 128, (1, 5), 8),
    "gates, 5x1": (256, 256, (5, 1), 8),
    "candidate, 5x1": (256, 128, (5, 1), 8),
    "conv_min_gru's gates": (256, 384, (3, 3), 8),
    "motion encoder, correlation": (256, 192, (3, 3), 8),
    "motion encoder, last": (256, 126, (3, 3), 8),
    "flow head": (128, 256, (3, 3), 8),
    "small: gates": (178, 192, (3, 3), 8),
    "small: candidate": (178, 96, (3, 3), 8),
    "small: flow head": (96, 128, (3, 3), 8),
    "encoder, third stage": (128, 128, (3, 3), 8),
    "encoder, second stage": (96, 96, (3, 3), 4),
    "encoder, first stage (not filtered)": (64, 64, (3, 3), 2),
}
"""Channels in and out, kernel, and which part of the picture's resolution."""

MAX_ROUNDING = 8
"""Largest error, as a multiple of the direct convolution's, with which anything is timed."""


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--size", default="440x1024", help="HEIGHTxWIDTH in pixels")
    given = parsed(parser)
    device = begin(given)
    said = conditions(
        device,
        size=given.size,
        dtype="float32",
        iterations="one layer",
        correlation="none",
        rounds=given.rounds,
        warm_up="the check, and one round",
        clock=given.clock,
    )
    columns = ["layer", "channels", "direct, ms", "filtered, ms", "times as fast (range)", "error, direct", "filtered"]
    table = Table("Convolutions", said, [*columns, "transforming the weight, ms"], lines=given.json)
    refuse([problem for name in LAYERS for problem in compare(name, given, device, table)])


def compare(name: str, given: argparse.Namespace, device: torch.device, table: Table) -> list[str]:
    """The row of a layer, or what is wrong and not timed."""
    inputs, outputs, kernel, part = LAYERS[name]
    height, width = size_of(given.size)
    padding = (kernel[0] // 2, kernel[1] // 2)
    input = torch.randn(1, inputs, -(-height // part), -(-width // part), device=device)
    weight = torch.randn(outputs, inputs, *kernel, device=device) / (inputs * kernel[0] * kernel[1]) ** 0.5
    input, weight = (each.contiguous(memory_format=torch.channels_last) for each in (input, weight))
    weight = torch.nn.Parameter(weight)  # as in a network, so that it is transformed once
    bias = torch.randn(outputs, device=device)
    ways = {
        "direct": lambda: F.conv2d(input, weight, bias, padding=padding),
        "filtered": lambda: filtered(input, weight, bias),
    }
    exact = F.conv2d(input.double(), weight.double(), bias.double(), padding=padding)
    errors = {way: (convolve() - exact).square().mean().sqrt().item() for way, convolve in ways.items()}
    if not errors["filtered"] < MAX_ROUNDING * errors["direct"]:
        return [f"{name}: {errors['filtered']:.1e} off, the direct convolution {errors['direct']:.1e}"]
    ways["transforming"] = lambda: transformed(weight.detach())
    times = interleaved_seconds(ways, given.rounds, device, clock=given.clock)
    direct, found, transforming = (1000 * statistics.median(times[way]) for way in ways)
    ratio = speed_ratio(times["direct"], times["filtered"])
    table.add(name, f"{inputs} to {outputs}", direct, found, ratio, *errors.values(), transforming)
    return []


if __name__ == "__main__":
    main()

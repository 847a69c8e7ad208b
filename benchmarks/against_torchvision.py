"""flowgru against torchvision's RAFT at the same random weights, interleaved in one process; correctness comes first.

python benchmarks/against_torchvision.py [--networks large small] [--height 440] [--width 1024] [--iterations 12]
    [--frames 2] [--rounds 5] [--threads 2] [--compile] [--device cpu] [--correlation auto]

With two frames one pair is estimated; with more, all pairs of a video, where flowgru encodes each frame once and
torchvision, which has no video, encodes both frames of every pair. A time is that of one pair.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large, raft_small

from flowgru import estimate_flow
from flowgru.config import NetworkConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.foreign_weights import to_our_names

NETWORKS: dict[str, tuple[Callable[..., nn.Module], NetworkConfig]] = {
    "large": (raft_large, NetworkConfig("large", "seq_conv_gru")),
    "small": (raft_small, NetworkConfig("small", "conv_gru")),
}

MOST_PIXELS = 1e-3
"""Difference from torchvision's flow above which no time is printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=NETWORKS)
    parser.add_argument("--height", type=int, default=440)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile for flowgru's parts")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"{given.height}x{given.width} px, {given.iterations} refinements, {given.frames} frames, float32, {given.device}, "
        f"{given.threads} threads, torch {torch.__version__}, {'compiled' if given.compile else 'eager'}; one round to "
        f"warm up, median of {given.rounds} interleaved rounds"
    )
    print("| network | torchvision, s a pair | flowgru, s a pair | ratio (lowest-highest) | largest difference, px |")
    print("|---|---|---|---|---|")
    for name in given.networks:
        print(compare(name, given), flush=True)


@torch.inference_mode()
def compare(name: str, given: argparse.Namespace) -> str:
    """One row of the table."""
    theirs, ours = same_weights(name, given.device)
    if given.compile:
        ours.compile_parts()
    torch.manual_seed(1)
    frames = torch.rand(given.frames, 3, given.height // 8, given.width // 8)
    frames = nn.functional.interpolate(frames, (given.height, given.width), mode="bicubic").clamp(0, 1).to(given.device)

    def run_theirs() -> list[Tensor]:
        pairs = zip(2 * frames[:-1, None] - 1, 2 * frames[1:, None] - 1, strict=True)
        return [theirs(first, second, num_flow_updates=given.iterations)[-1][0] for first, second in pairs]

    def run_ours() -> list[Tensor]:
        return list(estimate_flow(frames, ours, iterations=given.iterations))

    difference = max(
        (expected - flow.to(given.device)).abs().max().item()
        for expected, flow in zip(run_theirs(), run_ours(), strict=True)
    )
    if not difference < MOST_PIXELS:
        return f"| {name} | not timed: the flows differ | | | {difference:.1e} |"
    times: dict[Callable[[], list[Tensor]], list[float]] = {run_theirs: [], run_ours: []}
    for _ in range(given.rounds):
        for run, measured in times.items():
            started = time.perf_counter()
            run()
            if given.device != "cpu":
                torch.cuda.synchronize()
            measured.append((time.perf_counter() - started) / (given.frames - 1))
    ratios = sorted(a / b for a, b in zip(times[run_theirs], times[run_ours], strict=True))
    a, b = (statistics.median(times[run]) for run in (run_theirs, run_ours))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    return f"| {name} | {a:.2f} | {b:.2f} | {spread} | {difference:.1e} |"


def same_weights(name: str, device: str) -> tuple[nn.Module, FlowNetwork]:
    """torchvision's network with random weights and a damped flow head, and ours with the same."""
    torch.manual_seed(0)
    make, config = NETWORKS[name]
    theirs = make(weights=None).eval()
    last = theirs.get_submodule("update_block.flow_head.conv2")
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(0.1)
    ours = FlowNetwork(config).eval()
    ours.load_state_dict(to_our_names(theirs.state_dict(), "torchvision", config))
    return theirs.to(device), ours.to(device)


if __name__ == "__main__":
    main()

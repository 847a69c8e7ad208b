"""Peak memory and CPU seconds of one pair, each case in a process of its own, beside what flowgru expects it to take.

python benchmarks/memory.py [--sizes 440x1024 1088x1920] [--networks large] [--methods all_pairs on_demand torchvision]
    [--tiles 1x1] [--iterations 2] [--threads 2] [--limit-gib 6]

Weights are random, the flow head's next to zero: the flow stays small, as it mostly is. Memory does not depend on the number
of refinements. A case that is expected to take more than the limit is left out; torchvision is expected to
take what all_pairs takes.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from typing import Any

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["440x1024", "1088x1920"])
    parser.add_argument("--networks", nargs="+", default=["large"])
    parser.add_argument("--methods", nargs="+", default=["all_pairs", "on_demand", "torchvision"])
    parser.add_argument("--tiles", default="1x1")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit-gib", type=float, default=6.0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(**json.loads(given.case))))
        return
    print(f"CPU, {given.threads} threads, {given.iterations} refinements, float32, tiles {given.tiles}")
    print("| frames | network | correlation | expected GiB | peak GiB | encoding, CPU s | a refinement, CPU s |")
    print("|---|---|---|---|---|---|---|")
    for size, network, method in itertools.product(given.sizes, given.networks, given.methods):
        case = {"size": size, "preset": network, "method": method, "tiles": given.tiles}
        case |= {"iterations": given.iterations, "threads": given.threads, "limit": given.limit_gib * GIB}
        words = [sys.executable, __file__, "--case", json.dumps(case)]
        run = subprocess.run(words, capture_output=True, text=True)
        if run.returncode:
            print(f"| {size} | {network} | {method} | failed: {(run.stderr.strip().splitlines() or ['killed'])[-1]} |")
            continue
        found = json.loads(run.stdout.splitlines()[-1])
        peak = f"{found['peak'] / GIB:.2f}" if found["peak"] else "over the limit"
        times = f"{found['encoding']:.1f} | {found['refinement']:.2f}" if found["peak"] else "- | -"
        expected = "-" if method == "torchvision" and found["peak"] else f"{found['expected'] / GIB:.2f}"
        print(f"| {size} | {network} | {method} | {expected} | {peak} | {times} |", flush=True)


def measure(
    size: str, preset: str, method: str, tiles: str, iterations: int, threads: int, limit: float
) -> dict[str, Any]:
    """One case in this process: bytes expected and taken, CPU seconds until the first refinement and for each."""
    import torch

    from flowgru.config import NetworkConfig
    from flowgru.model.flow_network import FlowNetwork
    from flowgru.model.memory import peak_memory
    from flowgru.model.memory_estimate import estimate_memory
    from flowgru.tasks.flow_stream import estimate_flow
    from flowgru.tasks.tiling import tile_layout

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width = map(int, size.split("x"))
    rows, columns = map(int, tiles.split("x"))
    operator = {"large": "seq_conv_gru", "small": "conv_gru", "compact": "conv_min_gru"}[preset]
    network = FlowNetwork(NetworkConfig(preset, operator)).eval()  # pyright: ignore[reportArgumentType]
    network.correlation = "all_pairs" if method == "torchvision" else method  # pyright: ignore[reportAttributeAccessIssue]
    layout = tile_layout(height, width, rows, columns)
    expected = estimate_memory(network, height, width, num_tiles=len(layout), tile_shape=layout[0][2:]).num_bytes
    if expected > limit:
        return {"expected": expected, "peak": None}
    frames = [torch.rand(3, height // 8, width // 8).repeat_interleave(8, 1).repeat_interleave(8, 2) for _ in range(2)]
    if method == "torchvision":
        from torchvision.models import optical_flow

        network = getattr(optical_flow, f"raft_{preset}")().eval()

    def seconds(num_refinements: int) -> float:
        began = time.process_time()
        if method == "torchvision":
            with torch.inference_mode():
                network(*(2 * frame[None] - 1 for frame in frames), num_flow_updates=num_refinements)
        else:
            list(estimate_flow(frames, network, iterations=num_refinements, tiles=(rows, columns)))
        return time.process_time() - began

    head = network.update_block.flow_head if method == "torchvision" else network.flow_head  # pyright: ignore
    with torch.no_grad():
        for parameter in head.parameters():  # pyright: ignore
            parameter *= 1e-3
    one = seconds(1)
    refinement = (seconds(1 + iterations) - one) / iterations
    return {
        "expected": expected,
        "peak": peak_memory(torch.device("cpu")),
        "encoding": one - refinement,
        "refinement": refinement,
    }


if __name__ == "__main__":
    main()

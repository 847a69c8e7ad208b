"""Peak memory and seconds of one pair of large frames, each case in a process of its own, the processes taking turns.

python benchmarks/memory.py [--sizes 1088x1920] [--networks large] [--methods torchvision all_pairs on_demand]
    [--iterations 12] [--device cpu] [--threads 2] [--rounds 3] [--limit-gib 10]
python benchmarks/memory.py --methods torchvision on_demand on_demand,compiled
python benchmarks/memory.py --sizes 2160x3840 --methods on_demand --rounds 1

Weights are random and the same for all, the flow head damped as in against_torchvision.py. On a CPU no process may take
more than the limit, and on no device does one compute what is expected to. The networks are compared on a small pair before
anything else, and the flows of all cases with the first case's before a time is printed; the exit code is 1 where one
differs by more than 1e-3 px, or on a GPU, where cuDNN chooses how it rounds, by more than 8e-3 px.
In each process a first pair is not counted, on a GPU two. Only torchvision's own process imports it: that alone takes
0.16 GiB.
"""

import argparse
import copy
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from reporting import arguments, begin, furthest, parsed, refuse, size_of

from flowgru.benchmarking.cases import matcher_of, moving_frames, video_flows
from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.config import NetworkConfig
from flowgru.layers.arithmetic import convolutions
from flowgru.model.compiled import compile_for_inference
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory import free_memory, peak_memory

GIB = 2**30
TORCHVISION = 2.1
"""What torchvision takes, as a multiple of what flowgru takes with all_pairs, as it was measured at 1088x1920."""
CRASHED = "crashed:"
CASE = "case.pt"
METHODS = ("torchvision", "all_pairs", "on_demand", "all_pairs,compiled", "on_demand,compiled")


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--sizes", nargs="+", default=["1088x1920"], help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--networks", nargs="+", default=["large"], choices=["large", "small"])
    parser.add_argument("--methods", nargs="+", default=["torchvision", "all_pairs", "on_demand"], choices=METHODS)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--limit-gib", type=float, default=10.0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parsed(parser)
    device = begin(given)
    if given.case:
        print(json.dumps(measure(given, device)))
        return
    said = conditions(
        device,
        size="by row",
        dtype="float32",
        iterations=str(given.iterations),
        correlation="by row",
        rounds=given.rounds,
        warm_up="one pair in each process",
        clock=given.clock,
        early_exit="none",
        form="eager, inference, unless the row says compiled",
        memory="peak of the process" if device.type == "cpu" else "peak of all tensors",
        limit=f"{given.limit_gib:g} GiB",
    )
    columns = ["frames", "network", "method", "expected GiB", "peak GiB", "s a pair"]
    columns += ["times as fast as the first (range)", "s for all but refinements", "s a refinement", "difference, px"]
    table = Table("Memory and time of large frames", said, columns, lines=given.json)
    problems = []
    for size, network in itertools.product(given.sizes, given.networks):
        problems += contest(size, network, given, table)
    refuse(problems)


def contest(size: str, network: str, given: argparse.Namespace, table: Table) -> list[str]:
    """The rows of one network and size. Returns what was wrong."""
    from against_torchvision import (
        MAX_DIFFERENCE,
        MAX_DIFFERENCE_BY_CUDNN,
        Contestant,
        check,
        ours_as,
        same_weights,
        theirs_as,
    )

    device, problems = torch.device(given.device), list[str]()
    theirs, ours = same_weights(network, device)
    contestants = {"torchvision": Contestant(theirs_as(theirs))}
    for method in ("all_pairs", "on_demand"):
        chosen = copy.deepcopy(ours)
        chosen.plan = MatchPlan(method)
        contestants[method] = Contestant(ours_as(chosen, "32"))
    with torch.inference_mode():
        if wrong := check(contestants, moving_frames(192, 256, 2).to(device))[1]:
            return [f"{network}, {problem}" for problem in wrong]
    with tempfile.TemporaryDirectory() as folder:
        case = {"frames": moving_frames(*size_of(size), 2), "config": asdict(ours.config)}
        torch.save({**case, "theirs": theirs.state_dict(), "ours": ours.state_dict()}, Path(folder) / CASE)
        runs, failed = run_in_turns(Path(folder), network, given)
        right = [method for method in given.methods if method not in failed]
        flows = {method: torch.load(Path(folder) / f"{method}.pt") for method in right}
    for method in given.methods:
        if method in failed:
            table.add(size, network, method, None, None, f"not run: {failed[method]}", None, None, None, None)
            if failed[method].startswith(CRASHED):
                problems.append(f"{size}, {network}, {method}: {failed[method]}")
            continue
        first, seconds = right[0], [run["seconds"] for run in runs[method]]
        difference = furthest(flows[method], flows[first])
        if difference > (MAX_DIFFERENCE_BY_CUDNN if given.device.startswith("cuda") else MAX_DIFFERENCE):
            problems.append(f"{size}, {network}, {method}: {difference:.1e} px from {first}")
            continue
        refinement = None
        if given.iterations > 1:
            refinement = statistics.median(run["refinement"] for run in runs[method])
        table.add(
            size,
            network,
            method,
            runs[method][0]["expected"] / GIB,
            max(run["peak"] for run in runs[method]) / GIB,
            statistics.median(seconds),
            speed_ratio([run["seconds"] for run in runs[first]], seconds),
            None if refinement is None else statistics.median(seconds) - given.iterations * refinement,
            refinement,
            difference,
        )
    return problems


def run_in_turns(
    folder: Path, network: str, given: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """What each method measured in each round, in processes of their own, and why a method did not run."""
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in given.methods}
    failed: dict[str, str] = {}
    for method in [method for _ in range(given.rounds) for method in given.methods]:
        if method in failed:
            continue
        words = [__file__, "--case", str(folder), "--methods", method, "--networks", network, "--clock", given.clock]
        for option in ("device", "threads", "iterations", "limit_gib"):
            words += [f"--{option.replace('_', '-')}", str(getattr(given, option))]
        run = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        if run.returncode:
            last = (run.stderr.strip().splitlines() or [f"ended with {run.returncode}"])[-1][:200]
            lacking = any(word in last.lower() for word in ("memory", "bad_alloc"))
            failed[method] = last if lacking else f"{CRASHED} {last}"
            continue
        runs[method].append(json.loads(run.stdout.splitlines()[-1]))
        if (reason := runs[method][-1].get("not run")) is not None:
            failed[method] = reason
    return runs, failed


@torch.inference_mode()
def measure(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One case in this process, whose last flow is written into the folder: bytes and seconds."""
    folder, method, limit = Path(given.case), given.methods[0], int(given.limit_gib * GIB)
    case = torch.load(folder / CASE)
    frames = case["frames"].to(device)
    ours = FlowNetwork(NetworkConfig(**case["config"])).to(device).for_inference()
    ours.load_state_dict(case["ours"])
    ours.plan = MatchPlan("on_demand" if method.startswith("on_demand") else "all_pairs")
    expected = ours.expected_memory(*frames.shape[2:]).num_bytes * (TORCHVISION if method == "torchvision" else 1.0)
    if expected > min(limit, free := free_memory(device)):
        least = f"the limit is {given.limit_gib:g}" if limit < free else f"{free / GIB:.1f} are free"
        return {"not run": f"expected to take {expected / GIB:.1f} GiB; {least}"}
    if device.type == "cpu":
        refuse_more_than(limit)
    if method == "torchvision":
        from torchvision.models import optical_flow

        theirs = getattr(optical_flow, f"raft_{given.networks[0]}")().eval().to(device)
        theirs.load_state_dict(case["theirs"])
    elif method.endswith(",compiled"):
        compile_for_inference(ours)
    del case

    def flow(iterations: int) -> torch.Tensor:
        if method == "torchvision":
            return theirs(2 * frames[:1] - 1, 2 * frames[1:] - 1, num_flow_updates=iterations)[-1][0]
        return video_flows(matcher_of(ours, iterations), frames)[0]

    with convolutions(tf32=False):
        torch.save(flow(given.iterations if device.type == "cuda" else 1).cpu(), folder / f"{method}.pt")
    if device.type == "cuda":
        flow(1)  # cuDNN chooses again, now that it may round more coarsely
        torch.cuda.reset_peak_memory_stats(device)
    found = []
    actions = {"one": lambda: flow(1), "all": lambda: found.append(flow(given.iterations))}
    times = interleaved_seconds(actions, 1, device, warm_up=0, clock=given.clock)
    if device.type == "cpu":
        torch.save(found[0], folder / f"{method}.pt")
    one, every = times["one"][0], times["all"][0]
    return {
        "expected": expected,
        "peak": peak_memory(device),
        "seconds": every,
        "refinement": (every - one) / (given.iterations - 1) if given.iterations > 1 else None,
    }


def refuse_more_than(limit: int) -> None:
    """Lets allocations beyond the limit fail, before the system has to choose a process that it kills."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()

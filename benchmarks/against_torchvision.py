"""flowgru against torchvision's RAFT with the same random weights, interleaved in one process; correctness comes first.

python benchmarks/against_torchvision.py [--networks large small] [--size 440x1024] [--iterations 12 32] [--frames 2 10]
    [--correlation all_pairs] [--compile] [--autocast] [--classical] [--device cpu] [--threads 2] [--rounds 5]
python benchmarks/against_torchvision.py --networks large --write-weights raft_large_random.pth
python benchmarks/against_torchvision.py --networks large --iterations 12 --exported raft_large_random.onnx

With two frames one pair is estimated; with more, all pairs of a video, where flowgru encodes each frame once and
torchvision, which has no video, encodes both frames of every pair, as its users do. A time is that of one pair. The flow
head's last convolution is damped to a tenth, so that the flow stays finite.

What is timed has the flow of torchvision after 12 refinements to 1e-3 px, computed without TF32; or to 8e-3 px where it has
it to 1e-3 px without cuDNN, which may choose an algorithm that rounds more coarsely for one side only. Under bf16 autocast
its largest difference from torchvision's float32 is at most twice the one that torchvision itself has under the same
autocast. What has not is named and not timed, and the exit code is 1.

--exported takes files of `flowgru export` that were made of the weights which --write-weights writes, with so many
iterations; each runs in its own runtime, pair by pair.
"""

import argparse
import copy
import itertools
import math
import statistics
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from reporting import arguments, begin, furthest, furthest_without_cudnn, parsed, refuse, size_of
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large, raft_small

from flowgru.benchmarking.cases import matcher_of, method_text, moving_frames, record_graphs, video_flows
from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.config import NetworkConfig
from flowgru.config.choices import Precision
from flowgru.data.classical import dis_flow, farneback_flow
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.layers.arithmetic import convolutions
from flowgru.model.compiled import compile_for_inference
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.pair_network import PairNetwork
from flowgru.model.weight_files.raft_names import to_our_names

NETWORKS: dict[str, tuple[Callable[..., nn.Module], NetworkConfig]] = {
    "large": (raft_large, NetworkConfig("large", "seq_conv_gru")),
    "small": (raft_small, NetworkConfig("small", "conv_gru")),
}
MAX_DIFFERENCE = 1e-3
"""Difference from torchvision's flow above which no time is printed."""
MAX_DIFFERENCE_BY_CUDNN = 8 * MAX_DIFFERENCE
"""The same, of a flow that differs less than MAX_DIFFERENCE without cuDNN."""
SHORTEST = 0.1
"""Mean length in pixels of a flow that shows differences; with these weights it is 0.3 to 0.6."""
CHECKED_AT = 12
"""Refinements after which flows are compared."""


class Contestant(NamedTuple):
    """One way to compute the flows of a clip."""

    flows: Callable[[Tensor, int], list[Tensor]]
    """[N, 3, H, W] in [0, 1] and the number of refinements -> N - 1 flows [2, H, W]."""
    dtype: str = "float32"
    flow_is_torchvisions: bool = True
    """Whether it computes what torchvision computes; DIS and Farneback are there for scale."""


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=NETWORKS)
    parser.add_argument("--size", default="440x1024", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--iterations", type=int, nargs="+", default=[12, 32])
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--correlation", nargs="+", default=["all_pairs"], choices=["auto", "all_pairs", "on_demand"])
    parser.add_argument("--compile", action="store_true", help="also flowgru compiled")
    parser.add_argument("--autocast", action="store_true", help="also both under bf16 autocast")
    parser.add_argument("--classical", action="store_true", help="also OpenCV's DIS and Farneback, for scale")
    parser.add_argument("--exported", type=Path, nargs="+", default=[], help="ONNX or OpenVINO (.xml) files")
    parser.add_argument("--write-weights", type=Path, help="write torchvision's random weights there, and stop")
    given = parsed(parser)
    if (given.exported or given.write_weights) and len(given.networks) > 1:
        parser.error("--exported and --write-weights are about one network: give --networks large or small")
    if given.exported and given.iterations != [CHECKED_AT]:
        parser.error(
            f"the flows of an exported file are compared after its {CHECKED_AT} refinements: give --iterations 12"
        )
    device = begin(given)
    if given.write_weights:
        torch.save(same_weights(given.networks[0], device)[0].state_dict(), given.write_weights)
        return
    frames = moving_frames(*size_of(given.size), max(given.frames)).to(device)
    said = conditions(
        device,
        size=f"{given.size} px",
        dtype="by row",
        iterations="by row",
        correlation="by row",
        rounds=given.rounds,
        warm_up="the check, and one round; torchvision upsamples after every refinement, flowgru after the last",
        clock=given.clock,
        early_exit="none",
        frames="2: one pair; more: a video, flowgru encodes each frame once, torchvision goes pair by pair",
        check=f"largest difference from torchvision after {CHECKED_AT} refinements, at most {MAX_DIFFERENCE} px in float32",
    )
    columns = [
        "network",
        "frames",
        "refinements",
        "method",
        "dtype",
        "s a pair",
        "times as fast as torchvision (range)",
    ]
    columns += ["than torchvision under autocast"] * given.autocast + ["largest difference, px"]
    table = Table("Against torchvision", said, columns, lines=given.json)
    refuse([problem for name in given.networks for problem in compare(name, frames, given, device, table)])


@torch.inference_mode()
def compare(name: str, frames: Tensor, given: argparse.Namespace, device: torch.device, table: Table) -> list[str]:
    """The rows of one network. Returns what was wrong and not timed."""
    contestants = contest(name, frames, given, device)
    differences, problems = check(contestants, frames[:2])
    problems = [f"{name}, {problem}" for problem in problems]
    right = {label: one for label, one in contestants.items() if label in differences}
    for num_frames in given.frames:
        for iterations in given.iterations:
            part = frames[:num_frames]
            actions = {
                label: lambda one=one, part=part, count=iterations: one.flows(part, count)
                for label, one in right.items()
            }
            times = interleaved_seconds(actions, given.rounds, device, clock=given.clock)
            for label, one in right.items():
                ratios = [speed_ratio(times["torchvision"], times[label])]
                if given.autocast:
                    ratios.append(speed_ratio(times["torchvision, autocast"], times[label]))
                seconds = statistics.median(times[label]) / (num_frames - 1)
                count = iterations if one.flow_is_torchvisions else None
                table.add(name, num_frames, count, label, one.dtype, seconds, *ratios, differences[label])
    return problems


@convolutions(tf32=False)
def check(contestants: dict[str, Contestant], pair: Tensor) -> tuple[dict[str, float | None], list[str]]:
    """Largest difference of each contestant that is right from torchvision in float32, and what is wrong."""
    (expected,) = contestants["torchvision"].flows(pair, CHECKED_AT)
    allowed = {"float32": MAX_DIFFERENCE}
    differences: dict[str, float | None] = {}
    problems = []
    if (length := expected.norm(dim=0).mean().item()) < SHORTEST:
        problems.append(f"torchvision's flow is {length:.1e} px on average, too short to tell a difference")
    for label, one in contestants.items():
        (found,) = one.flows(pair, CHECKED_AT)
        if not one.flow_is_torchvisions:
            differences[label] = None
            continue
        difference = furthest(found, expected)
        most = allowed.setdefault(one.dtype, 2 * difference)  # the first under an autocast is torchvision
        if difference > most and one.dtype == "float32":
            plain = furthest_without_cudnn(contestants["torchvision"].flows, one.flows, pair, CHECKED_AT)
            most = MAX_DIFFERENCE_BY_CUDNN if plain <= MAX_DIFFERENCE else most
        if difference <= most and math.isfinite(difference):
            differences[label] = difference
        else:
            problems.append(f"{label}: {difference:.1e} px from torchvision, at most {most:.1e} are allowed")
    return differences, problems


def contest(name: str, frames: Tensor, given: argparse.Namespace, device: torch.device) -> dict[str, Contestant]:
    """Everything that takes part; torchvision is the first, and the first of each dtype."""
    theirs, ours = same_weights(name, device)
    found = {"torchvision": Contestant(theirs_as(theirs))}
    if given.autocast:
        found["torchvision, autocast"] = Contestant(theirs_as(theirs, autocast=True), "bfloat16")
    precisions: dict[Precision, str] = {"32": "float32", "bf16": "bfloat16"} if given.autocast else {"32": "float32"}
    for method in given.correlation:
        for form in ("eager", "compiled") if given.compile else ("eager",):
            for precision, dtype in precisions.items():  # a network of its own: what is compiled stays so
                network = copy.deepcopy(ours)
                network.plan = MatchPlan(method)
                network = compile_for_inference(network) if form == "compiled" else network
                label = f"flowgru, {form}, {method_text(network, frames)}" + ", autocast" * (precision != "32")
                found[label] = Contestant(ours_as(network, precision), dtype)
    for path in given.exported:
        file = ExportedFlow(path)
        found[f"{file.runtime}, {path.name}"] = Contestant(ours_as(file, "32"))
    if given.classical:
        for label, classical in (("OpenCV DIS, medium, CPU", dis_flow), ("OpenCV Farneback, CPU", farneback_flow)):
            found[label] = Contestant(classical_as(classical), "uint8", flow_is_torchvisions=False)
    return found


def theirs_as(network: nn.Module, *, autocast: bool = False) -> Callable[[Tensor, int], list[Tensor]]:
    def flows(part: Tensor, iterations: int) -> list[Tensor]:
        pairs = zip(2 * part[:-1, None] - 1, 2 * part[1:, None] - 1, strict=True)
        with torch.autocast(part.device.type, dtype=torch.bfloat16, enabled=autocast):
            return [network(first, second, num_flow_updates=iterations)[-1][0] for first, second in pairs]

    return flows


def ours_as(network: PairNetwork, precision: Precision) -> Callable[[Tensor, int], list[Tensor]]:
    @cache
    def matcher(iterations: int, size: torch.Size) -> PairMatcher:
        found = matcher_of(network, iterations, precision)
        record_graphs(found, torch.rand(2, *size, device=network.device))
        return found

    return lambda part, iterations: video_flows(matcher(iterations, part.shape[1:]), part)


def classical_as(classical: Callable[..., np.ndarray]) -> Callable[[Tensor, int], list[Tensor]]:
    def flows(part: Tensor, iterations: int) -> list[Tensor]:
        pictures = [picture.permute(1, 2, 0).contiguous().numpy() for picture in (part * 255).byte().cpu()]
        pairs = itertools.pairwise(pictures)
        return [torch.from_numpy(classical(first, second)).permute(2, 0, 1) for first, second in pairs]

    return flows


def same_weights(name: str, device: torch.device) -> tuple[nn.Module, FlowNetwork]:
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
    return theirs.to(device), ours.to(device).for_inference()


if __name__ == "__main__":
    main()

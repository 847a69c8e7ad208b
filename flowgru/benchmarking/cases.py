"""The work of `flowgru benchmark`, and what the scripts in benchmarks/ share with it."""

import itertools
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.benchmarking.operator_table import operator_table
from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.config import SyntheticSettings
from flowgru.config.benchmark import BenchmarkSettings
from flowgru.config.choices import CorrelationMethod, Precision
from flowgru.config.way import Way
from flowgru.console import say, terminal_width
from flowgru.data.formats.images import to_tensor
from flowgru.data.synthetic.clip import render_clip
from flowgru.data.video.frames import open_clip
from flowgru.errors import FlowgruError, MachineError, RequestError, size_text
from flowgru.estimation.geometry import resize_picture
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, matched_flows
from flowgru.files.atomic import write_file
from flowgru.files.json_text import json_text
from flowgru.files.own_folders import require_writable
from flowgru.grid import lengths
from flowgru.model.compiled import compile_for_inference
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory import peak_memory
from flowgru.model.pair_network import PairNetwork
from flowgru.model.recorded import PAIRS_BEFORE
from flowgru.model.weight_files.loading import device_of_option, load_model
from flowgru.processes.jobs import Job, run_jobs
from flowgru.types import Images


def matcher_of(network: PairNetwork, iterations: int, precision: Precision = "32") -> PairMatcher:
    """What matches frames by the network alone, from zero.

    MachineError, when it does, where memory does not suffice: a smaller plan would not be what was to be measured.
    """
    return PairMatcher(network, MatchSettings(Way(iterations), precision=precision, on_lack="fail"))


def video_flows(matcher: PairMatcher, frames: Images) -> list[Float[Tensor, "2 H W"]]:
    """The flow from each frame to the next, as `flowgru estimate` computes it: each frame is encoded once."""
    stream = (StreamFrame(frames[index : index + 1], index) for index in range(len(frames)))
    return [pair.forward for pair in matched_flows(stream, matcher)]


def record_graphs(matcher: PairMatcher, frames: Images) -> None:
    """Lets a GPU match pairs of such frames until they are CUDA graphs, as they are in a long clip."""
    if matcher.device.type == "cuda":
        for _ in range(math.ceil(PAIRS_BEFORE / (len(frames) - 1))):
            video_flows(matcher, frames)


def method_text(network: FlowNetwork, frames: Images) -> str:
    """How the network computes the matches of such frames, and what chose that."""
    method = network.expected_memory(*frames.shape[2:]).method
    return f"auto: {method}" if network.plan.correlation == "auto" else method


def moving_frames(height: int, width: int, num_frames: int) -> Images:
    """A generated clip: the time of a look-up on demand, and that of classical methods, depends on how things move."""
    settings = SyntheticSettings(height=height, width=width, num_textures=8, seed=5)
    return torch.stack(render_clip(settings, 0, num_frames).frames)


@dataclass(frozen=True)
class Case:
    """One of the things that are compared."""

    model: str
    iterations: int
    correlation: CorrelationMethod
    precision: Precision
    compile: bool

    def network(self, device: torch.device) -> FlowNetwork:
        """The model, ready to be timed."""
        network = load_model(self.model, device, correlation=self.correlation)
        return compile_for_inference(network) if self.compile else network

    def matcher(self, network: FlowNetwork) -> PairMatcher:
        """What matches frames by that model."""
        return matcher_of(network, self.iterations, self.precision)


class Benchmark:
    """One run of `flowgru benchmark`."""

    def __init__(self, settings: BenchmarkSettings) -> None:
        """RequestError and MachineError where the device is not to be had, or the file of --json cannot be written."""
        self.settings = settings
        self.device = device_of_option(settings.device)
        if settings.json is not None:
            require_writable(Path(settings.json), "--json")

    def run(self) -> None:
        """Measures, prints, and writes the file of --json."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or threads)
        try:
            table = self._operators() if self.settings.operators else self._cases()
        finally:
            torch.set_num_threads(threads)
        if self.settings.json is not None:
            report = {"title": table.title, "conditions": table.said, "rows": table.records}
            write_file(self.settings.json, json_text(report) + "\n", self.settings.overwrite)

    def _operators(self) -> Table:
        settings = self.settings
        height, width = settings.height_and_width() or (440, 1024)
        return operator_table(
            settings.operators,
            preset=settings.preset,
            height=height,
            width=width,
            rounds=settings.rounds,
            device=self.device,
            say=say,
            room=terminal_width(sys.stdout),
        )

    def _cases(self) -> Table:
        settings = self.settings
        frames = self._frames().to(self.device)
        compiling = (False, True) if settings.compile else (False,)
        lists = (settings.model, settings.iterations, settings.correlation, settings.precision, compiling)
        cases = [Case(*values) for values in itertools.product(*lists)]
        networks = [case.network(self.device) for case in cases]
        matchers = [case.matcher(network) for case, network in zip(cases, networks, strict=True)]
        flows = [_one_flow(case, matcher, frames) for case, matcher in zip(cases, matchers, strict=True)]
        actions: dict[str, Callable[[], object]] = {}
        for index, matcher in enumerate(matchers):
            record_graphs(matcher, frames)
            for kind, part in (("pair", frames[:2]), ("video", frames)):
                actions[f"{kind} {index}"] = partial(video_flows, matcher, part)
        times = interleaved_seconds(actions, settings.rounds, self.device)
        peaks = _peaks(cases, frames, self.device) if settings.memory else [None] * len(cases)

        table = Table(
            "Models and settings",
            conditions(
                self.device,
                size=size_text(frames.shape[2:]),
                dtype="by row",
                iterations="by row",
                correlation="by row",
                rounds=settings.rounds,
                warm_up="one turn or more",
                video=f"{len(frames)} frames of {settings.clip or 'a generated clip'}, each encoded once",
                **({"CUDA_graphs": "of all pairs; none in the peak"} if self.device.type == "cuda" else {}),
                peak_memory="of the process that computes one pair" if self.device.type == "cpu" else "of tensors",
            ),
            [
                "model",
                "refinements",
                "correlation",
                "precision",
                "compiled",
                "s a pair",
                "times as fast as the first (lowest-highest)",
                "video, frames/s",
                "peak MiB",
                "mean difference from the first's flow, px",
            ],
            say=say,
            room=terminal_width(sys.stdout),
        )
        for index, (case, network) in enumerate(zip(cases, networks, strict=True)):
            video = statistics.median(times[f"video {index}"]) / (len(frames) - 1)
            table.add(
                case.model,
                case.iterations,
                method_text(network, frames),
                case.precision,
                "yes" if case.compile else "no",
                statistics.median(times[f"pair {index}"]),
                speed_ratio(times["pair 0"], times[f"pair {index}"]),
                1 / video,
                peaks[index],
                lengths(flows[index] - flows[0]).mean().item() if index else None,
            )
        return table

    def _frames(self) -> Images:
        settings, size = self.settings, self.settings.height_and_width()
        if settings.clip is None:
            return moving_frames(*(size or (440, 1024)), settings.frames)
        source = open_clip([settings.clip], end=settings.frames)
        images = [to_tensor(frame.image) for frame in source]
        if len(images) < 2 or len({image.shape for image in images}) > 1:
            raise RequestError(
                f"--clip {settings.clip} has {len(images)} frames here: 2 or more of one size are needed"
            )
        frames = torch.stack(images)
        return frames if size is None else resize_picture(frames, size)


def _one_flow(case: Case, matcher: PairMatcher, frames: Images) -> Float[Tensor, "2 H W"]:
    """The flow of the first pair, before anything is timed. MachineError where it is none."""
    (flow,) = video_flows(matcher, frames[:2])
    if not bool(flow.isfinite().all()):
        raise MachineError(
            f"the flow of {case.model} with precision {case.precision} is not finite, and nothing is timed: use another "
            "--precision"
        )
    return flow


def _peaks(cases: Sequence[Case], frames: Images, device: torch.device) -> list[float]:
    """MiB at the peak of each case, in a process of its own."""
    peaks: dict[str, float] = {}

    def ended(job: Job, outcome: float | FlowgruError) -> None:
        if isinstance(outcome, FlowgruError):
            raise type(outcome)(f"the memory of {cases[int(job.name)]} cannot be measured: {outcome}")
        peaks[job.name] = outcome

    with tempfile.TemporaryDirectory() as folder:
        pair = frames[:2].cpu().numpy()  # a tensor would be passed in shared memory, of which there can be little
        jobs = [
            Job(str(index), peak_of_case, (case, pair, str(device)), Path(folder) / f"{index}.txt")
            for index, case in enumerate(cases)
        ]
        run_jobs(jobs, at_once=1, num_threads=torch.get_num_threads(), ended=ended)
    return [peaks[str(index)] for index in range(len(cases))]


def peak_of_case(case: Case, pair: np.ndarray, device: str) -> float:
    """The most memory in use, in MiB, when this process computes the flow of a pair [2, 3, H, W]."""
    chosen = torch.device(device)
    video_flows(case.matcher(case.network(chosen)), torch.from_numpy(pair).to(chosen))
    return peak_memory(chosen) / 2**20

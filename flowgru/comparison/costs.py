"""What the networks of a comparison cost, measured in turns while nothing else runs."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from flowgru.benchmarking.costs import multiply_adds, prepared_step
from flowgru.benchmarking.timing import interleaved_seconds, median_ms
from flowgru.comparison.measurements import RunMeasurement
from flowgru.comparison.plan import PlannedRow
from flowgru.comparison.runs import memory
from flowgru.comparison.training_step import prepared_training_step
from flowgru.config import ComparisonConfig
from flowgru.console import progress
from flowgru.errors import FlowgruError
from flowgru.model.flow_network import FlowNetwork
from flowgru.processes.jobs import Job, run_jobs

STEP_TURNS, PAIR_TURNS, TRAINING_TURNS = 25, 7, 7
"""Turns whose median is the time of a step of the operator, of a pair, and of a step of the training."""


def measure_costs(
    config: ComparisonConfig,
    networks: Mapping[str, PlannedRow],
    folder: Path,
    device: torch.device,
    num_threads: int,
) -> Iterator[tuple[str, list[RunMeasurement]]]:
    """The costs of every network by its name, on pictures of the size of config.test."""
    height, width, steps, pairs = config.test.height, config.test.width, {}, {}
    made = {name: FlowNetwork(planned.network).to(device).for_inference() for name, planned in networks.items()}
    first, second = (torch.rand(1, 3, height, width, device=device) for _ in range(2))

    def pair(network: FlowNetwork, iterations: int) -> Callable[[], object]:
        return lambda: network(first, second, iterations=iterations, final_only=True)

    for name, network in made.items():
        steps[name] = prepared_step(network.operator, height, width)
        pairs |= {f"{name} {count}": pair(network, count) for count in config.iterations}
    with progress("times of the operators", len(steps) * (STEP_TURNS + 1), "turns") as advance:
        step_ms = median_ms(steps, STEP_TURNS, device, advance)
    with progress("times of the pairs", len(pairs) * (PAIR_TURNS + 1), "turns") as advance:
        pair_ms = median_ms(pairs, PAIR_TURNS, device, advance)
    training_ms = _training_ms(config, networks, device)
    peaks = _peaks(config, networks, folder, device, num_threads)
    for name, planned in networks.items():
        values = {
            "parameters": planned.parameters,
            "operator_parameters": planned.operator_parameters,
            "hidden_size": planned.width,
            "multiply_adds": multiply_adds(made[name].operator, height, width),
            "ms_per_step": step_ms[name],
            "ms_per_training_step": training_ms[name],
            "peak_mib": peaks[name],
        }
        measured = [RunMeasurement(measure, float(value)) for measure, value in values.items()]
        measured += [
            RunMeasurement("ms_per_pair", pair_ms[f"{name} {count}"], iterations=count) for count in config.iterations
        ]
        yield name, measured


def _training_ms(
    config: ComparisonConfig, networks: Mapping[str, PlannedRow], device: torch.device
) -> dict[str, float]:
    """The median time of a step of each network's training."""
    steps = {
        name: prepared_training_step(replace(config.training, network=planned.network), device)
        for name, planned in networks.items()
    }
    with progress("times of the training steps", len(steps) * (TRAINING_TURNS + 1), "turns") as advance:
        times = interleaved_seconds(steps, TRAINING_TURNS, device, advance=advance)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def _peaks(
    config: ComparisonConfig,
    networks: Mapping[str, PlannedRow],
    folder: Path,
    device: torch.device,
    num_threads: int,
) -> dict[str, float]:
    """The peak of memory of each network, in a process of its own."""
    peaks: dict[str, float] = {}

    def ended(job: Job, outcome: float | FlowgruError) -> None:
        advance()
        if isinstance(outcome, FlowgruError):
            raise type(outcome)(f"the memory of {job.name} cannot be measured: {outcome}")
        peaks[job.name] = outcome

    jobs = [
        Job(name, memory, (config, planned.network, str(device)), folder / name / "memory.txt")
        for name, planned in networks.items()
    ]
    with progress("peaks of memory", len(jobs), "networks") as advance:
        run_jobs(jobs, at_once=1, num_threads=num_threads, ended=ended)
    return peaks

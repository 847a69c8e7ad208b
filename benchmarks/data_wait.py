"""What making the pairs costs a training: steps per second with a configuration's data, and with one batch repeated.

python benchmarks/data_wait.py [--config configs/synthetic.yaml] [--steps 40] [--rounds 3] [--threads 2] [--workers 1]

Both forms train the same network from random weights, in turns in one process; the first steps of each turn, in which the
workers start and fill their queue, are not counted. On a busy machine look at the processor time: it counts the work alone.
"""

import dataclasses
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from reporting import arguments, begin, circumstances, parsed
from torch.utils.data import Dataset

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings, TrainConfig
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.parser import TaskParser
from flowgru.processes.fabric import connect
from flowgru.processes.signals import Stopped
from flowgru.training.engine import train_network
from flowgru.training.feeding.pairs import training_pairs
from flowgru.training.run import train
from flowgru.training.run_log import RunLog

WARM_UP = 10
"""Steps at the start of a turn that are not counted."""


class StepTimes(RunLog):
    """Keeps how long every step took, how much of that it waited for data, and its processor time, in seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, every=10**9)
        self.console.quiet = True
        self.waits: list[float] = []
        self.seconds: list[float] = []
        self.processor: list[float] = []

    def step(self, step: int, loss, error, learning_rate: float, wait: float, seconds: float, kind="usual") -> None:
        self.waits.append(wait)
        self.seconds.append(seconds)
        self.processor.append(time.process_time())


class Repeated(Dataset[FlowSample]):
    """A few pairs over and over, for nothing."""

    def __init__(self, samples: list[FlowSample]) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> FlowSample:
        return self.samples[index % len(self.samples)]


def turn(config: TrainConfig, data: Dataset[FlowSample]) -> tuple[float, float, float]:
    """Of one short training: steps per second, the share of the time in which it waited for data, and seconds of
    processor time a step, without those of workers."""
    held_out = {"one": SyntheticPairs(SyntheticSettings(height=64, width=64, num_textures=4), length=1)}
    with tempfile.TemporaryDirectory() as folder:
        times = StepTimes(Path(folder))
        fabric = connect(torch.device("cpu"), 1, config.precision)
        fabric.launch()
        train_network(fabric, config, None, times, lambda: FlowNetwork(config.network), data, held_out)
        times.close()
    seconds, steps = math.fsum(times.seconds[WARM_UP:]), len(times.seconds) - WARM_UP
    processor = times.processor[-1] - times.processor[WARM_UP - 1]
    return steps / seconds, math.fsum(times.waits[WARM_UP:]) / seconds, processor / steps


def main() -> None:
    parser = arguments(__doc__, rounds=3, device=False, clock=False)
    parser.add_argument("--config", default="configs/synthetic.yaml")
    parser.add_argument("--steps", type=int, default=40, help="counted steps of a turn")
    parser.add_argument("--workers", type=int, help="processes that make the pairs; default: the configuration's")
    given = parsed(parser)
    device = begin(given)
    config = TaskParser("flowgru train", train).parse(["--config", given.config, "--output", "unused"])["config"]
    validation = dataclasses.replace(config.validation, every=10**9, iterations=(1,))
    workers = config.workers if given.workers is None else given.workers
    config = dataclasses.replace(config, steps=WARM_UP + given.steps, validation=validation, workers=workers)
    data = training_pairs(config)
    repeated = Repeated([data[index] for index in range(config.batch_size)])
    start, number = time.process_time(), 10 * config.batch_size
    for index in range(number):
        data[index]
    made_in = (time.process_time() - start) * config.batch_size / number

    making = f"{made_in:.3f} s of processor time for a batch"
    said = circumstances(device, config=given.config, workers=workers, steps_in_a_turn=given.steps, making=making)
    columns = ["round", "pairs", "steps/s", "part of the time waiting for data", "s of processor time a step"]
    table = Table("What making the pairs costs a training", said, columns, lines=given.json)
    rates = {"pairs of the configuration": [], "one repeated batch": []}
    for number in range(1, given.rounds + 1):
        for form, form_data, num_workers in zip(rates, (data, repeated), (workers, 0), strict=True):
            rate, wait, processor = turn(dataclasses.replace(config, workers=num_workers), form_data)
            rates[form].append(rate)
            table.add(number, form, rate, wait, processor)
    for form, values in rates.items():
        table.add("median", form, statistics.median(values), None, None)


if __name__ == "__main__":
    try:
        main()
    except Stopped as stopped:
        sys.exit(stopped.exit_code)

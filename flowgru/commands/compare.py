"""`flowgru compare`: update operators under one recipe, from a configuration to a table and a report."""

from dataclasses import replace
from pathlib import Path

from flowgru.config import ComparisonConfig
from flowgru.config.require import MAX_PROCESSES, require, require_device
from flowgru.errors import RequestError


def compare(
    config: ComparisonConfig,
    output: str,
    operators: tuple[str, ...] = (),
    steps: int | None = None,
    jobs: int = 1,
    device: str = "auto",
    compile: bool = False,
) -> None:
    """Trains and measures update operators under one recipe; called again it goes on where it stopped.

    output: Folder that receives comparison.json, measurements.csv, report.html, table.md, and below runs/ a folder of
        each training; one that holds something else, or a comparison under another recipe, is refused. More rows,
        seeds, regimes and sets may be asked for later.
    operators: Names of the rows to compare, such as conv_gru,conv_min_gru; without it all of them.
    steps: Short for --training.steps.
    jobs: Trainings at a time, each in a process with its share of the threads; all times are taken afterwards.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    compile: Let torch.compile make the trainings faster, as `train --compile` does; the first steps of each then take
        minutes, and all times are taken without it.
    """
    if steps is not None and config.minutes is not None:
        raise RequestError(f"--steps is {steps} and minutes is {config.minutes:g}: give one of them")
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=steps))
    require_device(device)
    require(jobs >= 1, "--jobs", jobs, "1 or more")
    require(jobs <= MAX_PROCESSES, "--jobs", jobs, f"{MAX_PROCESSES} or less")
    from flowgru.comparison.run import run_comparison  # imports torch, which --help does without

    run_comparison(config, Path(output), operators, jobs, device, compile=compile)

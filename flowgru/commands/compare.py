"""`flowgru compare`: update operators under one recipe, from a configuration to a table and a report."""

from dataclasses import replace
from pathlib import Path

from flowgru.config import ComparisonConfig
from flowgru.console import say
from flowgru.errors import MachineError, RequestError


def compare(
    config: ComparisonConfig,
    output: str,
    operators: tuple[str, ...] = (),
    steps: int | None = None,
    jobs: int = 1,
    device: str = "auto",
) -> None:
    """Trains and measures update operators under one recipe; called again it goes on where it stopped.

    output: Folder that receives comparison.json, measurements.csv, report.html, table.md, and below runs/ a folder of
        each training; one that holds something else, or a comparison under another recipe, is refused. More rows,
        seeds, regimes and sets may be asked for later.
    operators: Names of the rows to compare, such as conv_gru,conv_min_gru; without it all of them.
    steps: Short for --training.steps.
    jobs: Trainings at a time, each in a process with its share of the threads; all times are taken afterwards.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    """
    if steps is not None and config.minutes is not None:
        raise RequestError(f"--steps is {steps} and --minutes {config.minutes:g}: give one of them")
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=steps))
    if jobs < 1:
        raise RequestError(f"--jobs is {jobs}: it must be 1 or more")
    from flowgru.comparison.comparison import Comparison
    from flowgru.comparison.folder import ComparisonFolder
    from flowgru.comparison.plan import plan_rows, select_rows
    from flowgru.comparison.preparing import describe, refuse_broken
    from flowgru.comparison.report.page import write_report
    from flowgru.comparison.runs import measured_pairs, measured_sets
    from flowgru.model.weight_files.loading import choose_device

    # What is wrong with the request is said before the folder is made.
    where = choose_device(None if device == "auto" else device)
    planned = plan_rows(config, select_rows(config, operators))
    for name in measured_sets(config):
        measured_pairs(config, name)
    folder = ComparisonFolder(Path(output), config)
    refuse_broken(planned)
    with folder:
        describe(folder, planned, where, operators)
        comparison = Comparison(config, planned, folder, where, jobs)
        comparison.measure_zero_flow()
        comparison.choose_steps()
        failures = comparison.train()
        comparison.measure_costs()
        for path in write_report(folder.path):
            say(f"wrote {path}")
        if failures:
            raise MachineError(
                f"{len(failures)} trainings failed, and are not in the results: "
                + "; ".join(f"{name}: {error}" for name, error in failures.items())
            )

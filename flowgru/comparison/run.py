"""A whole comparison, from its configuration to its report; the same call goes on with it."""

from pathlib import Path

from flowgru.comparison.comparison import Comparison, initial_weights
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.plan import plan_rows, select_rows
from flowgru.comparison.preparing import describe, refuse_broken
from flowgru.comparison.report.page import write_report
from flowgru.comparison.runs import measured_pairs, measured_sets
from flowgru.config import ComparisonConfig
from flowgru.config.require import require_precision
from flowgru.console import say
from flowgru.errors import MachineError, RequestError, counted
from flowgru.model.weight_files.loading import device_of_option, load_model
from flowgru.training.feeding.pairs import changed_lists, lists_of_pairs, training_pairs, validation_pairs
from flowgru.training.run import require_whole_parts


def run_comparison(
    config: ComparisonConfig,
    output: Path,
    operators: tuple[str, ...],
    jobs: int,
    device: str = "auto",
    *,
    compile: bool = False,
) -> None:
    """Trains and measures what is missing, and writes the report.

    What is wrong with the request is said before the folder is made. MachineError, at the end, where trainings failed.
    """
    where = device_of_option(device)
    planned = plan_rows(config, select_rows(config, operators))
    require_precision(config.training.precision, where.type)
    training_pairs(config.training)
    validation_pairs(config.training)
    require_whole_parts(config.training, num_processes=1)
    has_begun = all(initial_weights(output, seed).exists() for seed in config.seeds)
    if config.training.init_from is not None and not has_begun:
        load_model(config.training.init_from, "cpu")
    for name in measured_sets(config):
        measured_pairs(config, name)
    folder = ComparisonFolder(output, config)
    lists = lists_of_pairs(config.training, config.sets)
    changed = changed_lists(lists, folder.record.lists)
    if changed and folder.has_results:
        raise RequestError(
            f"{changed[0]} has changed since {output} was begun, whose results are of what it was: put that back, or name "
            "another --output"
        )
    refuse_broken(planned)
    with folder:
        folder.note(lists={**folder.record.lists, **lists})
        describe(folder, planned, where, device, operators, compile=compile)
        comparison = Comparison(config, planned, folder, where, jobs, compile=compile)
        comparison.measure_zero_flow()
        comparison.choose_steps()
        failures = comparison.train()
        comparison.measure_costs()
        for path in write_report(folder.path):
            say(f"wrote {path}")
        if failures:
            raise MachineError(
                f"{counted(len(failures), 'training')} failed, and not in the results: "
                + "; ".join(f"{name}: {error}" for name, error in failures.items())
            )

"""A whole comparison, from its configuration to its report; the same call goes on with it."""

from pathlib import Path

from flowgru.comparison.comparison import INITIAL, Comparison, initial_weights
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.plan import plan_rows, select_rows
from flowgru.comparison.preparing import describe, refuse_broken
from flowgru.comparison.record import ComparisonRecord, has_steps
from flowgru.comparison.report.page import write_report
from flowgru.comparison.runs import measured_pairs, measured_sets
from flowgru.config import ComparisonConfig
from flowgru.config.require import require_precision
from flowgru.console import say
from flowgru.errors import MachineError, RequestError, counted
from flowgru.model.weight_files.digest import weights_digest
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
    folder = ComparisonFolder(output, config)
    now = _what_is_given(config, output, folder.record)
    if folder.has_results:
        _refuse_changed(folder.record, now, output)
    if any((output / INITIAL).glob("*.safetensors")):
        _refuse_other_weights(config, folder.record, now, output)
    begun_with = folder.record.jobs
    if config.minutes is not None and has_steps(folder.record) and begun_with not in (None, jobs):
        raise RequestError(
            f"the steps that fit into {config.minutes:g} minutes were chosen in {output} for --jobs {begun_with}, and "
            f"--jobs is {jobs}: give --jobs {begun_with}, or name another --output"
        )
    refuse_broken(planned)
    with folder:
        noted = folder.record
        folder.note(lists={**noted.lists, **now.lists}, pairs={**noted.pairs, **now.pairs}, initial=now.initial)
        comparison = Comparison(config, planned, folder, where, jobs, compile=compile)
        describe(folder, planned, where, device, operators, jobs, compile=compile, finished=comparison.is_finished)
        comparison.measure_zero_flow()
        comparison.choose_steps()
        failures, without_costs = comparison.train(), None
        try:
            comparison.measure_costs()
        except Exception as error:  # the trainings are done, and reported all the same
            without_costs = error
        for path in write_report(folder.path):
            say(f"wrote {path}")
        if failures:
            raise MachineError(
                f"{counted(len(failures), 'training')} failed, and not in the results: "
                + "; ".join(f"{name}: {error}" for name, error in failures.items())
            ) from without_costs
        if without_costs is not None:
            raise without_costs


def _what_is_given(config: ComparisonConfig, output: Path, noted: ComparisonRecord) -> ComparisonRecord:
    """What lies outside of the folder, as a record has it: lists of pairs, data sets, and weights to begin with."""
    lists = lists_of_pairs(config.training, config.sets)
    pairs = {name: len(measured_pairs(config, name)) for name in measured_sets(config)}  # pyright: ignore[reportArgumentType]
    source, initial = config.training.init_from, noted.initial
    if source is not None and not all(initial_weights(output, seed).exists() for seed in config.seeds):
        initial = weights_digest(load_model(source, "cpu"), source)
    return ComparisonRecord(lists=lists, pairs=pairs, initial=initial)


def _refuse_changed(noted: ComparisonRecord, now: ComparisonRecord, output: Path) -> None:
    """RequestError where results would come from other data than those that are there."""
    changed = [*changed_lists(now.lists, noted.lists)]
    changed += [
        f"{name} (which had {counted(noted.pairs[name], 'pair')} and has {count})"
        for name, count in now.pairs.items()
        if noted.pairs.get(name, count) != count
    ]
    if changed:
        raise RequestError(
            f"{changed[0]} has changed since {output} was begun, whose results are of what it was: put that back, or name "
            "another --output"
        )


def _refuse_other_weights(
    config: ComparisonConfig, noted: ComparisonRecord, now: ComparisonRecord, output: Path
) -> None:
    """RequestError where trainings would begin with other weights than those that have begun."""
    source = config.training.init_from
    if source is not None and noted.initial not in (None, now.initial):
        raise RequestError(
            f"training.init_from, {source}, has changed since {output} was begun: put the weights of then back, or name "
            "another --output"
        )
    if source is not None and "equal_parameters" in config.regimes and "equal_parameters" not in noted.rows:
        raise RequestError(
            f"{output} was begun at equal width alone, where every network keeps all weights of training.init_from; at "
            "equal parameters none may: name another --output"
        )

"""The work of a comparison, from the steps of each training to the times of all networks."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowgru.comparison.costs import measure_costs
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.measurements import Measurement, RunMeasurement
from flowgru.comparison.plan import PlannedRow, reference_network, run_config, weights_by_width
from flowgru.comparison.record import RowRecord, has_steps, how_timed
from flowgru.comparison.runs import measured_sets, steps_in, train_and_measure, zero_error
from flowgru.comparison.watching import Watch
from flowgru.config import ComparisonConfig
from flowgru.console import say, warn
from flowgru.errors import FlowgruError, MachineError, counted
from flowgru.files.own_folders import refuse_link
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.model.weight_files.transfer import other_settings, transfer
from flowgru.processes.devices import device_name
from flowgru.processes.jobs import Job, run_jobs
from flowgru.training.checkpoints.resuming import JOB_OUTPUT

INITIAL = "initial"


def initial_weights(folder: Path, seed: int) -> Path:
    """The file with the initial weights of a seed, below the folder of a comparison."""
    return folder.absolute() / INITIAL / f"seed{seed}.safetensors"


class Comparison:
    """The work of a comparison, one part after the other; each part leaves out what is done already."""

    def __init__(
        self,
        config: ComparisonConfig,
        planned: Sequence[PlannedRow],
        folder: ComparisonFolder,
        device: torch.device,
        jobs: int,
        *,
        compile: bool,
    ) -> None:
        self.config, self.planned, self.folder, self.device = config, planned, folder, device
        self.jobs, self.compile = jobs, compile
        self.sets = measured_sets(config)
        self.num_threads = torch.get_num_threads()
        for name in (INITIAL, *(f"{one.folder}/seed{seed}" for one in planned for seed in config.seeds)):
            refuse_link(folder.path / name, folder.path)
        self.networks = {one.folder: one for one in planned}
        """One planned row for each network that is trained, by the folder of its runs."""

    def measure_zero_flow(self) -> None:
        """The error of no flow at all, which every estimate should be below."""
        zero = self.folder.record.zero_flow
        for name in self.sets:
            if name not in zero:
                zero[name] = zero_error(self.config, name)
                self.folder.note(zero_flow=zero)
            say(f"{name}: zero flow is off by {zero[name]:.3f} px")
        self.folder.add(
            Measurement(one.regime, one.row.name, None, "zero_epe_per_image", name, None, None, zero[name])
            for one in self.planned
            for name in self.sets
        )

    def choose_steps(self) -> None:
        """Notes the steps of every training: those of the recipe, or what takes the minutes at the network's speed."""
        minutes, seed = self.config.minutes, self.config.seeds[0]
        for one in self.networks.values():
            steps = self.config.training.steps if minutes is None else self._steps(one.folder)
            if steps is not None:  # also of rows that came to a network later
                self._note_steps(one.folder, steps)
        if minutes is None:
            return
        unknown = [one for one in self.networks.values() if self._steps(one.folder) is None]
        if not has_steps(self.folder.record):
            self.folder.note(jobs=self.jobs)
        queue = [
            Job(
                one.folder,
                partial(steps_in, minutes),
                (run_config(self.config, one.network, seed, 1, self._initial(seed)), str(self.device), self.compile),
                self.folder.path / one.folder / "speed.txt",
            )
            for one in unknown
        ]
        # The last ones, too, have as much beside them as every training will have.
        beside = [
            queue[-1]._replace(name="", log=queue[-1].log.with_name(f"speed_beside_{number}.txt"))
            for number in range(1, min(self.jobs, len(self.config.seeds) * len(self.networks)) if queue else 1)
        ]

        def ended(job: Job, found: Any) -> None:
            if isinstance(found, FlowgruError):
                raise type(found)(f"{job.name or unknown[-1].folder}: {found}")
            if not job.name:
                return
            steps, rate = found
            self._note_steps(job.name, steps)
            say(f"{job.name}: {rate:.2f} steps/s, so {counted(steps, 'step')} in {minutes:g} minutes")

        run_jobs([*queue, *beside], at_once=self.jobs, num_threads=self.num_threads, ended=ended)

    def train(self) -> dict[str, FlowgruError]:
        """Trains and measures every network with every seed; returns why some could not be."""
        total, queue, steps = len(self.config.seeds) * len(self.networks), [], {}
        for seed in self.config.seeds:
            for one in self.networks.values():
                missing = self._unmeasured(one.folder, seed)
                if not missing:
                    continue
                folder, length = self.folder.path / one.folder / f"seed{seed}", self._steps(one.folder)
                assert length is not None, "they are chosen before"
                run = run_config(self.config, one.network, seed, length, self._initial(seed))
                arguments = (self.config, run, folder, str(self.device), self.compile, missing)
                queue.append(Job(f"{one.folder}/seed{seed}", train_and_measure, arguments, folder / JOB_OUTPUT))
                steps[queue[-1].name] = length
        failures: dict[str, FlowgruError] = {}
        watch = Watch(self.folder.path, steps, total)

        def ended(job: Job, outcome: Any) -> None:
            if isinstance(outcome, FlowgruError):
                watch.failed(job, outcome)
                if not isinstance(outcome, MachineError):  # what is wrong with one is wrong with all
                    raise type(outcome)(f"{job.name}: {outcome}")
                failures[job.name] = outcome
                return
            self.folder.add(self._for_each_regime(job.name.rpartition("/")[0], outcome))
            watch.ended(job, outcome)

        run_jobs(
            queue,
            at_once=self.jobs,
            num_threads=self.num_threads,
            began=watch.began,
            ended=ended,
            tick=watch.tick,
        )
        return failures

    @property
    def is_finished(self) -> bool:
        """Whether every network is trained and measured."""
        runs = [(folder, seed) for folder in self.networks for seed in self.config.seeds]
        return self._costs_are_known and not any(self._unmeasured(*one) for one in runs)

    @property
    def _costs_are_known(self) -> bool:
        measures = ("parameters", "ms_per_step", "ms_per_pair", "ms_per_training_step", "peak_mib")
        rows = [(one.regime, one.row.name) for one in self.planned]
        return all(self.folder.has(*row, measure) for row in rows for measure in measures)

    def measure_costs(self) -> None:
        """Times and memory of every network, taken in turns while nothing is trained, unless all are known."""
        if self._costs_are_known:
            return
        say(f"taking the times of {len(self.networks)} networks in turns")
        for name, measured in measure_costs(
            self.config, self.networks, self.folder.path, self.device, self.num_threads
        ):
            self.folder.add(self._for_each_regime(name, measured))
            for regime, row in self._rows(name):
                noted = self.folder.record.rows[regime][row]
                noted.timed_on, noted.timed_with = device_name(self.device), how_timed(self.folder.record.machine)
            self.folder.note()

    def _rows(self, folder: str) -> list[tuple[str, str]]:
        """The regimes and rows that share the runs of a folder."""
        return [(one.regime, one.row.name) for one in self.planned if one.folder == folder]

    def _for_each_regime(self, folder: str, measured: Sequence[RunMeasurement]) -> list[Measurement]:
        return [one.of_row(regime, row) for regime, row in self._rows(folder) for one in measured]

    def _unmeasured(self, folder: str, seed: int) -> tuple[str, ...]:
        """The sets on which the run's error is not known for every row that shares it."""
        missing = set[str]()
        for row in self._rows(folder):
            missing |= {*self.folder.unmeasured_sets(*row, seed, self.sets, self.config.iterations)}
        return tuple(name for name in self.sets if name in missing)

    def _noted(self, folder: str) -> list[RowRecord]:
        """What comparison.json says of the rows that share the runs of a folder."""
        rows = self.folder.record.rows
        return [noted for regime in rows.values() for noted in regime.values() if noted.folder == folder]

    def _steps(self, folder: str) -> int | None:
        """The steps of the runs of a folder, of which rows that came later may not know; None until they are chosen."""
        return next((noted.steps for noted in self._noted(folder) if noted.steps is not None), None)

    def _note_steps(self, folder: str, steps: int) -> None:
        for noted in self._noted(folder):
            noted.steps = steps
        self.folder.note()

    def _initial(self, seed: int) -> Path:
        """The file with the initial weights of a seed, which all networks share where they fit; made where it is not.

        Where rows have other widths, what depends on it begins at random in all of them: no row is ahead of the others.
        """
        path = initial_weights(self.folder.path, seed)
        if not path.exists():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = FlowNetwork(reference_network(self.config))
            if self.config.training.init_from is not None:
                source = load_model(self.config.training.init_from, "cpu")
                regimes = {*self.config.regimes, *self.folder.record.rows}  # of this call, and of those before
                by_width = weights_by_width(network.config) if "equal_parameters" in regimes else set()
                transfer(source, network, parts=self.config.initial_parts, without=by_width)
                if seed == self.config.seeds[0] and (other := other_settings(source.config, network.config)):
                    warn(f"{self.config.training.init_from}: {other}")
            write_model_file(path, network.state_dict(), {"network": asdict(network.config)})
        return path

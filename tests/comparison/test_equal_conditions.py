"""Nothing but the operator decides between rows: they begin alike, from the same weights and data in every call, and what
is asked for last does not change what is noted of what was done before."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from comparisons import TINY, words
from safetensors.torch import load_file
from test_comparison_folder import write_pairs

from flowgru.cli import main
from flowgru.commands.compare import compare
from flowgru.comparison import preparing
from flowgru.comparison.comparison import Comparison
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.measurements import Measurement
from flowgru.comparison.plan import plan_rows, reference_network, weights_by_width
from flowgru.errors import MachineError, RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file

CPU = torch.device("cpu")
CHOOSE_STEPS = Comparison.choose_steps


@pytest.fixture
def trained(tmp_path) -> Path:
    """Weights to begin with, all of which are 3."""
    network = FlowNetwork(reference_network(TINY))
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 3.0)
    write_model_file(tmp_path / "trained.safetensors", network.state_dict(), {"network": asdict(network.config)})
    return tmp_path / "trained.safetensors"


@pytest.fixture
def without_work(monkeypatch):
    """Has a comparison train and measure nothing but the initial weights of its seeds."""
    for part in ("measure_zero_flow", "choose_steps", "measure_costs"):
        monkeypatch.setattr(Comparison, part, lambda self: None)
    monkeypatch.setattr("flowgru.comparison.run.write_report", lambda folder: [])

    def train(self):
        for seed in self.config.seeds:
            self._initial(seed)
        row = next(iter(self.planned))
        self.folder.add([Measurement(row.regime, row.row.name, None, "parameters", "", None, None, 7.0)])
        return {}

    monkeypatch.setattr(Comparison, "train", train)


@pytest.mark.parametrize("regimes", [("equal_width",), ("equal_parameters",), ("equal_width", "equal_parameters")])
def test_no_row_keeps_trained_weights_that_another_has_no_place_for(tmp_path, trained, regimes):
    """The reference has the width of the weights that all begin with, and would keep more of them than other rows."""
    config = replace(TINY, regimes=regimes, training=replace(TINY.training, init_from=str(trained)))
    planned = plan_rows(config, config.rows)
    with ComparisonFolder(tmp_path / "results", config) as folder:
        folder.note()
        path = Comparison(config, planned, folder, CPU, 1, compile=False)._initial(0)
    taken = {name for name, value in load_file(path).items() if (value == 3).all()}
    others = [FlowNetwork(one.network).state_dict() for one in planned]
    shared = {name for name, _ in FlowNetwork(reference_network(config)).named_parameters() if name[:8] != "operator"}
    if regimes == ("equal_width",):
        assert taken == shared
    else:
        assert len({one.width for one in planned}) > 1 and taken < shared
        assert {"context_encoder.out.weight", "upsampler.mask_head.0.0.weight"} <= shared - taken
        assert shared - taken == shared & weights_by_width(reference_network(config))
        for name in taken:
            assert len({weights[name].shape for weights in others}) == 1, name


def test_later_seeds_begin_with_the_weights_of_the_earlier_ones(tmp_path, trained, without_work):
    config = replace(TINY, seeds=(0,), training=replace(TINY.training, init_from=str(trained)))
    more = replace(config, seeds=(0, 1))
    compare(config, str(tmp_path / "results"), device="cpu")
    again = trained.read_bytes()
    network = FlowNetwork(reference_network(TINY))
    write_model_file(trained, network.state_dict(), {"network": asdict(network.config)}, overwrite=True)
    compare(config, str(tmp_path / "results"), device="cpu")  # which begins nothing more
    with pytest.raises(RequestError, match=r"training\.init_from, .*trained\.safetensors, has changed since"):
        compare(more, str(tmp_path / "results"), device="cpu")
    trained.write_bytes(again)
    compare(more, str(tmp_path / "results"), device="cpu")


def test_a_set_with_other_pairs_than_before_is_refused(tmp_path, without_work):
    write_pairs(tmp_path / "mine.csv")
    config = replace(TINY, sets=(str(tmp_path / "mine.csv"),))
    compare(config, str(tmp_path / "results"), device="cpu")
    about = tmp_path / "results/comparison.json"
    noted = json.loads(about.read_text())
    assert noted["pairs"] == {"synthetic": 1, str(tmp_path / "mine.csv"): 1}
    about.write_text(json.dumps(noted | {"pairs": {str(tmp_path / "mine.csv"): 4}}))
    with pytest.raises(RequestError, match=r"mine\.csv \(which had 4 pairs and has 1\) has changed since"):
        compare(config, str(tmp_path / "results"), device="cpu")


def test_regimes_that_come_later_do_not_put_a_row_ahead(tmp_path, trained, without_work):
    training = replace(TINY.training, init_from=str(trained))
    narrow = replace(TINY, seeds=(0,), regimes=("equal_width",), training=training)
    compare(narrow, str(tmp_path / "width"), device="cpu")
    with pytest.raises(RequestError, match="was begun at equal width alone, where every network keeps all weights"):
        compare(replace(narrow, regimes=TINY.regimes), str(tmp_path / "width"), device="cpu")
    compare(replace(narrow, regimes=("equal_parameters",)), str(tmp_path / "both"), device="cpu")
    compare(replace(narrow, seeds=(0, 1)), str(tmp_path / "both"), device="cpu")
    taken = [
        {
            name
            for name, value in load_file(tmp_path / f"both/initial/seed{seed}.safetensors").items()
            if (value == 3).all()
        }
        for seed in (0, 1)
    ]
    assert taken[0] == taken[1] and "context_encoder.out.weight" not in taken[0]


def test_other_jobs_are_refused_where_minutes_decide_the_steps(tmp_path, without_work, monkeypatch):
    config = replace(TINY, minutes=1.0)
    compare(config, str(tmp_path / "results"), jobs=4, device="cpu")
    compare(config, str(tmp_path / "results"), jobs=2, device="cpu")  # no steps were chosen with four
    assert "--jobs 2" in json.loads((tmp_path / "results/comparison.json").read_text())["command"]
    monkeypatch.setattr(Comparison, "choose_steps", CHOOSE_STEPS)
    monkeypatch.setattr("flowgru.comparison.comparison.run_jobs", choose_sixty)
    compare(config, str(tmp_path / "results"), jobs=2, device="cpu")
    with pytest.raises(RequestError, match="for --jobs 2, and --jobs is 1: give --jobs 2, or name another --output"):
        compare(config, str(tmp_path / "results"), device="cpu")
    compare(config, str(tmp_path / "results"), jobs=2, device="cpu")


def choose_sixty(jobs, *, ended, **_rest):
    """In the place of run_jobs: every network makes 60 steps."""
    for job in jobs:
        ended(job, (60, 1.0))


def test_every_speed_is_measured_beside_as_much_as_a_training_has(tmp_path, monkeypatch):
    """Three networks, two at a time: the last one has another one beside it, too."""
    asked = []

    def run_jobs(jobs, *, at_once, ended, **_rest):
        asked.append(([job.name for job in jobs], at_once, len({job.log for job in jobs})))
        for number, job in enumerate(jobs):
            ended(job, (60 + number, 1.0))

    monkeypatch.setattr("flowgru.comparison.comparison.run_jobs", run_jobs)
    config = replace(TINY, minutes=1.0, regimes=("equal_width",))
    planned = plan_rows(config, config.rows)
    with ComparisonFolder(tmp_path / "results", config) as folder:
        preparing.describe(folder, planned, CPU, "cpu", (), 2, compile=False, finished=False)
        comparison = Comparison(config, planned, folder, CPU, 2, compile=False)
        comparison.choose_steps()
        comparison.choose_steps()  # all are known
        steps = [row.steps for row in folder.record.rows["equal_width"].values()]
    (names, at_once, num_logs), (none, *_) = asked
    assert names == [*(one.folder for one in planned), ""] and at_once == 2 and num_logs == 4
    assert steps == [60, 61, 62] and none == []


def test_a_speed_is_not_measured_beside_more_than_there_will_be(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("flowgru.comparison.comparison.run_jobs", lambda jobs, **_rest: asked.extend(jobs))
    config = replace(TINY, minutes=1.0, regimes=("equal_width",), seeds=(0,))
    planned = plan_rows(config, config.rows[:1])
    with ComparisonFolder(tmp_path / "results", config) as folder:
        preparing.describe(folder, planned, CPU, "cpu", (), 8, compile=False, finished=False)
        Comparison(config, planned, folder, CPU, 8, compile=False).choose_steps()
    assert len(asked) == 1


def test_a_call_that_finds_all_done_leaves_machine_and_commit_as_they_were(tmp_path, without_work, monkeypatch):
    compare(TINY, str(tmp_path / "results"), device="cpu")
    about = tmp_path / "results/comparison.json"
    before = json.loads(about.read_text())
    for finished in (True, False):
        monkeypatch.setattr(Comparison, "is_finished", finished)
        monkeypatch.setattr(preparing, "commit", lambda: "another commit")
        monkeypatch.setattr(preparing, "device_name", lambda device: "another machine")
        compare(TINY, str(tmp_path / "results"), device="cpu")
        now = json.loads(about.read_text())
        assert (now["commit"] == before["commit"] and now["machine"] == before["machine"]) == finished


def test_a_failure_while_costs_are_measured_does_not_hide_the_report(tmp_path, without_work, monkeypatch, capsys):
    def fail(self):
        raise MachineError("not enough memory for all networks")

    written = []
    monkeypatch.setattr(Comparison, "measure_costs", fail)
    monkeypatch.setattr("flowgru.comparison.run.write_report", lambda folder: written.append(folder) or [])
    assert main(words(tmp_path / "results")) == 4 and "not enough memory for all" in capsys.readouterr().err
    monkeypatch.setattr(Comparison, "train", lambda self: {"one": MachineError("no space")})
    assert main(words(tmp_path / "results")) == 4 and "1 training failed" in capsys.readouterr().err
    assert written == 2 * [tmp_path / "results"]

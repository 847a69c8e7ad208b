"""Training begins at flows of every quality, drawn from seed and index; a run at a constant rate ends when it is told."""

import json
import shutil
import signal
from dataclasses import replace
from itertools import pairwise

import cv2
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import TINY, log_lines
from torch.utils.data import Dataset

from flowgru.config import OptimizerConfig, StartShares, SyntheticSettings
from flowgru.data.classical import dis_flow, grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.sample import FlowSample
from flowgru.data.starts import StartedPairs, dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.model.weight_files.loading import load_model
from flowgru.processes.signals import Stopped
from flowgru.training import engine
from flowgru.training.run import train
from flowgru.training.run_state import SCHEDULES, drawn_refinements
from flowgru.training.step import TakenStep

PAIRS = SyntheticPairs(SyntheticSettings(height=64, width=96, num_textures=4), length=400)
PAIR = PAIRS[5]
MIXED = StartShares(zero=0.15, dis=0.6, dis_fast=0.15, truth=0.1)
STARTED = replace(
    TINY,
    starts=MIXED,
    hold=3,
    coarse_first=0.5,
    checkpoint_every=6,
    optimizer=OptimizerConfig(schedule="constant", warmup_steps=2, decay_steps=2, ema_decay=0.9),
    validation=replace(TINY.validation, initial_flows=("zero", "dis")),
)


def kind_of(sample) -> str:
    """What a pair begins at."""
    for fast in (False, True):
        if torch.equal(sample.initial_flow, dis_start(sample.first, sample.second, fast=fast)):
            return "dis_fast" if fast else "dis"
    return "truth" if sample.initial_flow.any() else "zero"


class OnePair(Dataset[FlowSample]):
    """The same pair at every index, so that only its start may differ."""

    def __getitem__(self, index: int) -> FlowSample:
        return PAIR


def test_starts_come_in_the_shares_that_were_asked_for():
    started = StartedPairs(OnePair(), MIXED, seed=0)
    kinds = [kind_of(started[index]) for index in range(400)]
    shares = {name: kinds.count(name) / len(kinds) for name in set(kinds)}
    assert shares == pytest.approx({"zero": 0.15, "dis": 0.6, "dis_fast": 0.15, "truth": 0.1}, abs=0.06)


def test_a_start_is_a_function_of_seed_and_index_alone():
    started = StartedPairs(PAIRS, MIXED, seed=0)
    again, other = StartedPairs(PAIRS, MIXED, seed=0), StartedPairs(PAIRS, MIXED, seed=1)
    assert torch.equal(again[7].initial_flow, started[7].initial_flow)  # pyright: ignore[reportArgumentType]
    assert [kind_of(other[index]) for index in range(20)] != [kind_of(started[index]) for index in range(20)]
    assert torch.equal(started[3].flow, PAIRS[3].flow) and torch.equal(started[3].first, PAIRS[3].first)


def test_the_true_flow_with_noise_is_off_by_a_smooth_error_of_up_to_8_px():
    started = StartedPairs(PAIRS, StartShares(zero=0.0, truth=1.0), seed=0)
    samples = [started[index] for index in range(60)]
    errors = torch.stack([sample.initial_flow - sample.flow for sample in samples])  # pyright: ignore[reportOptionalOperand]
    sizes = errors.square().mean(dim=(1, 2, 3)).sqrt()
    assert sizes.min() < 0.6 and 2.5 < sizes.max() < 8
    steps = errors.diff(dim=3).square().mean().sqrt()
    assert steps < 0.25 * errors.square().mean().sqrt()  # neighbours are off by nearly the same


def test_the_start_of_dis_is_its_flow_refined_in_its_own_way_and_zero_where_a_picture_is_too_small():
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setVariationalRefinementIterations(10)
    search.setVariationalRefinementDelta(1.0)
    pair = PAIRS[5]
    greys = (grey_levels(to_levels(picture)) for picture in (pair.first, pair.second))
    expected = torch.from_numpy(search.calc(*greys, None)).permute(2, 0, 1)  # pyright: ignore[reportCallIssue]
    assert torch.equal(dis_start(pair.first, pair.second), expected) and expected.any()
    for height, width in ((1, 1), (15, 40), (9, 400), (16, 1200), (12, 1200)):
        flow = dis_start(*torch.rand(2, 3, height, width))
        assert flow.shape == (2, height, width) and flow.isfinite().all()
    assert not dis_start(*torch.rand(2, 3, 15, 40)).any()


def test_a_start_is_nearer_to_the_true_flow_than_what_dis_gives_by_itself():
    ratios = []
    for pair in (PAIRS[index] for index in range(12)):
        alone = torch.from_numpy(dis_flow(to_levels(pair.first), to_levels(pair.second))).permute(2, 0, 1)
        errors = [(flow - pair.flow).norm(dim=0).mean() for flow in (dis_start(pair.first, pair.second), alone)]
        ratios.append((errors[0] / errors[1]).log())
    assert torch.stack(ratios).mean() < 0


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: StartShares(dis=0.6), "sum to 1"),
        (lambda: StartShares(zero=-0.5, dis=1.5), "starts.zero is -0.5"),
        (lambda: replace(TINY, hold=-1), "hold is -1"),
        (lambda: OptimizerConfig(decay_steps=5), "decay_steps is 5: it must be 0 with schedule one_cycle"),
        (lambda: OptimizerConfig(warmup_steps=5), "warmup_steps is 5: it must be 100 with schedule one_cycle"),
        (
            lambda: OptimizerConfig(schedule="constant", warmup_share=0.1),
            "warmup_share is 0.1: it must be 0.05 with schedule constant",
        ),
        (lambda: OptimizerConfig(schedule="constant", decay_steps=-1), "decay_steps is -1"),
        (lambda: replace(TINY.validation, initial_flows=()), "initial_flows"),
        (lambda: replace(TINY.validation, initial_flows=("dis", "dis")), "initial_flows is .* each once"),
        (lambda: replace(TINY.validation, sets=("synthetic", "synthetic")), "sets is .* each once"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, said):
    with pytest.raises(RequestError, match=said):
        make()


def test_every_number_of_held_refinements_is_drawn_alike():
    config = replace(TINY, hold=3, no_grad_iterations=4)
    held = [drawn_refinements(config, step).hold for step in range(2000)]
    assert {count: held.count(count) / 2000 for count in range(4)} == pytest.approx(
        dict.fromkeys(range(4), 0.25), abs=0.04
    )
    assert all(drawn_refinements(TINY, step).hold == 0 for step in range(50))


def rates(settings: OptimizerConfig, steps: int) -> list[float]:
    """The learning rate of every step, relative to the peak."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], settings.learning_rate)
    schedule, found = SCHEDULES[settings.schedule](optimizer, settings, steps), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / settings.learning_rate)
        optimizer.step()
        schedule.step()
    return found


def test_the_constant_rate_rises_stays_and_falls_at_the_end():
    settings = OptimizerConfig(schedule="constant", warmup_steps=4, decay_steps=5)
    found = rates(settings, 20)
    assert found == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 13, 0.8, 0.6, 0.4, 0.2])
    assert rates(replace(settings, decay_steps=0, warmup_steps=0), 6) == [1.0] * 6
    assert all(a >= b for a, b in pairwise(found[4:]))


def stop_after(step: int, monkeypatch):
    """Asks every run to stop after a step; returns what makes a step without that."""
    real = engine.training_step

    def stopped(fabric, network, run, config, *rest):
        taken = real(fabric, network, run, config, *rest)
        return TakenStep(lambda: taken.read()._replace(stop=signal.SIGTERM)) if run.step == step - 1 else taken

    monkeypatch.setattr(engine, "training_step", stopped)
    return real


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of six steps from starts, its last two steps decaying."""
    folder = tmp_path_factory.mktemp("whole")
    train(STARTED, str(folder), device="cpu")
    return folder


def test_a_run_from_starts_is_measured_from_zero_and_from_dis(whole):
    (validation,) = [
        line["validation_epe_per_image"] for line in log_lines(whole) if "validation_epe_per_image" in line
    ]
    assert set(validation) == {"synthetic", "synthetic from dis"}
    assert validation["synthetic"] != validation["synthetic from dis"]
    card = load_model(whole / "model.safetensors", "cpu").card
    assert (card["initial_flow"], card["hold"], card["polish"], card["scales"]) == ("dis", 3, True, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_long_run_at_a_constant_rate_is_cut_and_ends_as_if_it_had_been_planned(whole, tmp_path, monkeypatch, workers):
    real = stop_after(4, monkeypatch)
    endless = replace(STARTED, steps=1000, optimizer=replace(STARTED.optimizer, decay_steps=0), workers=workers)
    with pytest.raises(Stopped):
        train(endless, str(tmp_path), device="cpu")
    monkeypatch.setattr(engine, "training_step", real)
    train(replace(STARTED, workers=workers), str(tmp_path), device="cpu")
    planned, cut = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path))
    assert all(torch.equal(planned[name], cut[name]) for name in planned)


def test_a_cut_run_remembers_its_end_and_refuses_one_that_is_behind_it(whole):
    noted = json.loads((whole / "config.yaml").read_text())
    assert (noted["steps"], noted["optimizer"]["decay_steps"]) == (6, 2)
    for steps, decay in ((5, 0), (6, 0)):
        changed = replace(STARTED, steps=steps, optimizer=replace(STARTED.optimizer, decay_steps=decay))
        with pytest.raises(RequestError, match=r"in its last 2 steps: its end cannot be changed any more"):
            train(changed, str(whole), device="cpu")


def test_a_run_is_not_cut_before_the_step_that_it_has_come_to(tmp_path, monkeypatch):
    endless = replace(STARTED, steps=1000, optimizer=replace(STARTED.optimizer, decay_steps=0))
    stop_after(4, monkeypatch)
    with pytest.raises(Stopped):
        train(endless, str(tmp_path), device="cpu")
    for steps, decay in ((2, 0), (4, 0), (5, 2)):
        cut = replace(STARTED, steps=steps, optimizer=replace(STARTED.optimizer, decay_steps=decay))
        with pytest.raises(RequestError, match=rf"is at step 4 already: give --steps {4 + max(decay, 1)} or more"):
            train(cut, str(tmp_path), device="cpu")


@pytest.mark.parametrize(("decay", "steps"), [(0, 7), (2, 9)])
def test_a_finished_run_at_a_constant_rate_is_made_longer(whole, tmp_path, capsys, decay, steps):
    shutil.copytree(whole, tmp_path / "run")
    longer = replace(STARTED, steps=steps, optimizer=replace(STARTED.optimizer, decay_steps=decay))
    train(longer, str(tmp_path / "run"), device="cpu")
    said = " ".join(capsys.readouterr().out.split())
    assert f"the run was to end at step 6 and ends at step {steps}: its learning rate is constant" in said
    assert "the next step has the learning rate" in said and "which was to be 0" in said
    rates = [line["learning_rate"] for line in log_lines(tmp_path / "run") if "learning_rate" in line]
    assert rates[6] == STARTED.optimizer.learning_rate and len(rates) == steps


def test_a_finished_run_under_one_cycle_is_made_longer_and_no_run_shorter(tmp_path, capsys):
    rare = replace(TINY, checkpoint_every=6)
    train(replace(rare, steps=2), str(tmp_path / "run"), device="cpu")
    capsys.readouterr()
    train(replace(rare, steps=4), str(tmp_path / "run"), device="cpu")
    said = " ".join(capsys.readouterr().out.split())
    assert "training compact with conv_gru" in said and "begins after step 2" in said
    assert "ends at step 4: its learning rate is that of one_cycle over 4 steps from here on" in said
    assert json.loads((tmp_path / "run/config.yaml").read_text())["steps"] == 4
    train(replace(rare, steps=4), str(tmp_path / "whole"), device="cpu")
    long, whole = (
        [line["learning_rate"] for line in log_lines(tmp_path / name) if "learning_rate" in line]
        for name in ("run", "whole")
    )
    assert len(long) == len(whole) == 4 and long[2:] == pytest.approx(whole[2:], rel=1e-9)
    with pytest.raises(
        RequestError, match=r"steps was 4 and is 3\): give --steps 4 or more, or name another .*--init-from"
    ):
        train(replace(TINY, steps=3), str(tmp_path / "run"), device="cpu")

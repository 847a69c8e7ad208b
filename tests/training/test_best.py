"""The weights that were best on the validation sets are a model file of their own, whatever comes after them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import TINY

from flowgru.config import OptimizerConfig
from flowgru.data.formats.flow_files import write_flow_array
from flowgru.errors import MachineError
from flowgru.model.weight_files.loading import load_model
from flowgru.training import engine
from flowgru.training.checkpoints.store import CheckpointStore
from flowgru.training.run import train

STEADY = OptimizerConfig(schedule="constant", warmup_steps=0, ema_decay=0.5)
CONFIG = replace(TINY, optimizer=STEADY, validation=replace(TINY.validation, every=1), steps=3, checkpoint_every=1)


@pytest.fixture
def errors(monkeypatch):
    """The errors that the validations of a run find, in their order."""
    found, asked = [2.0, 1.0, 3.0], Counter[str]()

    def scripted(network, data, iterations, device, **rest):
        asked["validations"] += 1
        return torch.full((1, len(iterations)), found[asked["validations"] - 1])

    monkeypatch.setattr(engine, "pair_errors", scripted)
    return found


def test_the_average_of_the_best_validation_is_kept_beside_that_of_the_last_step(errors, tmp_path):
    train(CONFIG, str(tmp_path / "long"), device="cpu")
    best, last = (load_model(tmp_path / "long" / name, "cpu") for name in ("best.safetensors", "model.safetensors"))
    assert [best.card["steps"], last.card["steps"]] == [2, 3]
    assert best.card["held_out_epe_per_image"] == {"synthetic": {"1": 1.0}}
    errors[:] = [0.0, 0.0, 0.0, 2.0, 1.0]
    train(replace(CONFIG, steps=2), str(tmp_path / "short"), device="cpu")
    expected = load_model(tmp_path / "short/model.safetensors", "cpu").state_dict()
    torch.testing.assert_close(best.state_dict(), expected, rtol=0, atol=0)
    assert any(not torch.equal(value, last.state_dict()[name]) for name, value in expected.items())


def test_a_gain_below_a_thousandth_counts_after_an_interruption_too(errors, tmp_path):
    errors[:] = [1.2344, 1.2341]
    for steps in (1, 2):
        train(replace(CONFIG, steps=steps), str(tmp_path), device="cpu")
    assert load_model(tmp_path / "best.safetensors", "cpu").card["steps"] == 2


def test_what_the_disk_refuses_lets_no_worse_weights_replace_better_ones_also_after_a_stop(
    errors, tmp_path, monkeypatch, capsys
):
    save = CheckpointStore.save

    def refused_at_two(store, step, *rest, **named):
        if step == 2:
            raise MachineError("no space")
        save(store, step, *rest, **named)

    monkeypatch.setattr(CheckpointStore, "save", refused_at_two)
    train(CONFIG, str(tmp_path), device="cpu")
    assert load_model(tmp_path / "best.safetensors", "cpu").card["steps"] == 2
    assert "no space; training goes on" in capsys.readouterr().out
    errors += [2.0]
    train(replace(CONFIG, steps=4), str(tmp_path), device="cpu")
    assert load_model(tmp_path / "best.safetensors", "cpu").card["steps"] == 2


def test_a_run_that_goes_on_elsewhere_has_a_best_of_its_own_and_its_rate_may_fall_from_the_beginning(errors, tmp_path):
    falling = replace(CONFIG, optimizer=replace(STEADY, decay_steps=3))
    train(falling, str(tmp_path / "first"), device="cpu")
    errors += [5.0]
    train(falling, str(tmp_path / "second"), str(tmp_path / "first/step-00000002"), device="cpu")
    assert load_model(tmp_path / "second/best.safetensors", "cpu").card["held_out_epe_per_image"] == {
        "synthetic": {"1": 5.0}
    }


def test_a_run_that_is_stopped_before_its_best_checkpoint_writes_the_best_model_again(errors, tmp_path, monkeypatch):
    save = CheckpointStore.save

    def stopped_at_two(store, step, *rest, **named):
        if step == 2:
            raise KeyboardInterrupt
        save(store, step, *rest, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointStore, "save", stopped_at_two)
        train(CONFIG, str(tmp_path), device="cpu")
    (tmp_path / "best.safetensors").unlink()
    errors[:] = [2.0, 1.0, 1.0, 3.0]
    train(CONFIG, str(tmp_path), device="cpu")
    assert load_model(tmp_path / "best.safetensors", "cpu").card["steps"] == 2


@pytest.fixture
def manifest(tmp_path):
    """A list of a pair that hardly moves, and one that moves far."""
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((128, 128, 3), 90, np.uint8)).save(tmp_path / name)
    for name, length in (("near", 1.0), ("far", 100.0)):
        write_flow_array(tmp_path / f"{name}.flo", np.full((128, 128, 2), length, np.float32))
    (tmp_path / "own.csv").write_text("first,second,flow\na.png,b.png,near.flo\na.png,b.png,far.flo\n")
    return str(tmp_path / "own.csv")


def test_weights_that_were_best_on_another_list_are_the_best_no_more(errors, manifest, tmp_path, capsys):
    config = replace(CONFIG, validation=replace(CONFIG.validation, sets=(manifest,)))
    errors[:] = [1.0, 2.0, 3.0]
    train(replace(config, steps=1), str(tmp_path / "run"), device="cpu")
    columns, _, far = Path(manifest).read_text().splitlines()
    Path(manifest).write_text(f"{columns}\n{far}\n")
    capsys.readouterr()
    for steps in (2, 3):
        train(replace(config, steps=steps), str(tmp_path / "run"), device="cpu")
        said = "has changed since: the run goes on with it as it is now, and its errors do not compare with those of before"
        assert (f"warning: {manifest} {said}" in capsys.readouterr().out) == (steps == 2)
        assert load_model(tmp_path / "run" / "best.safetensors", "cpu").card["steps"] == 2
    best = CheckpointStore(tmp_path / "run").best()
    assert best is not None and best.name == "step-00000002"


def test_a_list_that_does_not_choose_the_best_weights_changes_nothing_of_them(errors, manifest, tmp_path, capsys):
    config = replace(CONFIG, validation=replace(CONFIG.validation, sets=("synthetic", manifest)))
    errors[:] = [1.0, 5.0, 2.0, 5.0]
    train(replace(config, steps=1), str(tmp_path / "run"), device="cpu")
    Path(manifest).write_text("\n".join(Path(manifest).read_text().splitlines()[:2]) + "\n")
    train(replace(config, steps=2), str(tmp_path / "run"), device="cpu")
    assert "has changed since" in capsys.readouterr().out
    assert load_model(tmp_path / "run" / "best.safetensors", "cpu").card["steps"] == 1

"""Worker processes that die, files that they cannot read, and what is painted of what they draw."""

import errno
import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from fake_cuda import cuda_with_values
from safetensors.torch import load_file
from tiny_run import TINY
from torch.utils.data import get_worker_info

from flowgru.config import StartShares
from flowgru.data import classical
from flowgru.data.starts import StartedPairs, dis_start, draw_start
from flowgru.data.synthetic.batched.batch import DrawnPairs
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import InputFileError, MachineError
from flowgru.processes.signals import Stopped
from flowgru.training import engine, run
from flowgru.training.feeding import loader
from flowgru.training.feeding.loader import batches
from flowgru.training.feeding.sampler import DIS, collate, painted
from flowgru.training.run import train
from flowgru.training.step import TakenStep


def die_once(marker: Path, monkeypatch) -> None:
    """The worker that makes pair 2 is killed, as by a system without memory, until `marker` exists."""
    real = SyntheticPairs.__getitem__

    def deadly(self, index):
        if index == 2 and get_worker_info() is not None and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, index)

    monkeypatch.setattr(SyntheticPairs, "__getitem__", deadly)


def test_a_killed_worker_is_replaced_and_changes_nothing(tmp_path, monkeypatch):
    config = replace(TINY, steps=3, workers=1, checkpoint_every=3)
    train(config, str(tmp_path / "whole"), device="cpu")
    die_once(tmp_path / "died", monkeypatch)
    train(config, str(tmp_path / "hurt"), device="cpu")
    assert (tmp_path / "died").exists()
    whole, hurt = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "hurt"))
    assert all(torch.equal(whole[name], hurt[name]) for name in whole)


def test_workers_that_die_again_end_the_run_and_name_the_pairs(tmp_path, monkeypatch):
    def deadly(self, index):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(SyntheticPairs, "__getitem__", deadly)
    with pytest.raises(MachineError, match=r"died twice, the last time at step 1 \(pairs 0 to 0"):
        list(
            loader.batches(
                SyntheticPairs(TINY.data), replace(TINY, workers=1), 0, rank=0, world_size=1, pin_memory=False
            )
        )


@pytest.mark.parametrize("words", ["Pin memory thread exited unexpectedly", "Too many open files. Communication with"])
def test_whatever_torch_says_of_a_loader_that_died_is_one_line(monkeypatch, words):
    def dead(*_):
        raise RuntimeError(words)

    monkeypatch.setattr(loader._Deaths, "awaiting", dead)
    monkeypatch.setattr(loader, "SHARED_MEMORY", "/proc")
    with pytest.raises(MachineError, match=rf"died twice.*{words}.*fewer --workers.*\(/proc, where .* has 0 MiB\)"):
        list(loader.batches(SyntheticPairs(TINY.data), TINY, 0, rank=0, world_size=1, pin_memory=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_the_data_is_not_taken_for_a_dead_worker(monkeypatch, workers):
    def broken(self, index):
        raise RuntimeError("a bug")

    monkeypatch.setattr(SyntheticPairs, "__getitem__", broken)
    config = replace(TINY, workers=workers)
    with pytest.raises(RuntimeError, match="a bug") as caught:
        list(loader.batches(SyntheticPairs(TINY.data), config, 0, rank=0, world_size=1, pin_memory=False))
    assert not isinstance(caught.value, MachineError)


def test_a_run_that_is_stopped_leaves_no_worker_behind(tmp_path, monkeypatch):
    real = engine.training_step

    def stopped(*arguments):
        return TakenStep(lambda: real(*arguments).read()._replace(stop=signal.SIGTERM))

    monkeypatch.setattr(engine, "training_step", stopped)
    with pytest.raises(Stopped) as kept:
        train(replace(TINY, workers=1), str(tmp_path), device="cpu")
    assert kept.value.__traceback__ is not None and not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_one_line_from_whatever_process(monkeypatch, workers):
    def damaged(self, index):
        raise InputFileError("a.flo is damaged: get it again")

    monkeypatch.setattr(SyntheticPairs, "__getitem__", damaged)
    config = replace(TINY, workers=workers)
    with pytest.raises(InputFileError) as caught:
        list(loader.batches(SyntheticPairs(TINY.data), config, 0, rank=0, world_size=1, pin_memory=False))
    assert str(caught.value) == "a.flo is damaged: get it again"


def test_a_worker_without_room_for_a_thread_ends_in_one_line(monkeypatch, capfd):
    """Python would print a traceback: the thread that hands over batches begins with the first of them."""
    real = threading.Thread.start

    def refuse(self):
        if get_worker_info() is not None and self.name == "QueueFeederThread":
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(MachineError, match="a process that reads pairs died twice"):
        next(batches(SyntheticPairs(TINY.data), replace(TINY, workers=1), 0, rank=0, world_size=1, pin_memory=False))
    said = capfd.readouterr().err
    assert said.count("cannot hand over its batch: can't start new thread") == 2 and "Traceback" not in said


def test_a_worker_that_lacks_memory_is_named_by_its_own_words(monkeypatch):
    def lacking(self, index):
        raise RuntimeError("unable to mmap 8 bytes")

    monkeypatch.setattr(SyntheticPairs, "__getitem__", lacking)
    with pytest.raises(MachineError, match=r"\(pairs 0 to 0: RuntimeError: unable to mmap 8 bytes\)"):
        next(batches(SyntheticPairs(TINY.data), replace(TINY, workers=1), 0, rank=0, world_size=1, pin_memory=False))


def test_a_batch_that_cannot_be_handed_over_ends_its_worker_at_once(monkeypatch, capfd):
    """Python prints why and drops the batch, which the run would await for minutes."""

    real = ForkingPickler.dumps

    def refuse(*objects):
        if get_worker_info() is None:
            return real(*objects)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(ForkingPickler, "dumps", staticmethod(refuse))
    with pytest.raises(MachineError, match="a process that reads pairs died twice"):
        next(batches(SyntheticPairs(TINY.data), replace(TINY, workers=1), 0, rank=0, world_size=1, pin_memory=False))
    said = capfd.readouterr().err
    assert said.count("cannot hand over its batch: [Errno 24] Too many open files") == 2 and "Traceback" not in said


STARTS = StartShares(zero=0.2, dis=0.3, dis_fast=0.2, truth=0.3)
PAINTED = replace(TINY, batch_size=3, steps=3, checkpoint_every=3, starts=STARTS)
"""Batches that the device of the training paints; here it is the CPU."""


def drawn(config) -> DrawnPairs:
    return DrawnPairs(SyntheticPairs(config.data), uses=config.uses, shares=config.starts, seed=config.seed)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_the_device_paints_have_the_pairs_and_starts_of_single_ones(workers):
    config, threads = replace(PAINTED, workers=workers), classical.num_threads()
    made = loader.batches(drawn(config), config, 1, rank=0, world_size=1, pin_memory=False)
    found = list(painted(made, torch.device("cpu"), num_threads=2, started=True))
    pairs, kinds = StartedPairs(SyntheticPairs(config.data), config.starts, seed=config.seed), set()
    assert len(found) == 2 and classical.num_threads() == threads
    for step, batch in enumerate(found, start=1):
        expected = collate([pairs[index] for index in range(3 * step, 3 * step + 3)])
        assert batch.initial_flow is not None and expected.initial_flow is not None
        assert batch.names == expected.names and batch.valid.all()
        assert (batch.first - expected.first).abs().max() < 1.5 / 255
        assert (batch.flow - expected.flow).abs().max() < 1e-3
        for place in range(3):
            start = draw_start(config.starts, config.seed, 3 * step + place)
            kinds.add(start.kind)
            if start.kind in DIS:
                classical.use_threads(1)
                searched = dis_start(batch.first[place], batch.second[place], fast=start.kind == "dis_fast")
                classical.use_threads(threads)
                assert torch.equal(batch.initial_flow[place], searched) and searched.any()
            else:
                assert (batch.initial_flow[place] - expected.initial_flow[place]).abs().max() < 2e-3
    assert len(kinds) >= 3


def test_what_a_gpu_paints_lies_there_and_is_what_a_cpu_paints():
    config = replace(PAINTED, workers=0)

    def made(device):
        batches_drawn = loader.batches(drawn(config), config, 1, rank=0, world_size=1, pin_memory=False)
        return list(painted(batches_drawn, torch.device(device), num_threads=1, started=True))

    expected = made("cpu")
    with cuda_with_values():
        found = made("cuda")
        assert {values.device.type for batch in found for values in batch.tensors} == {"cuda"}
        for batch, other in zip(found, expected, strict=True):
            assert batch.names == other.names
            torch.testing.assert_close([values.cpu() for values in batch.tensors], [*other.tensors])


def test_without_starts_the_painted_batches_have_none():
    config = replace(PAINTED, starts=StartShares(), steps=2)
    made = loader.batches(drawn(config), config, 0, rank=0, world_size=1, pin_memory=False)
    assert [batch.initial_flow for batch in painted(made, torch.device("cpu"), num_threads=0, started=False)] == [
        None
    ] * 2


@pytest.mark.slow
def test_a_training_on_painted_batches_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "training_pairs", drawn)
    train(PAINTED, str(tmp_path / "whole"), device="cpu")
    real = engine.training_step

    def stopped(fabric, network, run, *rest):
        taken = real(fabric, network, run, *rest)
        return TakenStep(lambda: taken.read()._replace(stop=signal.SIGTERM)) if run.step == 1 else taken

    monkeypatch.setattr(engine, "training_step", stopped)
    with pytest.raises(Stopped):
        train(PAINTED, str(tmp_path / "cut"), device="cpu")
    monkeypatch.setattr(engine, "training_step", real)
    train(replace(PAINTED, workers=1), str(tmp_path / "cut"), device="cpu")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not multiprocessing.active_children()

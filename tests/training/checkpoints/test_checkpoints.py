"""A checkpoint comes back bit for bit or is passed over, and those that are wanted are kept."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch
from checkpoint_content import assert_is, names, save

from flowgru.errors import MachineError, RequestError
from flowgru.training.checkpoints.store import CheckpointStore, load_checkpoint

FILES = ("model.safetensors", "train.pt", "manifest.json")


def test_a_checkpoint_comes_back_bit_for_bit(store):
    assert store.load_newest() is None
    path = save(store, 7)
    assert path.name == "step-00000007" and names(path) == sorted(FILES)
    assert_is(store.load_newest(), 7)
    assert_is(load_checkpoint(str(path)), 7)
    assert store.skipped == []


def test_bits_that_no_comparison_tells_apart_come_back_too(store):
    odd = torch.tensor([-0.0, 1e-45, torch.finfo(torch.float32).max])
    nan = torch.tensor([0x7FC12345], dtype=torch.int32).view(torch.float32)
    store.save(1, {"odd": odd, "view": odd.expand(2, 3).t()}, {"nan": nan})
    found = store.load_newest()
    assert found is not None
    assert torch.equal(found.weights["odd"].view(torch.int32), odd.view(torch.int32))
    assert torch.equal(found.weights["view"], odd.expand(2, 3).t())
    assert torch.equal(found.state["nan"].view(torch.int32), nan.view(torch.int32))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_noticed(store, name):
    save(store, 1)
    newest = save(store, 2)
    data = (newest / name).read_bytes()
    for where in range(0, len(data), max(1, len(data) // 150)):
        (newest / name).write_bytes(data[:where] + bytes([data[where] ^ 1 << where % 8]) + data[where + 1 :])
        with pytest.raises(RequestError, match=name):
            load_checkpoint(newest)
    assert_is(store.load_newest(), 1)
    assert len(store.skipped) == 1 and str(newest / name) in store.skipped[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["empty", "cut", "longer", "gone", "link", "folder"])
def test_a_file_that_is_not_what_was_written_is_named(store, tmp_path, name, how):
    save(store, 1)
    file = save(store, 2) / name
    data = file.read_bytes()
    file.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    elif how == "folder":
        file.mkdir()
    elif how != "gone":
        file.write_bytes({"empty": b"", "cut": data[:-1], "longer": data + b"\0"}[how])
    with pytest.raises(RequestError) as error:
        load_checkpoint(file.parent)
    assert str(file) in str(error.value) and "\n" not in str(error.value)
    assert_is(store.load_newest(), 1)


def test_a_disk_that_cannot_read_the_newest_falls_back(store, monkeypatch):
    save(store, 1)
    newest = save(store, 2)
    read_bytes = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == newest / "train.pt":
            raise OSError(errno.EIO, "Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert_is(store.load_newest(), 1)
    assert "Input/output error" in store.skipped[0]


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(store):
    (save(store, 1) / "train.pt").write_bytes(b"")
    with pytest.raises(RequestError, match=r"none of 1 checkpoint in .* is whole"):
        store.load_newest()


def test_a_crafted_checkpoint_whose_digests_fit_is_refused(tmp_path):
    from flowgru.files.sealed_folder import write_sealed

    write_sealed(tmp_path / "a", {"model.safetensors": b"x", "train.pt": b"x"}, {"step": 1})
    write_sealed(tmp_path / "b", {"model.safetensors": b"x"}, {"step": 1})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text("[" * 100_000)
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "c"):
        with pytest.raises(RequestError):
            load_checkpoint(folder)


@pytest.mark.parametrize(
    "target",
    [(os, "mkdir"), (os, "open"), (Path, "write_text"), (tempfile, "TemporaryFile")],
    ids=lambda target: target[1],
)
def test_a_folder_that_cannot_be_written_to_is_refused_at_the_start(tmp_path, monkeypatch, target):
    def denied(*_inputs, **_named):  # a fake, for root may write everywhere
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(*target, denied)
        with (
            pytest.raises(MachineError, match=r"cannot write to .*run: Permission denied"),
            CheckpointStore(tmp_path / "run"),
        ):
            pytest.fail("the store was opened")
    with CheckpointStore(tmp_path / "run") as store:  # and the lock was given back
        save(store, 1)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(MachineError, match="cannot write to"), CheckpointStore(tmp_path / "run"):
        pytest.fail("the store was opened")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_not_saved(store, value):
    save(store, 1)
    broken = {"a": torch.ones(2), "b": torch.tensor([1.0, value])}
    with pytest.raises(RequestError, match="b is not finite"):
        store.save(2, broken, {})
    assert_is(store.load_newest(), 1)
    assert names(store.directory) == ["run.lock", "step-00000001"]


def test_the_best_and_the_newest_stay(tmp_path):
    with CheckpointStore(tmp_path, keep=2) as store:
        for step in range(1, 7):
            save(store, step, best=step in (1, 2))
        assert [path.name for path in store.checkpoints()] == ["step-00000006", "step-00000005", "step-00000002"]
        assert store.best() == tmp_path / "step-00000002"
    assert names(tmp_path) == ["run.lock", "step-00000002", "step-00000005", "step-00000006"]


def test_a_disk_that_cannot_tell_which_is_the_best_drops_none(tmp_path, monkeypatch):
    with CheckpointStore(tmp_path, keep=1) as store:
        best = save(store, 1, best=True)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda _path: os.stat("/proc/0/no such file/x" * 1000))
            save(store, 2)
        save(store, 3)
        assert store.best() == best


def test_a_damaged_newer_checkpoint_does_not_displace_what_was_just_saved(tmp_path):
    with CheckpointStore(tmp_path, keep=1) as store:
        save(store, 1)
        (save(store, 30) / "train.pt").write_bytes(b"")
    with CheckpointStore(tmp_path, keep=1) as store:
        save(store, 25)
        save(store, 26)
        assert_is(store.load_newest(), 26)
        save(store, 30)
        assert_is(store.load_newest(), 30)
        assert len(store.checkpoints()) == 1


def test_a_damaged_newer_checkpoint_does_not_cost_the_best_one(tmp_path):
    with CheckpointStore(tmp_path, keep=1) as store:
        (save(store, 20, best=True) / "train.pt").write_bytes(b"")
        best = save(store, 10, best=True)
        save(store, 12)
        assert best in store.checkpoints()


def test_steps_are_ordered_as_numbers(tmp_path):
    with CheckpointStore(tmp_path, keep=1) as store:
        save(store, 99_999_999)
        save(store, 100_000_000)
        assert [path.name for path in store.checkpoints()] == ["step-100000000"]


def test_foreign_folders_and_links_are_no_checkpoints(store, tmp_path):
    path = save(store, 1)
    (store.directory / "step-notes").mkdir()
    (store.directory / "step-00000009").symlink_to(path)
    assert store.checkpoints() == [path]


def test_only_the_holder_of_the_lock_saves(tmp_path):
    with pytest.raises(AssertionError):
        save(CheckpointStore(tmp_path), 1)


def test_a_second_writer_is_refused_at_once_and_told_who_writes(store):
    with pytest.raises(MachineError, match=f"process {os.getpid()} on "), CheckpointStore(store.directory):
        pytest.fail("the store was opened twice")
    save(store, 1)


def test_the_configuration_is_noted_and_replaced_whole(store):
    assert store.read_config() is None
    store.write_config("größe: 3\n")
    assert store.read_config() == "größe: 3\n"
    store.write_config("other")
    assert store.read_config() == "other"
    (store.directory / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="cannot read"):
        store.read_config()

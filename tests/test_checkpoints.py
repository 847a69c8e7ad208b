"""Whatever interrupts a save, a checkpoint that was there before is loaded again, bit for bit."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flowgru.errors import MachineError, RequestError
from flowgru.training.checkpoints import Checkpoint, CheckpointStore, load_checkpoint

FILES = ("model.safetensors", "train.pt", "manifest.json")


def weights_of(step: int) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.full((3, 2), float(step)), "a.bias": torch.arange(4.0), "count": torch.tensor(step)}


def state_of(step: int) -> dict:
    return {
        "step": step,
        "best_error": float("inf"),
        "optimizer": {"state": {0: torch.full((2,), step / 3)}, "on": [True]},
    }


def save(store: CheckpointStore, step: int, best: bool = False) -> Path:
    return store.save(step, weights_of(step), state_of(step), best=best)


def assert_is(found: Checkpoint | None, step: int) -> None:
    """The checkpoint is that of `step`, to the last bit."""
    assert found is not None and found.step == step
    expected = weights_of(step)
    assert found.weights.keys() == expected.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in expected.items())
    state = state_of(step)
    assert torch.equal(found.state["optimizer"]["state"].pop(0), state["optimizer"]["state"].pop(0))
    assert found.state == state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, so none waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    with CheckpointStore(tmp_path / "run") as opened:
        yield opened


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
    with pytest.raises(RequestError, match=r"none of the 1 checkpoints in .* is whole"):
        store.load_newest()


def test_a_crafted_checkpoint_whose_digests_fit_is_refused(tmp_path):
    from flowgru.training.sealed_folder import write_sealed

    write_sealed(tmp_path / "a", {"model.safetensors": b"x", "train.pt": b"x"}, {"step": 1})
    write_sealed(tmp_path / "b", {"model.safetensors": b"x"}, {"step": 1})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text("[" * 100_000)
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "c"):
        with pytest.raises(RequestError):
            load_checkpoint(folder)


class FailingDisk:
    """Refuses the n-th thing that the code under test asks of the disk, and everything until it is repaired."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.code, self.left = code, sys.maxsize
        for module, name in ((os, "mkdir"), (os, "fsync"), (os, "rename"), (Path, "open")):
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, real):
        def call(*inputs, **named):
            self.ask()
            opened = real(*inputs, **named)
            return FailingFile(opened, self) if hasattr(opened, "write") else opened

        return call

    def ask(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))


class FailingFile:
    """An open file that asks the disk before every write, and has written half when the disk refuses."""

    def __init__(self, file, disk: FailingDisk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        try:
            self.disk.ask()
        except OSError:
            self.file.write(content[: len(content) // 2])
            raise
        return self.file.write(content)


@pytest.mark.parametrize("again", [False, True], ids=["new step", "same step"])
@pytest.mark.parametrize(
    ("code", "lasting"),
    [(errno.ENOSPC, True), (errno.EACCES, True), (errno.EIO, False)],
    ids=["full", "denied", "once"],
)
def test_a_disk_that_refuses_at_any_moment_leaves_the_older_checkpoints(tmp_path, monkeypatch, code, lasting, again):
    step, refusals = 2 if again else 3, 0
    for number in range(18):
        with CheckpointStore(tmp_path / f"run{number}") as store:
            save(store, 1)
            save(store, 2)
            with monkeypatch.context() as patch:
                disk = FailingDisk(patch, code)
                disk.left = number
                if not lasting:
                    disk.ask = once(disk, number)
                try:
                    save(store, step)
                except MachineError as error:
                    refusals += 1
                    assert f"checkpoint of step {step}" in str(error) and os.strerror(code) in str(error)
                    assert "\n" not in str(error)
            found = store.load_newest()
            assert found is not None and found.step in (2, step) and store.skipped == []
            assert_is(found, found.step)
            assert not [name for name in names(store.directory) if name.startswith(".")]
            save(store, step)
            assert_is(store.load_newest(), step)
            assert len(store.checkpoints()) == (2 if again else 3)
    assert 12 < refusals < 18  # a folder, three files of open, write and fsync, and the renames; the last saves succeed


def once(disk: FailingDisk, number: int):
    """A disk that refuses only the request of that number."""
    asked = iter(range(10_000))

    def ask() -> None:
        if next(asked) == number:
            raise OSError(disk.code, os.strerror(disk.code))

    return ask


def test_an_exception_that_is_not_the_disks_leaves_nothing_behind(store, monkeypatch):
    save(store, 1)

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(store, 2)
    assert names(store.directory) == ["run.lock", "step-00000001"]


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


def test_a_replacement_that_ended_half_way_is_undone(tmp_path):
    with CheckpointStore(tmp_path) as store:
        path = save(store, 1)
    path.rename(f"{path}.replaced")
    assert_is(CheckpointStore(tmp_path).load_newest(), 1)  # a reader finds it, too
    (tmp_path / ".tmp-step-00000001-1").mkdir()
    with CheckpointStore(tmp_path) as store:
        assert_is(store.load_newest(), 1)
        assert names(tmp_path) == ["run.lock", "step-00000001"]


def test_only_the_holder_of_the_lock_saves(tmp_path):
    with pytest.raises(AssertionError):
        save(CheckpointStore(tmp_path), 1)


def test_a_second_writer_is_refused_at_once_and_told_who_writes(store):
    with pytest.raises(MachineError, match=f"process {os.getpid()} on "), CheckpointStore(store.directory):
        pytest.fail("the store was opened twice")
    save(store, 1)


def test_the_configuration_is_noted_once(store):
    assert store.read_config() is None
    store.write_config("größe: 3\n")
    assert store.read_config() == "größe: 3\n"
    with pytest.raises(RequestError, match="exists already"):
        store.write_config("other")
    (store.directory / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="cannot read"):
        store.read_config()


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from flowgru.errors import MachineError
from flowgru.training.checkpoints import CheckpointStore

os.fsync = lambda _descriptor: None  # a kill is no power cut
folder, kills = Path(sys.argv[1]), int(sys.argv[2])


def save(store, step):
    store.save(step, {"a": torch.full((50,), float(step))}, {"step": step}, best=step % 5 == 0)


def check(store, at_least):
    found = store.load_newest()
    assert store.skipped == [], store.skipped
    assert found is not None and found.step >= at_least, (found, at_least)
    assert torch.equal(found.weights["a"], torch.full((50,), float(found.step))) and found.state == {"step": found.step}
    return found.step


def child(body):
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
    finally:
        os._exit(1)


# At every moment in turn: the process ends just before the n-th thing it asks of the folder.
def end_before(number):
    left = [number]

    def watch(event, inputs):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

    sys.addaudithook(watch)


ends, number = 0, 0
while ends != -1:
    for step in (7, 8):  # once in place of a checkpoint, once beside it
        run = folder / f"{number}-{step}"
        with CheckpointStore(run, keep=1) as store:
            save(store, 7)

        def body():
            with CheckpointStore(run, keep=1) as store:
                end_before(number)
                save(store, step)
                os._exit(0)

        _, status = os.waitpid(child(body), 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 9), code
        with CheckpointStore(run, keep=1) as store:
            check(store, 7)
            assert not [name for name in os.listdir(run) if name.startswith(".") or name.endswith(".replaced")] or code == 9
            save(store, 9)
            assert sorted(os.listdir(run)) == ["run.lock", "step-00000009"], os.listdir(run)
    ends, number = (-1 if code == 0 else ends + 1), number + 1
assert number > 15, number

# At random moments, by kill -9, while the parent knows which saves had returned.
random.seed(0)
last = 0
run = folder / "random"
for _ in range(kills):
    heard, say = os.pipe()

    def body():
        with CheckpointStore(run, keep=2) as store:
            found = store.load_newest()
            step = found.step if found else 0
            while True:
                step += 1
                save(store, step)
                save(store, step)
                os.write(say, step.to_bytes(8, "big"))

    pid = child(body)
    os.close(say)
    said = os.read(heard, 8)
    try:
        CheckpointStore(run).__enter__()
        raise SystemExit("a second writer was let in")
    except MachineError as error:
        assert f"process {pid} on" in str(error), error
    time.sleep(random.random() * 0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(heard, 8):
        said = more
    os.close(heard)
    with CheckpointStore(run, keep=2) as store:
        last = check(store, max(last, int.from_bytes(said, "big")))
        assert last < 5 or store.best().name == f"step-{last - last % 5:08d}", (store.best(), last)
        assert not [name for name in os.listdir(run) if name.startswith(".tmp")]
print("whole", number, last)
"""


@pytest.mark.parametrize("kills", [6, pytest.param(25, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_leaves_its_last_checkpoint(tmp_path, kills):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(kills)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0 and done.stdout.startswith("whole"), done.stderr

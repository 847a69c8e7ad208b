"""Whatever interrupts a save, a checkpoint that was there before is loaded again, bit for bit."""

import errno
import os
import sys
from pathlib import Path

import pytest
from checkpoint_content import assert_is, names, save
from interpreter import run_alone

from flowgru.errors import MachineError
from flowgru.training.checkpoints.store import CheckpointStore


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


def test_a_replacement_that_ended_half_way_is_undone(tmp_path):
    with CheckpointStore(tmp_path) as store:
        path = save(store, 1)
    path.rename(f"{path}.replaced")
    assert_is(CheckpointStore(tmp_path).load_newest(), 1)  # a reader finds it, too
    (tmp_path / ".tmp-step-00000001-1").mkdir()
    with CheckpointStore(tmp_path) as store:
        assert_is(store.load_newest(), 1)
        assert names(tmp_path) == ["run.lock", "step-00000001"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from flowgru.errors import MachineError
from flowgru.training.checkpoints.store import CheckpointStore

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
    done = run_alone(KILLED, tmp_path, kills)
    assert done.returncode == 0 and done.stdout.startswith("whole"), done.stderr

"""The store of a run's checkpoints: whatever interrupts a save, an older checkpoint is whole.

A checkpoint is a folder step-00001000/ with model.safetensors, train.pt and manifest.json (sizes and SHA-256 of both). It
is made under another name, flushed to the disk and renamed: the rename is the moment it exists. Loading verifies the
digests and falls back to the next older checkpoint, because neither torch nor safetensors notices a flipped bit.
"""

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from flowgru.errors import FlowgruError, MachineError, RequestError, counted, one_line
from flowgru.files.atomic import flush, remove_leftovers, write_file
from flowgru.files.sealed_folder import read_facts, read_sealed, write_sealed
from flowgru.files.writer_lock import WriterLock
from flowgru.model.weight_files.model_file import STATE_FILE, WEIGHTS, model_file_bytes
from flowgru.model.weight_files.torch_file import check_zip

STATE, CONFIG, LOCK = STATE_FILE, "config.yaml", "run.lock"

REPLACED = ".replaced"
"""Ends the name of a checkpoint whose successor of the same step is just being put in its place."""


class Checkpoint(NamedTuple):
    """A whole, verified checkpoint."""

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]
    path: Path


class CheckpointStore:
    """The checkpoints of one run, in one folder, with one writer at a time: use it in a `with`.

    keep: how many of the newest checkpoints stay, besides the best one. MachineError where another process writes here
    or the folder cannot be written to.
    """

    def __init__(self, directory: str | Path, *, keep: int = 3) -> None:
        assert keep >= 1
        self.directory = Path(directory)
        self.keep = keep
        self.skipped: list[str] = []
        """Why checkpoints were passed over by load_newest."""
        self._lock = WriterLock(self.directory / LOCK)

    def __enter__(self) -> "CheckpointStore":
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            with tempfile.TemporaryFile(dir=self.directory):  # the lock's file may be writable where its folder is not
                pass
            self._put_back()
        except OSError as error:
            self._lock.release()
            raise MachineError(
                f"cannot write to {self.directory}: {error.strerror or error}; name another --output"
            ) from None
        # The lock is ours, so whatever is staged belongs to a process that died.
        remove_leftovers(self.directory)
        for stale in self.directory.glob(".tmp-step-*"):
            shutil.rmtree(stale, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def save(
        self,
        step: int,
        weights: dict[str, Tensor],
        state: dict[str, Any],
        *,
        best: bool = False,
        card: dict[str, Any] | None = None,
    ) -> Path:
        """Adds the checkpoint of `step`, in place of an earlier one of the same step, and drops those no longer kept.

        state may hold tensors, numbers, texts and containers of them. card: says what network the weights are of.
        RequestError for weights that are not finite, MachineError where the disk refuses; then all older checkpoints are
        as they were.
        """
        assert self._lock.held, "only inside `with` is there one writer"
        final = self.directory / f"step-{step:08d}"
        staged = self.directory / f".tmp-{final.name}-{os.getpid()}"
        replaced = final.with_name(final.name + REPLACED)
        files = {WEIGHTS: model_file_bytes(weights, card or {}), STATE: _state_as_bytes(state)}
        try:
            write_sealed(staged, files, {"step": step, "best": best})
            if final.exists():
                self._drop(replaced)  # what an earlier failure left
                os.rename(final, replaced)
            os.rename(staged, final)
            flush(self.directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._put_back()
            raise MachineError(
                f"cannot save the checkpoint of step {step} in {self.directory}: {error.strerror or error} "
                f"({_free(self.directory)}); the older checkpoints are whole"
            ) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._prune(step)
        return final

    def best(self) -> Path | None:
        """The folder of the best checkpoint so far: the newest that was saved as such.

        MachineError where the disk cannot say.
        """
        return _best_of(self.checkpoints())

    def checkpoints(self) -> list[Path]:
        """The folders of all checkpoints, newest first."""
        found = [path for path in self.directory.glob("step-*") if re.fullmatch(rf"step-\d+({REPLACED})?", path.name)]
        folders = [path for path in found if path.is_dir() and not path.is_symlink()]
        return sorted(folders, key=lambda path: (step_of(path), path.suffix != REPLACED), reverse=True)

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where there is none at all.

        `skipped` says what was passed over and why. RequestError where there are checkpoints but every one is damaged:
        a run that silently began anew would throw them away.
        """
        self.skipped = []
        for path in self.checkpoints():
            try:
                return load_checkpoint(path)
            except FlowgruError as error:
                self.skipped.append(str(error))
        if self.skipped:
            raise RequestError(
                f"none of {counted(len(self.skipped), 'checkpoint')} in {self.directory} is whole ({self.skipped[0]}): "
                "remove them to begin anew"
            )
        return None

    def read_config(self) -> str | None:
        """The configuration that the run in this folder was started with. RequestError where it cannot be read."""
        try:
            return (self.directory / CONFIG).read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RequestError(f"cannot read {self.directory / CONFIG} ({error}): name another folder") from None

    def write_config(self, text: str) -> None:
        """Notes the configuration of the run, in place of what was noted."""
        write_file(self.directory / CONFIG, text, overwrite=True, durable=True)

    def _put_back(self) -> None:
        """Undoes a replacement that ended half-way."""
        for replaced in self.directory.glob(f"step-*{REPLACED}"):
            if not (final := replaced.with_suffix("")).exists():
                os.rename(replaced, final)

    def _prune(self, saved: int) -> None:
        """Drops what the checkpoint of step `saved` makes superfluous.

        Newer ones are left, and not counted: they are damaged, or the run would have gone on from them.
        """
        replaced = [path for path in self.checkpoints() if path.suffix == REPLACED]
        older = [path for path in self.checkpoints() if path not in replaced and step_of(path) <= saved]
        try:
            best = _best_of(older)
        except MachineError:  # any of them may be the best: they are dropped after a later save
            return
        for path in [*replaced, *(path for path in older[self.keep :] if path != best)]:
            self._drop(path)

    def _drop(self, path: Path) -> None:
        """Removes a checkpoint so that it is never seen half removed; what refuses is dropped after a later save."""
        dropped = self.directory / f".tmp-{path.name}-dropped"
        with contextlib.suppress(OSError):
            os.rename(path, dropped)
        shutil.rmtree(dropped, ignore_errors=True)


def _best_of(checkpoints: Sequence[Path]) -> Path | None:
    """The first one that was saved as the best. MachineError where the disk cannot say."""
    for path in checkpoints:
        with contextlib.suppress(RequestError):
            if read_facts(path).get("best"):
                return path
    return None


def require_space(directory: Path, weights_bytes: int, keep: int) -> None:
    """MachineError unless all checkpoints of a run, and its two model files, fit on the disk beside those that are there.

    A checkpoint holds the weights, their moving average and at most two moments of the optimizer; there are `keep` of
    them, the best one, and one that is just being written.
    """
    one = 4 * weights_bytes
    try:
        present = sum(file.stat().st_size for file in directory.glob("step-*/*"))
        nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        disk = shutil.disk_usage(nearest)
    except OSError:  # the store says why
        return
    needed = (keep + 2) * one + 2 * weights_bytes - present
    if disk.free < needed and disk.total:  # what has no size at all, such as /proc, is refused by the store
        raise MachineError(
            f"{directory} has {disk.free / 1e6:.0f} MB free and the run needs {needed / 1e6:.0f} MB: {keep + 2} checkpoints "
            f"of {one / 1e6:.0f} MB (keep_checkpoints, the best and a new one) and two models; free some space, lower "
            "--keep-checkpoints or name another --output"
        )


def load_checkpoint(path: str | Path) -> Checkpoint:
    """A checkpoint, verified. RequestError, naming the file, where it is not what was written."""
    path = Path(path)
    files, facts = read_sealed(path, (WEIGHTS, STATE))
    try:
        check_zip(path / STATE, io.BytesIO(files[STATE]), len(files[STATE]))
        weights = load_safetensors(files[WEIGHTS])
        state = torch.load(io.BytesIO(files[STATE]), map_location="cpu", weights_only=True)
        return Checkpoint(facts["step"], weights, state, path)
    except (RequestError, MemoryError):
        raise
    except Exception as error:  # digests that fit prove no origin: a stranger's files can fail in any way
        raise RequestError(f"{path} was not written by flowgru: it cannot be read ({type(error).__name__})") from None


def _state_as_bytes(state: dict[str, Any]) -> bytes:
    packed = io.BytesIO()  # not the file: torch hides what the disk says behind a RuntimeError
    try:
        torch.save(state, packed)
    except RuntimeError as error:  # and so it does with a lack of memory
        raise MemoryError(f"not enough memory for a checkpoint: {one_line(error)}") from error
    return packed.getvalue()


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.name.removesuffix(REPLACED).removeprefix("step-"))


def _free(directory: Path) -> str:
    try:
        return f"{shutil.disk_usage(directory).free / 1e6:.0f} MB free"
    except OSError:
        return "free space unknown"

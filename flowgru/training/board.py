"""TensorBoard's file of a run."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

from flowgru.console import printable
from flowgru.files.atomic import open_to_append
from flowgru.files.own_folders import refuse_link

BOARD = "tensorboard"
EVENTS = "events.out.tfevents."
"""What TensorBoard knows its files by; it reads them in the order of their names, which go on with a time in seconds."""


class Board:
    """TensorBoard's file of a run. Each event is written at once, by whom it concerns: OSError where the disk refuses.

    The writer that comes with TensorBoard leaves that to a thread, whose failure nobody can answer.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        """purge_step: TensorBoard forgets what an earlier file says of this step and later ones."""
        refuse_link(folder, folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{EVENTS}{_next_stamp(folder)}.{socket.gethostname()}.{os.getpid()}"
        self._file = open_to_append(folder / name)
        self._records = RecordWriter(self._file.buffer)
        self._add(file_version="brain.Event:2")
        self._add(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._add(step=step, summary=summary.scalar(printable(name), value))

    def image(self, name: str, picture: UInt8[Tensor, "3 H W"], step: int) -> None:
        self._add(step=step, summary=summary.image(printable(name), picture, dataformats="CHW"))

    def close(self) -> None:
        self._file.close()

    def _add(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _next_stamp(folder: Path) -> int:
    """The time in seconds, or what comes after the last file of a run that was resumed on a clock that was put back."""
    stamps = (path.name.removeprefix(EVENTS).partition(".")[0] for path in folder.glob(f"{EVENTS}*"))
    return max(int(time.time()), *(int(stamp) + 1 for stamp in stamps if stamp.isdecimal() and len(stamp) < 12), 0)

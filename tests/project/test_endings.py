"""Every process that used flowgru ends, whatever was kept, and leaves no other one behind."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from endings import ALL, EXIT_CODE
from interpreter import run_alone
from tiny_run import log_lines, write_config

SECONDS_TO_END = 100
"""More than a busy machine needs: what keeps a process here keeps it for ever."""

PROGRAM = """
import os, sys, endings
os.setsid()
with open(sys.argv[2] + "/session", "w") as file:
    file.write(str(os.getpid()))
sys.argv[0] = endings.__file__  # by which a run of two processes starts the other one
endings.main()
"""
"""A program of endings.py in a session of its own, which is noted in its folder."""


def left(session: int) -> list[int]:
    """The processes of a session that run: not those that have ended and are not collected yet."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def kill_all(session: int) -> None:
    for running in left(session):
        with suppress(ProcessLookupError):
            os.kill(running, signal.SIGKILL)


def wait_for_none(session: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while running := left(session):
        assert time.monotonic() < end, running
        time.sleep(0.1)


USUAL = ("kept_exception", "left_in_the_middle", "trains", "uncaught", "killed")
"""The others take as long again, and are slow tests."""


@pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_a_process_ends_by_its_own_exit_code_whatever_was_kept(tmp_path, name):
    session = tmp_path / "session"
    try:
        ended = run_alone(PROGRAM, name, tmp_path)
        said = [float(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("ends ")]
        assert said and time.monotonic() - said[0] < SECONDS_TO_END, ended.stderr
        assert ended.returncode == {"uncaught": 1, "killed": -signal.SIGKILL}.get(name, EXIT_CODE)
        wait_for_none(int(session.read_text()), 20)
    finally:
        kill_all(int(session.read_text()))
    errors = ended.stderr
    assert ("InputFileError: a.flo is damaged" in errors) if name == "uncaught" else "Traceback" not in errors


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_on_a_terminal_saves_and_exits_130_with_workers(tmp_path, devices):
    config = write_config(tmp_path / "c.yaml", steps=100_000, batch_size=2, workers=2, checkpoint_every=100_000)
    command = [sys.executable, "-m", "flowgru", "train", "--config", str(config), "--output", str(tmp_path / "run")]
    terminal, tty = pty.openpty()
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--devices", devices],
        stdin=tty,
        stdout=tty,
        stderr=tty,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(tty)
    said: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(terminal, said))
    reader.start()
    try:
        log = tmp_path / "run" / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.2)
        os.write(terminal, b"\x03")
        assert process.wait(SECONDS_TO_END) == 130, b"".join(said)
        wait_for_none(process.pid, 20)
    finally:
        kill_all(process.pid)
        reader.join()
        os.close(terminal)
    assert b"stopped by SIGINT; the same command goes on from here" in b"".join(said)
    step = max(line["step"] for line in log_lines(tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == [f"step-{step:08d}"]


def read_all(terminal: int, said: list[bytes]) -> None:
    """What appears on a terminal, until nobody writes to it any more."""
    with suppress(OSError):
        while text := os.read(terminal, 4096):
            said.append(text)

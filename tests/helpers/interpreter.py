"""Python in a process of its own, what processes have started, and Triton's interpreter, which runs kernels on a CPU."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from paths import HELPERS, ROOT

ENVIRONMENT = dict(os.environ)
"""As it was before any test changed it for itself: what is begun in a test lasts longer than that test."""

SERVER = """
import contextlib, gc, json, os, sys
import torch._dynamo, flowgru.model.flow_network
with contextlib.suppress(ImportError):  # a GPU's tests need no more than flowgru itself
    import flowgru.training.run
gc.freeze()  # a fork neither looks through what is imported, nor copies it for that
for line in sys.stdin:
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
request = json.loads(line)
os.chdir(request["folder"])
for number, path in enumerate(request["streams"]):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
sys.argv = ["-c", *request["words"]]
exec(compile(request["code"], "<string>", "exec"))
"""
"""Imports what takes seconds once, and then does each request in a fork of itself, which ends as any Python does."""


@cache
def _server(environment: tuple[tuple[str, str], ...]) -> subprocess.Popen[str]:
    """It ends when the tests do, because nobody can write to it any more."""
    path = os.pathsep.join(filter(None, [str(ROOT), str(HELPERS), ENVIRONMENT.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONPATH": path, **dict(environment)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_alone(code: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code as `python -c CODE WORDS` does here, with torch, its compiler and flowgru imported already.

    A process of its own knows no type checks, which PyTorch's compiler cannot trace, may be killed, and may set what holds
    for a whole process. Its standard streams are files: nothing waits for processes that it leaves behind. Without other
    words in `environment` it sees no GPU.
    """
    server = _server(tuple(sorted(({"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment).items())))
    assert server.stdin is not None and server.stdout is not None
    with TemporaryDirectory() as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        streams = [os.devnull, str(out), str(errors)]
        request = json.dumps({"code": code, "words": [*map(str, words)], "streams": streams, "folder": os.getcwd()})
        try:
            server.stdin.write(request + "\n")
            server.stdin.flush()
            exit_code = int(server.stdout.readline())
        except BaseException:  # also where the time for the test is over
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise
        return subprocess.CompletedProcess(code, exit_code, out.read_text(), errors.read_text())


@contextmanager
def killed_at_the_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Whatever fails in a test, nothing is left of a process that began a session of its own, nor of what it started."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def children(pid: int, words: str = "") -> list[int]:
    """Those of a process, of which there must be one at least; only those in whose command line the words stand."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    ).stdout
    found = [int(line.split()[0]) for line in listed.splitlines() if words in line]
    assert found, f"process {pid} has no child with {words!r}: {listed}"
    return found


def spawned(pid: int) -> list[int]:
    """Those that Python's multiprocessing has started anew."""
    return children(pid, "spawn_main")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _release(package: str) -> tuple[int, int]:
    major, minor = version(package).split(".")[:2]
    return int(major), int(minor)


def why_not_interpreted() -> str | None:
    """Why Triton's interpreter cannot run a kernel here, or None where it can."""
    try:
        if _release("triton") < (3, 7) and _release("numpy") >= (2, 5):
            return f"the interpreter of Triton {version('triton')} does not work with NumPy {version('numpy')}"
    except PackageNotFoundError:
        return "triton is not installed"
    return None


needs_interpreter = pytest.mark.skipif(why_not_interpreted() is not None, reason=str(why_not_interpreted()))

runs_kernels = pytest.mark.skipif(
    find_spec("triton") is None or (not torch.cuda.is_available() and why_not_interpreted() is not None),
    reason=str(why_not_interpreted()),
)
"""A GPU runs them too, without the interpreter."""


def require_equal(script: str) -> None:
    """Runs a script that compares a kernel with plain PyTorch, and prints `equal`, on a GPU or in the interpreter."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    on_gpu, on_cpu = {"CUDA_VISIBLE_DEVICES": devices}, {"TRITON_INTERPRET": "1"}
    run = run_alone(script, **(on_gpu if torch.cuda.is_available() else on_cpu))
    assert run.returncode == 0 and run.stdout.split() == ["equal"], run.stderr[-2000:]

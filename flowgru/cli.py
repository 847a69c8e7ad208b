"""The command line: one sub-command per file of commands/, and what becomes of every error.

A task is a function whose annotated parameters are its command's arguments: a `list[str]` takes the words that follow
the command, a dataclass gives one option per field (and `--config FILE`, YAML with the same names), anything else is
one option. A task returns its exit code, or None for 0.

Exit codes: 0 done, 1 a bug, 2 the request, 3 an input file, 4 the machine, 130 Ctrl-C, 143 SIGTERM.
"""

import importlib
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowgru.config.renamed import OldName
from flowgru.console import drop_what_stderr_holds, hold_standard_streams, silence, warn
from flowgru.errors import FlowgruError, RequestError, did_you_mean, lacks_memory, one_line
from flowgru.version import VERSION


class Command(NamedTuple):
    """Where a sub-command lives; its module is imported only when it is called."""

    module: str
    function: str
    summary: str


COMMANDS: dict[str, Command] = {
    "estimate": Command(
        "flowgru.commands.estimate", "estimate", "flow between the frames of videos, folders or pictures"
    ),
    "corpus": Command(
        "flowgru.commands.corpus", "corpus", "flow of thousands of clips, on many processes and machines"
    ),
    "view": Command("flowgru.commands.view", "view", "picture and statistics of flow files, and their conversion"),
    "warp": Command("flowgru.commands.warp", "warp", "a picture moved by a flow, backward or forward"),
    "track": Command("flowgru.commands.track", "track", "points of a clip's first frame, followed to its end"),
    "demo": Command("flowgru.commands.demo", "demo", "flow of the bundled sample clip, against its exact flow"),
    "evaluate": Command(
        "flowgru.commands.evaluate", "evaluate", "errors of a model and of baselines on benchmark pairs"
    ),
    "data": Command("flowgru.commands.check", "data", "what is missing or damaged in a data set"),
    "submit": Command(
        "flowgru.commands.submit", "submit", "flows of a benchmark's test split, as its server takes them"
    ),
    "export": Command(
        "flowgru.commands.export", "export", "a network as one file for ONNX Runtime, OpenVINO or PyTorch"
    ),
    "train": Command("flowgru.commands.train", "train", "weights of a network, from a configuration"),
    "compare": Command("flowgru.commands.compare", "compare", "update operators under one recipe, with a report"),
    "live": Command("flowgru.commands.live", "live", "flow of a camera as it runs, in a window or on a page"),
    "web": Command(
        "flowgru.commands.web", "web", "a page for the browser: drop pictures or a clip, look at their flow"
    ),
    "benchmark": Command(
        "flowgru.commands.benchmark", "benchmark", "speed and memory of models and settings, side by side"
    ),
}

EXTRAS = {
    "lightning_fabric": "train",
    "tensorboard": "train",
    "skimage": "train",
    "matplotlib": "report",
    "dask": "corpus",
    "dask_jobqueue": "corpus",
    "distributed": "corpus",
    "gradio": "web",
}
"""The extra of flowgru that brings an optional package."""

EITHER = {"train": ("steps", "minutes"), "compare": ("steps", "training.steps", "minutes")}
"""Options of a command of which one is given at most. A file may have the last one beside the others, and it counts."""

_CORRELATION = "the correlation of all pairs of pixels grows with the square of the picture's area; "
_IN_TILES = "compute in tiles (--tiles 2x2), or on a device with more memory (--device cpu, if that is the CPU)"
LESS_MEMORY = {
    "estimate": f"{_CORRELATION}estimate at a smaller size (--resize 0.5)",
    "track": f"{_CORRELATION}estimate at a smaller size (--resize 0.5)",
    "corpus": f"{_CORRELATION}compute at a smaller size (--resize 0.5), or with fewer --workers",
    "train": f"{_CORRELATION}train with smaller crops or a smaller --batch-size",
    "evaluate": f"{_CORRELATION}{_IN_TILES}",
    "submit": f"{_CORRELATION}{_IN_TILES}",
    "benchmark": f"{_CORRELATION}measure at a smaller --size",
}
"""What a user can do about a lack of memory, by command."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error a user can cause is one line on stderr."""
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words
    hold_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name the locale cannot write is no reason to stop
    received, before = _note_signals()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            # Pillow's limit is below flowgru's own, which is what is said of too large a picture.
            warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
            code = _flushed(_run([word for word in words if word != "--debug"]))
        return _stopped_by(received[0]) if received else code
    except SystemExit as stop:
        if received:
            return _stopped_by(received[0])
        return _flushed(stop.code if isinstance(stop.code, int) else 0)
    except KeyboardInterrupt:
        return _stopped_by(signal.SIGINT)
    except BrokenPipeError:  # whoever read the output has had enough
        silence(sys.stdout)
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        if received:  # a library took what ends the run for an error of its own
            return _stopped_by(received[0])
        return _explain(error, words[0] if words else "")
    finally:
        drop_what_stderr_holds()
        logging.disable(logging.NOTSET)
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"flowgru {VERSION}")
        return 0
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        raise RequestError(
            f"no command {words[0]!r}: {hint}known are {', '.join(COMMANDS)}; flowgru --help lists what they do"
        )
    command = COMMANDS[words[0]]
    task: Callable[..., int | None] = getattr(importlib.import_module(command.module), command.function)
    from flowgru.parser import TaskParser  # here, so that it is one line that says which package is missing

    parser = TaskParser(f"flowgru {words[0]}", task)
    return task(**parser.parse(words[1:], EITHER.get(words[0], ()))) or 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: flowgru COMMAND ... [--debug]",
            "",
            "Optical flow with a RAFT-style network whose recurrent update operator can be swapped.",
            "",
            *lines,
            "",
            "flowgru COMMAND --help lists a command's options; --debug shows the traceback of an error.",
        ]
    )


def _flushed(code: int) -> int:
    """The code, or 4 where the disk refuses what stdout still holds; Python would try once more, and say so its own way."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        return _say(f"error: cannot write to stdout: {error.strerror}", 4)
    return code


def _explain(error: Exception, command: str) -> int:
    """One line for an error, and its exit code."""
    code = getattr(error, "exit_code", None)
    if isinstance(error, FlowgruError) and isinstance(code, int):
        return _say(f"error: {error}", code)
    if isinstance(code, int):  # a task that stopped on a signal after saving its state
        return _say(str(error), code)
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "").split(".")[0]) not in ("", "flowgru"):
        extra = EXTRAS.get(package)
        needed, code = (f"'flowgru[{extra}]'", 2) if extra else ("flowgru", 4)
        return _say(f"error: the package {error.name} is missing: pip install {needed}", code)
    if lacks_memory(error):
        advice = LESS_MEMORY.get(command, "close other programs, or use a machine with more")
        return _say(f"error: not enough memory: {advice}", 4)
    if "too many open files" in str(error).lower():  # also where a package cannot be imported for it
        return _say(f"error: {one_line(error)}: raise the limit of open files (ulimit -n), or close some", 4)
    if isinstance(error, OSError):
        is_of_one = error.filename and not error.filename2 and error.strerror
        said = f"cannot use {error.filename}: {error.strerror}" if is_of_one else error
        return _flushed(_say(f"error: {said}", 4))
    return _say(f"error: {type(error).__name__}: {error} (a bug; --debug shows where)", 1)


def _show_warning(message: Warning | str, kind: type[Warning], *_: Any, **__: Any) -> None:
    """One line for a warning; of the processes of a run, which have the same command line, the first notes its old names."""
    if not issubclass(kind, OldName):
        _say(f"warning: {message}", 0)
    elif os.environ.get("LOCAL_RANK", "0") == "0":
        _say(f"note: {message}", 0)


def _say(text: str, code: int) -> int:
    warn(text)
    return code


def _stopped_by(number: int) -> int:
    return _say(f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}", 128 + number)


def _note_signals() -> tuple[list[int], dict[int, Any]]:
    """Lets SIGTERM and SIGHUP end the run like an exit, so that unfinished files are removed, and notes them and Ctrl-C.

    Gives the signals received so far, and what handled the signals before; nothing where signals are not ours. What is
    raised may be swallowed by a library, as by torch.export, which logs it as a failure of its own: that is kept silent.
    """
    received: list[int] = []

    def stop(number: int, frame: object) -> None:
        # A closed terminal sends SIGHUP, and so does the shell in it.
        if number != signal.SIGINT and number in received:
            return
        received.append(number)
        logging.disable(logging.CRITICAL)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    noted = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        noted.append(signal.SIGHUP)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us wants it otherwise
        noted.append(signal.SIGINT)
    try:
        return received, {number: signal.signal(number, stop) for number in noted}
    except ValueError:  # not the main thread
        return received, {}


if __name__ == "__main__":
    sys.exit(main())

"""A library that takes a signal for a failure of its own, as torch.export does, cannot keep a run from ending."""

import logging
import os
import signal
import sys

import pytest

from flowgru.cli import COMMANDS, Command, main


def swallow(name: str, fails: bool = True) -> None:
    """Does what a library does with whatever is raised inside.

    name: Of the signal.
    fails: Whether it raises an error of its own then.
    """
    try:
        os.kill(os.getpid(), getattr(signal, name))
    except BaseException as error:
        logging.getLogger("library").error("something failed", exc_info=True)
        if fails:
            raise ValueError("something failed") from error


@pytest.fixture
def usual_handlers():
    """As a process begins, whatever other tests of this process have left."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("fails", ["--fails", "--no-fails"])
@pytest.mark.parametrize(("name", "said", "code"), [("SIGTERM", "SIGTERM", 143), ("SIGINT", "Ctrl-C", 130)])
def test_a_signal_that_a_library_swallows_ends_the_run(usual_handlers, monkeypatch, capfd, name, said, code, fails):
    monkeypatch.setitem(COMMANDS, "work", Command(__name__, "swallow", "does something"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert main(["work", "--name", name, fails]) == code
    assert capfd.readouterr().err == f"stopped by {said}\n"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert logging.getLogger("library").isEnabledFor(logging.ERROR)

"""How a run is asked to stop."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowgru.processes.signals import HANG_UP, STOP_SIGNALS, stop_signals


def test_a_run_in_a_thread_beside_the_main_one_leaves_the_signals_alone():
    def ask() -> list[int]:
        with stop_signals() as asked:
            return asked

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result() == []
    assert signal.getsignal(signal.SIGTERM) is before
    for number in STOP_SIGNALS:
        before = signal.signal(number, signal.SIG_DFL)  # whoever began the tests may ignore SIGHUP
        try:
            with stop_signals() as asked:
                os.kill(os.getpid(), number)
                assert asked == [number]
                if number == HANG_UP:  # the shell in a terminal that was closed sends it, too
                    os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_DFL
        finally:
            signal.signal(number, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal can be closed here")
def test_a_run_after_nohup_does_not_end_with_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

"""How a run is asked to stop."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from flowgru.processes.signals import stop_signals


def test_a_run_in_a_thread_beside_the_main_one_leaves_the_signals_alone():
    def ask() -> list[int]:
        with stop_signals() as asked:
            return asked

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result() == []
    assert signal.getsignal(signal.SIGTERM) is before
    with stop_signals() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [signal.SIGTERM]

"""Jobs in processes of their own answer, fail or die each for itself."""

import operator as arithmetic
import signal

import pytest

from flowgru.errors import MachineError
from flowgru.processes.jobs import Job, run_jobs
from flowgru.processes.signals import Stopped

pytestmark = pytest.mark.timeout(1800)  # it starts processes, which a busy machine draws out


def test_a_signal_while_the_last_job_ends_is_not_lost(tmp_path):
    jobs = [Job("sum", arithmetic.add, (2, 3), tmp_path / "sum.txt")]
    with pytest.raises(Stopped):
        run_jobs(jobs, at_once=1, num_threads=1, ended=lambda *_: signal.raise_signal(signal.SIGTERM))


def test_a_job_answers_fails_or_dies_for_itself(tmp_path):
    outcomes = {}
    jobs = [
        Job("sum", arithmetic.add, (2, 3), tmp_path / "sum.txt"),
        Job("bug", arithmetic.truediv, (1, 0), tmp_path / "bug.txt"),
        Job("killed", signal.raise_signal, (signal.SIGKILL,), tmp_path / "killed.txt"),
    ]
    run_jobs(jobs, at_once=3, num_threads=1, ended=lambda job, outcome: outcomes.update({job.name: outcome}))
    assert outcomes["sum"] == 5
    assert isinstance(outcomes["bug"], MachineError) and "ZeroDivisionError" in str(outcomes["bug"])
    assert isinstance(outcomes["killed"], MachineError) and "killed by SIGKILL" in str(outcomes["killed"])
    assert "Traceback" in (tmp_path / "bug.txt").read_text()

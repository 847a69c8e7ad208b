"""The script of a job of SLURM, as text; no SLURM is asked."""

import sys

import pytest

from flowgru.corpus.workers.slurm import job_settings, parsed_options, threads_of_job
from flowgru.errors import RequestError

OPTIONS = "partition=gpu,account=vision,gres=gpu:1,cpus-per-task=4,mem=16G,time=12:00:00,nodelist=a1,a2"

SCRIPT = """\
#!/usr/bin/env bash

#SBATCH -J flowgru
#SBATCH -p gpu
#SBATCH -A vision
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH -t 12:00:00
#SBATCH --gres=gpu:1
#SBATCH --nodelist=a1,a2
export MALLOC_MMAP_THRESHOLD_=33554432
export MALLOC_TRIM_THRESHOLD_=67108864
PYTHON -m distributed.cli.dask_worker tcp://10.0.0.1:8786 --name worker --nthreads 1 --memory-limit 16.00GiB --nanny \
--death-timeout 300
"""


def test_a_job_is_one_worker_with_all_its_cores_and_memory():
    slurm = pytest.importorskip("dask_jobqueue.slurm")
    job = slurm.SLURMJob(scheduler="tcp://10.0.0.1:8786", name="worker", **job_settings(OPTIONS))
    lines = [line.rstrip() for line in job.job_script().replace(sys.executable, "PYTHON").splitlines()]
    assert "\n".join(lines).strip() == SCRIPT.strip()
    assert threads_of_job(OPTIONS) == 4 and threads_of_job("mem=1G,time=1") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected sbatch's long options"),
        ("partition", "expected sbatch's long options"),
        ("partition=a b,mem=1G,time=1", "expected sbatch's long options"),
        ("comment=`rm`,mem=1G,time=1", "expected sbatch's long options"),
        ("partition=gpu,time=1", "it lacks mem, such as mem=16G and time=12:00:00"),
        ("partition=gpu,mem=1G", "it lacks time"),
        ("mem=1G,time=1,ntasks=4", "--slurm has ntasks, which flowgru sets itself"),
        ("mem=1G,time=1,cpus-per-task=x", "cpus-per-task is 'x', expected a number"),
        ("mem=much,time=1", "mem is 'much', expected a number with K, M, G or T"),
    ],
)
def test_what_are_no_options_is_refused(text, said):
    with pytest.raises(RequestError) as error:
        job_settings(text)
    assert said in str(error.value)


def test_a_value_may_hold_commas():
    assert parsed_options("gres=gpu:1,tmp:10G,mem=1G,time=1")["gres"] == "gpu:1,tmp:10G"

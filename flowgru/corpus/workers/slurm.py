"""Jobs of SLURM whose processes work for a corpus, by dask-jobqueue; each job is one worker."""

import re
import sys
from typing import Any

from flowgru.errors import RequestError

NEEDED = ("mem", "time")
"""Without these a job would get what the cluster's administrator thinks best, or none."""

MEMORY_KEPT = ("export MALLOC_MMAP_THRESHOLD_=33554432", "export MALLOC_TRIM_THRESHOLD_=67108864")
"""What malloc comes to by itself once large tensors have been freed; dask would let it give memory back at once, and take
it anew for each step of a network, which took a third of the time on two cores."""

OWN = ("ntasks", "job-name", "output", "error", "array", "wrap")
"""Options that are not the user's: a job is one task of one worker."""


def parsed_options(text: str) -> dict[str, str]:
    """The options of --slurm, `name=value` with commas between. RequestError where they are none."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals and found and name:  # a value may hold commas, as gres=gpu:1,tmp:10G does
            name = [*found][-1]
            value = f"{found[name]},{part.strip()}"
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or not value.strip() or re.search(r"[\s;\"'`$]", value):
            raise RequestError(
                f"--slurm is {text!r}: expected sbatch's long options, such as partition=gpu,gres=gpu:1,mem=16G,time=12:00"
            )
        if name in OWN:
            raise RequestError(f"--slurm has {name}, which flowgru sets itself: leave it out")
        found[name] = value
    if missing := [name for name in NEEDED if name not in found]:
        raise RequestError(f"--slurm is {text!r}: it lacks {missing[0]}, such as mem=16G and time=12:00:00")
    if not found.get("cpus-per-task", "1").isdecimal():
        raise RequestError(f"--slurm: cpus-per-task is {found['cpus-per-task']!r}, expected a number")
    return found


def threads_of_job(text: str) -> int:
    """The cores of one job."""
    return max(1, int(parsed_options(text).get("cpus-per-task", "1")))


def job_settings(text: str) -> dict[str, Any]:
    """What dask-jobqueue makes a job's script from: one worker of one dask thread, with all the job's cores and memory."""
    options = parsed_options(text)
    time, memory = options.pop("time"), options.pop("mem")
    cores = int(options.pop("cpus-per-task", "1"))
    return {
        "job_name": "flowgru",
        "queue": options.pop("partition", None),
        "account": options.pop("account", None),
        "walltime": time,
        "cores": 1,
        "processes": 1,
        "job_cpu": cores,
        "memory": _as_bytes(memory),
        "job_mem": memory,
        "python": sys.executable,
        "job_extra_directives": [f"--{name}={value}" for name, value in options.items()],
        "job_script_prologue": [*MEMORY_KEPT],
        "death_timeout": 300,
    }


def slurm_cluster(text: str) -> Any:
    """A cluster of jobs; none is queued yet. Its dashboard is for this machine alone."""
    from dask_jobqueue.slurm import SLURMCluster

    return SLURMCluster(**job_settings(text), scheduler_options={"dashboard_address": "127.0.0.1:0"})


def _as_bytes(memory: str) -> str:
    """SLURM's 16G, which is 16 GiB, and its plain number, which counts MiB, as dask reads it."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", memory.upper())
    if found is None:
        raise RequestError(f"--slurm: mem is {memory!r}, expected a number with K, M, G or T")
    return f"{found[1]}{found[2] or 'M'}iB"

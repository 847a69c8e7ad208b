"""The benchmarks of speed and memory in order, unattended, into one folder; what could not run is written as not run.

python benchmarks/everything.py --output results_new [--device auto] [--minutes 120] [--quick] [--only scan memory_4k]

The folder gets results.md (all tables), results.jsonl (each row with its conditions) and log.txt (what else was said).
On a CUDA device the Triton kernels' tests come first. --minutes is for everything together: a script that would
not end in it is stopped, and keeps the rows that it has. --quick takes tiny sizes: it shows that everything runs.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from session import Step, run

TRITON_TESTS = [
    "kernels/test_kernels.py::test_triton_runs_on_the_gpu_that_is_there",
    *("scan/test_scan.py", "layers/test_channel_norm.py", "model/correlation/test_correlation_triton.py"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda")
    parser.add_argument("--threads", type=int, help="of the CPU; default: PyTorch's choice")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", nargs="+", default=[], help="names of steps")
    given = parser.parse_args()
    if given.device == "auto":
        import torch  # a child of this process needs the device's memory more than this process does

        given.device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = {step.name: step for step in steps(given)}
    if unknown := [name for name in given.only if name not in chosen]:
        parser.error(f"--only names {', '.join(unknown)}: the steps are {', '.join(chosen)}")
    given.output.mkdir(parents=True, exist_ok=True)
    results = given.output / "results.md"
    if results.exists():
        sys.exit(f"{results} exists already: name another --output")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this
    ends, failed = time.monotonic() + 60 * given.minutes, 0
    with results.open("w", encoding="utf-8") as tables, (given.output / "log.txt").open("w", encoding="utf-8") as log:
        for step in chosen.values():
            if given.only and step.name not in given.only:
                continue
            command = " ".join(["python", *step.words])
            print(f"{command}", flush=True)
            tables.write(f"\n## {step.name}\n\n    {command}\n")
            log.write(f"\n{command}\n")
            tables.flush()
            log.flush()
            began = time.monotonic()
            reason = run(step, tables, log, ends - began, given.output)
            tables.write(f"\n{reason or 'Done'} after {time.monotonic() - began:.0f} s.\n")
            print(f"  {reason or 'done'} after {time.monotonic() - began:.0f} s", flush=True)
            failed += bool(reason)
    sys.exit(1 if failed else 0)


def steps(given: argparse.Namespace) -> Iterator[Step]:
    """Short and most wanted first."""
    on_cuda, quick = given.device.startswith("cuda"), given.quick
    threads = [] if given.threads is None else ["--threads", str(given.threads)]
    small, large = ("128x160", "128x192") if quick else ("440x1024", "1088x1920")
    count = 2 if quick else 12

    def step(name: str, script: str, *options: object, rounds: int) -> Step:
        if on_cuda and script not in ("memory", "scan"):  # what takes milliseconds can take more turns
            rounds *= 4
        counted = ["--rounds", str(2 if quick else rounds), "--device", given.device, *threads]
        return Step(name, [f"benchmarks/{script}.py", *map(str, options), *counted])

    if on_cuda:
        tests = [f"tests/{name}" for name in TRITON_TESTS]
        bare = ["-o", "addopts=", "-p", "no:cacheprovider"]  # a machine for benchmarks may have no plugin of pytest
        yield Step(
            "tests", ["-m", "pytest", "-q", *bare, "--gpu", "-k", "triton", *tests], writes_rows=False, in_report=True
        )
    yield step("operators", "operators", "--size", small, *["--operators", "conv_gru"] * quick, rounds=25)
    against = ["--size", small, *["--autocast"] * on_cuda]
    methods = ["all_pairs", "on_demand"] if on_cuda else ["all_pairs"]
    both = [*against, "--iterations", count, "--frames", 2, 3 if quick else 10]
    yield step("pair_and_video", "against_torchvision", *both, "--correlation", *methods, "--classical", rounds=5)
    if not quick:
        once = [*against, "--iterations", 12, "--frames", 2]
        if given.compile:
            networks = ["--networks", "large"] if on_cuda else []
            yield step("compiled", "against_torchvision", *once, *networks, "--compile", rounds=7)
        yield step("pair_32", "against_torchvision", *against, "--iterations", 32, "--frames", 2, rounds=5)
    yield step("scan", "scan", "--lengths", *([16, 64] if quick else [16, 64, 256, 1024, 4096]), rounds=31)
    if not on_cuda:
        yield step("convolution", "convolution", "--size", small, rounds=15)
    yield step("lookup", "lookup", "--sizes", small, *[large] * (not quick), rounds=9)
    ways = ["torchvision", "all_pairs", "on_demand", *["on_demand,compiled"] * (given.compile and not quick)]
    yield step("memory", "memory", "--sizes", large, "--iterations", count, "--methods", *ways, rounds=3)
    if not quick:
        yield step("memory_4k", "memory", "--sizes", "2160x3840", "--methods", "on_demand", rounds=1)
        yield step("video_32", "against_torchvision", *against, "--iterations", 32, "--frames", 10, rounds=3)


if __name__ == "__main__":
    main()

"""The Triton kernels keep the contract of test_scan.py, in Triton's interpreter, which is chosen before the import."""

import os
import subprocess
import sys

import pytest
from interpreter import needs_interpreter
from paths import ROOT


def interpreted(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=880,
    )


@needs_interpreter
@pytest.mark.timeout(900)
def test_the_kernels_keep_the_contract_of_every_backend():
    run = interpreted("-m", "pytest", "tests/scan/test_scan.py", "-q", "-k", "triton", "-p", "no:cacheprovider")
    assert run.returncode == 0 and " passed" in run.stdout and " skipped" not in run.stdout, run.stdout[-3000:]


LAUNCHES = """
import torch
from flowgru.scan import scan_directions, triton_kernels
launch, kernels = triton_kernels._launch, []
triton_kernels._launch = lambda kernel, *rest: (kernels.append(kernel.fn.__name__), launch(kernel, *rest))
decay, update = (torch.rand(1, 8, 5, 9, requires_grad=True) for _ in range(2))
ways = ((3, False), (3, True), (2, False), (2, True))
scan_directions(decay, update, ways, backend="triton").sum().backward()
print(*kernels)
"""


@needs_interpreter
@pytest.mark.timeout(900)
def test_four_directions_are_one_launch_and_so_is_their_gradient():
    run = interpreted("-c", LAUNCHES)
    assert run.stdout.split() == ["_scan_kernel", "_gradient_kernel"], run.stderr[-3000:]

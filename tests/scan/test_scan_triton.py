"""The Triton kernels keep the contract of test_scan.py, and stay one launch in a compiled graph.

They run in Triton's interpreter, which is chosen before the import. Graphs are compiled in processes of their own:
PyTorch's compiler cannot trace the tests' type checks.
"""

import os
import subprocess
import sys

import interpreter
import pytest
from interpreter import needs_interpreter, run_alone
from paths import ROOT


def interpreted(code: str) -> subprocess.CompletedProcess[str]:
    return run_alone(code, TRITON_INTERPRET="1")


@pytest.mark.parametrize(
    ("triton", "numpy", "works"), [("3.6.0", "2.5.1", False), ("3.6.0", "2.4.9", True), ("3.7.0", "2.5.0", True)]
)
def test_where_the_interpreter_does_not_work_its_tests_skip_and_say_why(monkeypatch, triton, numpy, works):
    monkeypatch.setattr(interpreter, "version", {"triton": triton, "numpy": numpy}.__getitem__)
    reason = interpreter.why_not_interpreted()
    assert reason == (None if works else f"the interpreter of Triton {triton} does not work with NumPy {numpy}")


@needs_interpreter
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_the_kernels_keep_the_contract_of_every_backend():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/scan/test_scan.py", "-q", "-k", "triton", "-p", "no:cacheprovider"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert run.returncode == 0 and " passed" in run.stdout and " skipped" not in run.stdout, run.stdout[-3000:]


LAUNCHES = """
import torch
from flowgru.scan import scan_directions, triton_kernels
launched, kernels = triton_kernels.launch, []
triton_kernels.launch = lambda kernel, *rest: (kernels.append(kernel.fn.__name__), launched(kernel, *rest))
decay, update = (torch.rand(1, 8, 5, 9, requires_grad=True) for _ in range(2))
ways = ((3, False), (3, True), (2, False), (2, True))
scan_directions(decay, update, ways, backend="triton").sum().backward()
print(*kernels)
"""


@needs_interpreter
@pytest.mark.timeout(900)
def test_four_directions_are_one_launch_and_so_is_their_gradient():
    run = interpreted(LAUNCHES)
    assert run.stdout.split() == ["scan_kernel", "gradient_kernel"], run.stderr[-3000:]


FAR = """
import torch
from flowgru.scan import linear_scan

memory = torch.empty(2**31 + 8, dtype=torch.bfloat16).untyped_storage()  # what is never touched takes no place

def far(place):
    return torch.empty(0, dtype=torch.bfloat16).set_(memory, place, (2, 3), (1, 2**30)).copy_(torch.rand(2, 3))

decay, update, grad = (far(place) for place in (0, 2, 4))
results = []
for backend in ("sequential", "triton"):
    leaves = [values.detach().requires_grad_() for values in (decay, update)]
    states = linear_scan(*leaves, backend=backend)
    results.append([states, *torch.autograd.grad(states, leaves, grad)])
torch.testing.assert_close(*results)
print("equal")
"""


@needs_interpreter
def test_steps_may_lie_further_apart_than_32_bits_count():
    run = interpreted(FAR)
    assert run.stdout.split() == ["equal"], (run.returncode, run.stderr[-3000:])


COMPILED = """
import torch
from torch._dynamo.backends.common import aot_autograd
from functorch.compile import make_boxed_func
from flowgru.scan import scan_directions

ways, operations = ((3, False), (3, True), (2, False), (2, True)), []

def note(graph, inputs):
    operations.append([str(node.target) for node in graph.graph.nodes if "flowgru" in str(node.target)])
    return make_boxed_func(graph)

def scan(decay, update):
    return scan_directions(decay, update, ways, backend="triton")

leaves, weight = [torch.rand(2, 8, 5, 9, requires_grad=True) for _ in range(2)], torch.randn(2, 8, 5, 9)
compiled = torch.compile(scan, backend=aot_autograd(fw_compiler=note, bw_compiler=note), fullgraph=True)(*leaves)
expected = scan_directions(*leaves, ways, backend="sequential")
torch.testing.assert_close(compiled, expected)
torch.testing.assert_close(*(torch.autograd.grad(states, leaves, weight) for states in (compiled, expected)))
assert operations == [["flowgru.scan.default"], ["flowgru.scan_gradient.default"]], operations
"""


@needs_interpreter
@pytest.mark.timeout(900)
def test_a_compiled_graph_has_one_operation_for_all_directions_and_one_for_their_gradient():
    run = interpreted(COMPILED)
    assert run.returncode == 0, run.stderr[-3000:]


CHECKED = """
import torch
from flowgru.scan.launched import launched_gradient, launched_scan

for layout in (torch.contiguous_format, torch.channels_last):
    for dtypes in ((torch.float32, torch.float32), (torch.float32, torch.bfloat16)):  # as under autocast
        decay, update, grad = (torch.rand(1, 4, 3, 5).contiguous(memory_format=layout) for _ in range(3))
        decay, update, grad = decay.to(dtypes[0]), update.to(dtypes[1]), grad.to(dtypes[1])
        states = launched_scan(decay, update, [3, 2], [False, True])
        torch.library.opcheck(launched_scan, (decay, update, [3, 2], [False, True]))
        torch.library.opcheck(launched_gradient, (decay, states, grad, [3, 2], [False, True]))
        torch.library.opcheck(launched_scan, (decay[0, 0], update[0, 0], [1], [True]))
"""


@needs_interpreter
@pytest.mark.timeout(900)
def test_the_operations_are_what_the_compiler_is_told():
    run = interpreted(CHECKED)
    assert run.returncode == 0, run.stderr[-3000:]


STEP = """
import sys, torch
from contextlib import nullcontext
from fake_cuda import fake_cuda
from flowgru.operators import make_operator

name, where, mode = sys.argv[1:]
operations = []

def note(graph, inputs):
    modules = [module for module in graph.modules() if isinstance(module, torch.fx.GraphModule)]
    operations.extend(str(node.target) for module in modules for node in module.graph.nodes)
    return graph

with fake_cuda() if where == "cuda" else nullcontext(), torch.set_grad_enabled(mode == "training"):
    operator = make_operator(name, 16, 12, 8)
    hidden, context, motion = (torch.rand(2, size, 6, 7) for size in (16, 8, 12))
    step = torch.compile(operator.step, backend=note, fullgraph=True)
    hidden, _ = step(motion, operator.begin(hidden, context))
    assert hidden.device.type == where
print(*(operation for operation in operations if operation.startswith("flowgru")))
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("operator", ["conv_min_gru", pytest.param("conv_min_lstm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["training", "inference"])
def test_a_compiled_refinement_on_cuda_has_one_scan(operator, mode):
    pytest.importorskip("triton")
    run = run_alone(STEP, operator, "cuda", mode)
    gradient = ["flowgru.scan_gradient.default"] * (mode == "training")
    assert run.stdout.split() == ["flowgru.scan.default", *gradient], run.stderr[-3000:]


@pytest.mark.timeout(900)
def test_a_compiled_refinement_on_a_cpu_needs_no_kernel():
    run = run_alone(STEP, "conv_min_gru", "cpu", "training")
    assert run.returncode == 0 and not run.stdout.split(), run.stderr[-3000:]


ON_CUDA = """
import torch
from fake_cuda import fake_cuda
from flowgru.scan import linear_scan

operations = []

def note(graph, inputs):
    operations.extend(str(node.target) for node in graph.graph.nodes if "flowgru" in str(node.target))
    return graph

with fake_cuda(), torch.no_grad():
    torch.compile(linear_scan, backend=note, fullgraph=True)(*torch.rand(2, 1, 8, 5, 9))
print(*operations)
"""


def test_a_compiled_graph_on_cuda_has_the_scan_as_one_operation():
    pytest.importorskip("triton")
    run = run_alone(ON_CUDA)
    assert run.stdout.split() == ["flowgru.scan.default"], run.stderr[-2000:]

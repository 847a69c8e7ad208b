"""Where Triton's kernels cannot run, a GPU computes by PyTorch's own operations, and a line says so once."""

import subprocess
import sys
import warnings

import pytest
import torch
from fake_cuda import fake_cuda
from paths import ROOT

from flowgru import kernels
from flowgru.config import NetworkConfig
from flowgru.model.flow_network import FlowNetwork
from flowgru.scan import linear_scan, preferred_backend

CUDA = torch.device("cuda", 0)

FAULTS = {
    "no compiler": RuntimeError("Failed to find C compiler. Please specify via CC environment variable or set more"),
    "no headers": subprocess.CalledProcessError(1, ["/usr/bin/gcc", "cuda_utils.c"]),
    "no folder": PermissionError(13, "Permission denied", "/.triton"),
    "an old GPU": ValueError("type fp8e4nv not supported in this architecture"),
}


@pytest.fixture
def tried_anew():
    """Whatever is known of a device is forgotten before and after."""
    kernels._tried.cache_clear()
    yield
    kernels._tried.cache_clear()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_where_a_kernel_cannot_run_a_line_says_why_once(monkeypatch, tried_anew, fault):
    pytest.importorskip("triton")

    def refuse(device):
        raise fault

    monkeypatch.setattr("flowgru.kernels.probe.run_probe", refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        assert not kernels.takes_triton(CUDA) and not kernels.takes_triton(CUDA)
    (line,) = [str(each.message) for each in said]
    assert "\n" not in line and "compute the same" in line and str(fault).splitlines()[0][:200] in line


@pytest.mark.parametrize("installed", [True, False])
def test_what_a_kernel_computes_else_pytorch_does(monkeypatch, tried_anew, installed):
    """Fake tensors of CUDA go through all of the network; whoever launches a kernel fails."""
    tried = kernels._tried

    def refuse(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(kernels, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("flowgru.kernels.probe.run_probe", refuse)
    with fake_cuda(), monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore" if installed else "error")
        patched.setattr(kernels, "_tried", tried)
        for place in ("scan.triton_kernels", "layers.triton_norm", "model.correlation.triton_all_pairs"):
            patched.setattr(f"flowgru.{place}.launch", refuse)
        network = FlowNetwork(NetworkConfig("compact", "conv_min_gru"))
        first, second = torch.rand(2, 1, 3, 128, 128)
        assert network(first, second, iterations=1).flows[0].shape == (1, 2, 128, 128)
        assert preferred_backend("auto", first) == "blelloch"
        with pytest.raises(ValueError, match=r"cannot run: (Failed to find C compiler|triton is not installed)"):
            linear_scan(first, first, backend="triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_triton_runs_on_the_gpu_that_is_there(tried_anew):
    assert kernels.why_not_triton(CUDA) is None


def test_a_cpu_is_not_asked(monkeypatch):
    monkeypatch.setattr(kernels, "_tried", lambda device: pytest.fail("asked"))
    assert not kernels.takes_triton(torch.device("cpu"))


def test_the_compiler_of_pytorch_is_not_imported_for_it():
    """It takes longer than all else of a command's start."""
    code = "import sys, flowgru.kernels, flowgru.scan; assert 'torch._dynamo' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

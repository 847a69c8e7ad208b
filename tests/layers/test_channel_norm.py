"""The kernel of the channel norm is torch's layer norm with a ReLU after it, in values and gradients."""

import pytest
import torch
from fake_cuda import fake_cuda
from interpreter import require_equal, run_alone, runs_kernels

from flowgru.layers.channel_norm import ChannelNorm

triton = pytest.importorskip("triton")

PARITY = """
import torch
from flowgru.layers.triton_norm import FusedChannelNorm

device = "cuda" if torch.cuda.is_available() else "cpu"
sizes = [(2, 24, 5, 7), (1, 80, 3, 4), (1, 3, 1, 3), (1, 5, 40, 70)]
cases = [(size, dtype, relu) for size in sizes for dtype in (torch.float32, torch.bfloat16) for relu in (False, True)]
for size, dtype, relu in cases:
    torch.manual_seed(0)
    maps = (3 * torch.randn(size, device=device) + 1).to(dtype)
    if size[0] > 1:
        maps = maps.contiguous(memory_format=torch.channels_last)
    weight, bias, by = (torch.randn(each, device=device) for each in (size[1], size[1], size))
    by = by.to(dtype).float()  # as a gradient in sixteen bits is
    results = []
    for fused in (False, True):
        leaves = [each.clone().requires_grad_() for each in (maps, weight, bias)]
        if fused:
            found = FusedChannelNorm.apply(*leaves, relu)
            assert found.dtype == dtype and found.permute(0, 2, 3, 1).is_contiguous()
        else:
            last = leaves[0].float().permute(0, 2, 3, 1)
            found = torch.nn.functional.layer_norm(last, (size[1],), *leaves[1:]).permute(0, 3, 1, 2)
            found = torch.relu(found) if relu else found
        results.append([found.float(), *torch.autograd.grad((found.float() * by).sum(), leaves)])
    for name, expected, found in zip(("values", "maps", "weight", "bias"), *results, strict=True):
        assert found.shape == expected.shape and found.dtype == expected.dtype, name
        error, scale = (found - expected).abs().max().item(), expected.abs().max().item()
        rounding = 1e-5 if dtype == torch.float32 else 2**-7
        assert error <= rounding * scale, (name, size, dtype, relu, error, scale)
print("equal")
"""


@runs_kernels
def test_values_and_gradients_of_the_triton_kernel_are_those_of_layer_norm():
    require_equal(PARITY)


NO_NUMBER = """
import torch
from flowgru.layers.triton_norm import FusedChannelNorm

device = "cuda" if torch.cuda.is_available() else "cpu"
maps, weight, bias = (torch.rand(*size, device=device) for size in ((1, 5, 2, 3), (5,), (5,)))
maps[0, 2, 1, 1] = torch.inf  # as sixteen bits overflow
leaves = [each.requires_grad_() for each in (maps, weight, bias)]
for relu in (False, True):
    found = FusedChannelNorm.apply(*leaves, relu)
    last = torch.nn.functional.layer_norm(maps.permute(0, 2, 3, 1), (5,), weight, bias).permute(0, 3, 1, 2)
    expected = torch.relu(last) if relu else last
    assert expected.isnan().sum() == 5 and torch.equal(found.isnan(), expected.isnan()), relu
    grads = [torch.autograd.grad(each.sum(), leaves) for each in (found, expected)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5, equal_nan=True)
print("equal")
"""


@runs_kernels
def test_what_is_no_number_stays_so_in_the_triton_kernel():
    require_equal(NO_NUMBER)


@pytest.mark.parametrize("relu", [False, True])
def test_sixteen_bit_maps_stay_so_on_cuda(relu):
    with fake_cuda(), torch.autocast("cuda", dtype=torch.bfloat16):
        found = ChannelNorm(24)(torch.rand(2, 24, 6, 7, dtype=torch.bfloat16), relu=relu)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)


def test_a_relu_inside_is_the_one_after():
    norm, maps = ChannelNorm(5), torch.randn(2, 5, 3, 4)
    assert torch.equal(norm(maps, relu=True), torch.relu(norm(maps)))


COMPILED = """
import torch
from fake_cuda import fake_cuda
from flowgru.layers.channel_norm import ChannelNorm

operations = []

def note(graph, inputs):
    operations.extend(str(node.target) for node in graph.graph.nodes)
    return graph

with fake_cuda(), torch.no_grad():
    torch.compile(ChannelNorm(8), backend=note, fullgraph=True)(torch.rand(1, 8, 3, 4), relu=True)
print(*operations)
"""


def test_a_compiled_graph_on_cuda_is_made_of_operations_that_the_compiler_knows():
    run = run_alone(COMPILED)
    assert "layer_norm" in run.stdout and "relu_" in run.stdout, run.stderr[-2000:]

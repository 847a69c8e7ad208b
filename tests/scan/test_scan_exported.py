"""A scan in an exported or a compiled graph gives what it gives by itself."""

import pytest
import torch
from interpreter import run_alone

from flowgru.scan import linear_scan
from flowgru.scan.fixed_depth import scans_of_up_to


@pytest.mark.parametrize("dim", [2, 3])
def test_an_exported_scan_is_short_and_gives_the_same(dim):
    class Scan(torch.nn.Module):
        def forward(self, decay, update):
            return linear_scan(decay, update, dim=dim)

    decay, update = torch.rand(1, 32, 64, 64), torch.randn(1, 32, 64, 64)
    program = torch.export.export(Scan(), (decay, update))
    torch.testing.assert_close(program.module()(decay, update), linear_scan(decay, update, dim=dim))
    assert sum("addcmul" in str(node.target) for node in program.graph.nodes) < 20  # a loop would have 63


@pytest.mark.parametrize("reverse", [False, True])
def test_rounds_for_longer_sequences_change_nothing(reverse):
    decay, update = torch.rand(3, 37, 2), torch.randn(3, 37, 2)
    with scans_of_up_to(500):
        states = linear_scan(decay, update, dim=1, reverse=reverse, backend="fixed_depth")
    expected = linear_scan(decay, update, dim=1, reverse=reverse, backend="fixed_depth")
    assert torch.equal(states, expected)
    torch.testing.assert_close(states, linear_scan(decay, update, dim=1, reverse=reverse, backend="sequential"))


def test_an_exported_scan_takes_sequences_of_any_length():
    class Scan(torch.nn.Module):
        def forward(self, decay, update):
            return linear_scan(decay, update, dim=2)

    length = torch.export.Dim("length", min=2, max=100)
    with scans_of_up_to(100):
        shapes = ({2: length}, {2: length})
        program = torch.export.export(Scan(), (torch.rand(1, 3, 40), torch.randn(1, 3, 40)), dynamic_shapes=shapes)
    for steps in (2, 41, 100):
        decay, update = torch.rand(1, 3, steps), torch.randn(1, 3, steps)
        expected = linear_scan(decay, update, dim=2, backend="sequential")
        torch.testing.assert_close(program.module()(decay, update), expected)


COMPILED = """
import torch
from flowgru.scan import preferred_backend, scan_directions

def scan(decay, update):
    assert preferred_backend("auto", update) == "blelloch"  # and not what an exported graph gets
    return scan_directions(decay, update, ((3, False), (3, True), (2, False), (2, True)))

leaves = [torch.rand(1, 8, 12, 20, requires_grad=True) for _ in range(2)]
states, expected = torch.compile(scan, backend="aot_eager", fullgraph=True)(*leaves), scan(*leaves)
torch.testing.assert_close(states, expected)
torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), leaves) for x in (states, expected)))
"""


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_compiled_scan_is_one_graph_and_gives_the_same():
    # In a process of its own: PyTorch's compiler cannot trace the tests' type checks.
    run = run_alone(COMPILED)
    assert run.returncode == 0, run.stderr[-3000:]

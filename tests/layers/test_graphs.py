"""What is recorded gives what was recorded: values, gradients and buffers; here a graph is a function that is called."""

import warnings
from functools import partial

import pytest
import torch
from fake_cuda import CalledGraphs
from torch import nn

from flowgru.layers.graphs import Graphs

CPU = torch.device("cpu")


class Network(nn.Module):
    """Has statistics that a pass changes, and a weight that only some passes use."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.first, self.seldom = nn.BatchNorm1d(3), nn.Linear(3, 4), nn.Parameter(torch.ones(4))

    def add_gradient(self, values, *, seldom=False):
        found = self.first(self.norm(values))
        loss = ((found * self.seldom if seldom else found) ** 3).mean()
        loss.backward()
        return loss.detach(), found.detach()

    def state(self):
        gradients = {name: weight.grad for name, weight in self.named_parameters()}
        return gradients, dict(self.named_buffers())


def made(network, recorder, **options):
    options = {"each": "step", "most": 9, "agree": lambda found, expected: True, "trained": network, **options}
    return Graphs(CPU, recorder=recorder, **options)


def steps(network, calls, compute):
    """The results, gradients and buffers after each step; a step has several parts, each with or without `seldom`."""
    found, generator = [], torch.Generator().manual_seed(1)
    for parts in calls:
        network.zero_grad(set_to_none=True)
        results = [compute(seldom, torch.randn(5, 3, generator=generator)) for seldom in parts]
        found.append((results, *(dict(each) for each in copied(network.state()))))
    return found


def copied(states):
    return [{name: None if value is None else value.clone() for name, value in state.items()} for state in states]


@pytest.mark.parametrize(
    ("calls", "num_recorded", "num_replayed"),
    [
        ([[False]] * 4, 1, 3),
        ([[False], [True], [False, False], [True, True], [False], [True], [True, True], [False]], 2, 9),
        ([[False], [False], [True, False]], 1, 2),  # a gradient that was begun without a graph is gone on with by one
        ([[False], [True, False], [False], [False]], 1, 2),  # what a later part adds is not known by itself
    ],
)
def test_a_step_has_the_same_bits_whether_it_is_replayed_or_not(calls, num_recorded, num_replayed, recwarn):
    plain, network, recorder = Network(), Network(), CalledGraphs()
    recorded = made(network, recorder)
    expected = steps(plain, calls, lambda seldom, values: plain.add_gradient(values, seldom=seldom))
    found = steps(
        network,
        calls,
        lambda seldom, values: recorded.call(seldom, partial(network.add_gradient, seldom=seldom), (values,)),
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert any(gradients["seldom"] is None for _, gradients, _ in found)
    assert (recorder.num_recorded, recorder.num_replayed) == (num_recorded, num_replayed) and not recwarn


def test_gradients_of_graphs_stay_where_they_are_and_results_are_copies():
    network, recorder = Network(), CalledGraphs()
    recorded, places, results = made(network, recorder), set(), []
    for number in range(5):
        network.zero_grad(set_to_none=True)
        results.append(recorded.call(0, network.add_gradient, (torch.randn(5, 3),))[1])
        if number > 1:
            places.add(
                tuple(weight.grad.data_ptr() for weight in network.first.parameters() if weight.grad is not None)
            )
    assert len(places) == 1 and len({values.data_ptr() for values in results}) == 5


def test_a_gradient_that_is_not_finite_is_not_compared_and_the_next_one_is_recorded():
    network, recorder = Network(), CalledGraphs()
    recorded = made(network, recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1, torch.inf, 1, 1):
            network.zero_grad(set_to_none=True)
            recorded.call(0, network.add_gradient, (scale * torch.randn(5, 3),))
            network.norm.reset_running_stats()
    assert (recorder.num_recorded, recorder.num_replayed) == (1, 2)


@pytest.mark.parametrize("fault", ["refuses", "has another gradient", "has another result", "lacks memory"])
def test_where_a_graph_cannot_be_used_a_line_says_so_once_and_nothing_changes(fault):
    plain, network = Network(), Network()

    def recorder(function, device):
        if fault == "refuses":
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        if fault == "lacks memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        replay, found = CalledGraphs()(function, device)
        return (lambda: None) if fault == "has another gradient" else replay, found

    recorded = made(network, recorder, agree=lambda found, expected: fault != "has another result")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        found = steps(network, [[False]] * 4, lambda _, values: recorded.call(0, network.add_gradient, (values,)))
    assert len(said) == 1
    assert all("each step is computed as with --no-cuda-graph" in str(each.message) for each in said)
    assert all("\n" not in str(each.message) for each in said)
    expected = steps(plain, [[False]] * 4, lambda _, values: plain.add_gradient(values))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_all_graphs_of_one_layout_read_the_same_tensors():
    given, recorder = [], CalledGraphs()
    recorded = made(None, recorder)

    def function(values):
        given.append(values.data_ptr())
        return values + 1

    for kind in (0, 0, 1, 1):
        values = torch.randn(3)
        assert torch.equal(recorded.call(kind, function, (values,)), values + 1)
    assert given[1] != given[2] == given[3] == given[6] == given[7]


def test_where_kinds_take_turns_that_there_is_no_room_for_few_are_recorded_again():
    recorder = CalledGraphs()
    recorded = made(None, recorder, most=2)
    for number in range(300):
        values = torch.randn(3)
        assert torch.equal(recorded.call(number % 3, lambda values: values + 1, (values,)), values + 1)
    assert recorder.num_recorded < 12 and recorder.num_replayed > 100


def test_other_arithmetic_has_another_graph(monkeypatch):
    recorder = CalledGraphs()
    recorded = made(None, recorder)
    for number in range(4):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", number >= 2)
        recorded.call(0, lambda values: values + 1, (torch.randn(3),))
    assert recorder.num_recorded == 2

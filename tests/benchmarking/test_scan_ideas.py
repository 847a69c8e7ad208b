"""Each idea keeps the contract of an operator, and is conv_min_gru but for the one thing that it changes."""

import json
import sys

import pytest
import torch

from flowgru import operators
from flowgru.operators.contract import broken_contract
from flowgru.operators.conv_min_gru import ConvMinGRU

SIZES = 16, 8, 12
"""Channels of the hidden state, the motion features and the context."""

OWN = ("coarser", "of_the_picture", "of_matches")


@pytest.fixture
def ideas(script, monkeypatch):
    monkeypatch.setattr(operators, "UPDATE_OPERATORS", dict(operators.UPDATE_OPERATORS))
    return script("scan_ideas")


def steps(operator):
    """The hidden states of two refinements of random maps."""
    torch.manual_seed(1)
    hidden, motion, context = (torch.randn(2, size, 6, 10) for size in SIZES)
    state = operator.begin(hidden, context)
    found = []
    for _ in range(2):
        out, state = operator.step(motion, state)
        found.append(out)
    return torch.stack(found)


@pytest.mark.parametrize("name", OWN)
def test_an_idea_keeps_the_contract_of_an_operator(ideas, name):
    assert broken_contract(operators.find_operator(name)(*SIZES)) is None


@pytest.mark.parametrize("size", [(6, 10), (5, 7)])
def test_a_scan_of_cells_carries_over_cells_and_stays_where_it_is(ideas, size):
    coarser, plain = ideas.Coarser(*SIZES), ConvMinGRU(*SIZES, form="cand")
    decay, value = (torch.rand(2, 16, 1, 1).expand(-1, -1, *size).contiguous() for _ in range(2))
    torch.testing.assert_close(coarser._scanned(decay, value, value), plain._scanned(decay, value, value))
    # Where nothing is let through, a ramp is a ramp of cells again, in the same place but at the edges.
    ramp = torch.arange(float(size[1])).expand(1, 16, *size).contiguous()
    found = coarser._scanned(torch.zeros_like(ramp), ramp, ramp)
    torch.testing.assert_close(found[..., 1:-2], ramp[..., 1:-2])
    # What is let through reaches the whole row in cells of two pixels, at one half of it for each.
    value = torch.zeros(1, 16, *size)
    value[..., :2] = 1
    found = coarser._scanned(torch.full_like(value, 0.5), value, value)[0, 0, 0]
    torch.testing.assert_close(found[1::2][:2], torch.tensor([0.875, 0.4375]))


def test_a_scan_of_the_picture_has_gates_that_see_the_context_alone(ideas):
    idea, plain = ideas.OfThePicture(*SIZES), ConvMinGRU(*SIZES, form="cand", reach=64.0)
    idea.carried.weight.data.normal_()
    known = idea.state_dict()
    weights = plain.state_dict()
    weights["carried.weight"], weights["gates.context.weight"] = known["carried.weight"], known["gates.context.weight"]
    for name in ("weight", "bias"):
        weights[f"gates.recurrent.{name}"][:32] = known[f"gates.recurrent.{name}"]
    weights["gates.recurrent.weight"][32:] = 0
    plain.load_state_dict(weights)
    torch.testing.assert_close(steps(idea), steps(plain))


def test_a_scan_of_matches_adds_nothing_at_first_and_reaches_far_later(ideas):
    idea = ideas.OfMatches(*SIZES)
    plain = ConvMinGRU(*SIZES, form="cand", scan=False)
    plain.load_state_dict(idea.state_dict(), strict=False)
    assert torch.equal(steps(idea), steps(plain))
    idea.aggregated.weight.data.normal_()
    motion = torch.zeros(1, 8, 1, 30)
    state = idea.begin(torch.zeros(1, 16, 1, 30), torch.zeros(1, 12, 1, 30))
    nothing, _ = idea.step(motion, state)
    motion[..., 0] = 1
    found, _ = idea.step(motion, state)
    assert (found - nothing)[..., 25].abs().max() > 1e-5


def test_the_ideas_are_rows_under_the_recipe_of_the_study(ideas, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scan_ideas", "--output", "out", "--seeds", "0"])
    words = ideas.words()
    rows = json.loads(words[words.index("--rows") + 1])
    trained = ["conv_min_gru_no_scan", "conv_min_gru", "longer", *OWN]
    assert [row["name"] for row in rows] == ["seq_conv_gru", *trained]
    assert words[words.index("--operators") + 1] == ",".join(trained) and words[-4:] == sys.argv[1:]
    monkeypatch.setattr(sys, "argv", ["scan_ideas", "--operators", "coarser"])
    assert ideas.words().count("--operators") == 1

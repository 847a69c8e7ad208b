"""Rows of a comparison differ by their operator alone, and are as wide as their regime says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comparisons import TINY, TINY_ROWS

from flowgru.commands.compare import compare
from flowgru.comparison.folder import ComparisonFolder
from flowgru.comparison.plan import TOLERANCE, plan_rows, run_config, select_rows
from flowgru.config import NetworkConfig, RowConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.parser import TaskParser
from flowgru.training.feeding.pairs import training_pairs


def test_rows_differ_by_their_operator_alone():
    one, other = (replace(TINY.training.network, operator=name) for name in TINY_ROWS[:2])
    first, second = (run_config(TINY, network, 1, 5, Path("initial")) for network in (one, other))
    assert replace(first, network=other) == second
    for index in (0, 3):
        pair, same = training_pairs(first)[index], training_pairs(second)[index]
        assert torch.equal(pair.first, same.first) and torch.equal(pair.flow, same.flow)
    another_seed = run_config(TINY, one, 0, 5, Path("initial"))
    assert not torch.equal(training_pairs(another_seed)[0].flow, training_pairs(first)[0].flow)


def test_equal_parameters_are_within_the_tolerance_and_the_reference_keeps_its_width():
    planned = {(one.regime, one.row.name): one for one in plan_rows(TINY, TINY.rows)}
    assert planned["equal_parameters", "conv_gru"].network == planned["equal_width", "conv_gru"].network
    assert {one.width for (regime, _), one in planned.items() if regime == "equal_width"} == {80}
    for one in planned.values():
        counted = sum(parameter.numel() for parameter in FlowNetwork(one.network).parameters())
        assert counted == one.parameters
        if one.regime == "equal_parameters":
            assert abs(counted / one.reference_parameters - 1) <= TOLERANCE and abs(one.difference) <= TOLERANCE
    assert planned["equal_parameters", "conv_min_gru"].width % 4 == 0


def test_a_much_larger_reference_widens_a_row_to_a_width_its_operator_takes():
    small = replace(TINY, reference="conv_min_gru", training=replace(TINY.training, network=NetworkConfig("large")))
    planned = plan_rows(small, select_rows(small, ["seq_conv_gru"]))
    widths = {one.regime: one.width for one in planned}
    assert widths["equal_width"] == 128 and widths["equal_parameters"] != 128
    assert abs(planned[1].difference) <= TOLERANCE


def test_the_rows_of_an_operator_are_named_where_its_own_name_is_given():
    rows = tuple(RowConfig(f"{number} conv".replace(" ", "_"), "conv_relu") for number in (1, 2))
    with pytest.raises(RequestError, match="'conv_relu': the rows of that operator are called 1_conv, 2_conv; known"):
        select_rows(replace(TINY, rows=rows, reference="1_conv"), ["conv_relu"])


def test_the_settings_that_a_folder_keeps_are_those_of_the_comparison(tmp_path):
    """The command in the report names this file."""
    with ComparisonFolder(tmp_path / "results", TINY) as folder:
        folder.note(machine={})
    given = TaskParser("flowgru compare", compare).parse(
        ["--config", str(tmp_path / "results" / "config.yaml"), "--output", "results"]
    )
    assert given["config"] == TINY

"""`flowgru evaluate --reach`: errors by length, and one scene at several sizes."""

import pytest
import torch
import torch.nn.functional as F
from tables import csv_rows

from flowgru.cli import main
from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.evaluation.evaluate import Estimate
from flowgru.evaluation.measures.reach import ReachBins, measure_sizes, scene_pairs
from flowgru.evaluation.measures.sweep import Sweep


def sample_of(*lengths: float) -> FlowSample:
    """A pair of one row whose true flow has these lengths; the last pixel is not valid."""
    flow = torch.tensor([[[*lengths]], [[0.0] * len(lengths)]])
    valid = torch.ones(1, len(lengths), dtype=torch.bool)
    valid[0, -1] = False
    picture = torch.zeros(3, 1, len(lengths))
    return FlowSample(picture, picture, flow, valid, None, "made")


def test_errors_are_counted_by_the_length_of_the_true_flow():
    bins, sample = ReachBins("made"), sample_of(0.0, 3.0, 2.0, 100.0, 5.0)
    bins.add(sample, sample.flow[None] + torch.tensor([[1.0, 2.0, 4.0, float("nan"), 9.0], [0.0] * 5]).view(1, 2, 1, 5))
    assert bins.rows() == [
        ["made", 0.0, 0.5, 1.0, 0.0, 25.0],
        ["made", 2.0, 4.0, 3.0, 50.0, 50.0],
        ["made", 64.0, 128.0, float("inf"), 100.0, 25.0],
    ]


def test_the_scene_is_the_same_at_every_size():
    small, large = scene_pairs([(48, 64), (96, 128)])
    assert large.flow.norm(dim=0).mean() > 1
    # In the middle of a layer the flow of a small pixel is half of that of the four large ones that it is made of.
    coarse = F.avg_pool2d(large.flow, 2) / 2
    spread = F.max_pool2d(large.flow, 2) + F.max_pool2d(-large.flow, 2)
    inner = (spread < 0.2).all(dim=0)
    assert inner.float().mean() > 0.5
    assert ((small.flow - coarse).abs().amax(dim=0)[inner] < 0.1).float().mean() > 0.99
    shrunk = F.avg_pool2d(large.first, 2)
    assert (small.first - shrunk).abs().max() < 0.51 / 255


def test_the_motion_is_the_same_share_of_every_size_whichever_are_asked_for():
    """Also of a scene that is painted larger for one more size; the corners of what bends differ a little."""
    ((alone,), (first, _)) = scene_pairs([(96, 128)]), scene_pairs([(96, 128), (192, 256)])
    lengths = [float(pair.flow.norm(dim=0).mean()) for pair in (alone, first)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.01) and lengths[0] > 1


def test_the_files_have_the_bins_and_the_sizes(pairs, tmp_path):
    out = tmp_path / "out"
    words = (pairs, "--baseline", "zero", "--reach", "--reach-sizes", "96x128,48x64", "--time", "--output", out)
    assert main(["evaluate", *map(str, words)]) == 0
    (row,) = csv_rows(out / "reach.csv")
    assert (row["from"], row["to"], row["epe"], row["share_of_pixels"]) == ("2.0", "4.0", "2.0", "100.0")
    sizes = csv_rows(out / "reach_sizes.csv")
    assert [row["size"] for row in sizes] == ["48x64", "96x128"]
    assert all(row["epe"] == row["true_flow"] and row["epe_relative"] == "100.0" for row in sizes)
    (row,) = csv_rows(out / "time.csv")
    assert (row["pairs"], row["size"], row["precision"]) == ("1", "24x40", "") and int(row["threads"]) >= 1


def test_a_size_that_the_model_refuses_is_a_dash_and_the_others_are_measured():
    def limited(first, second, start=None, /):
        if first.shape[-1] > 64:
            raise RequestError("the file takes pictures of up to 64 px")
        return Estimate(torch.zeros(1, 2, *first.shape[-2:]))

    table, notes = measure_sizes(limited, torch.device("cpu"), [(48, 64), (96, 128)], Sweep(), {})
    assert table.rows[0][2] is not None and table.rows[1][0] == "96x128" and table.rows[1][2:] == [None] * 4
    assert notes == ["The scene of 96x128 px is left out: the file takes pictures of up to 64 px"]


def test_flows_from_files_have_bins_alone(pairs, tmp_path, capsys):
    words = (pairs, "--flows", pairs.parent, "--reach", "--output", tmp_path / "out")
    assert main(["evaluate", *map(str, words)]) == 0
    assert "The scene at several sizes is left out" in capsys.readouterr().err
    assert (tmp_path / "out/reach.csv").exists() and not (tmp_path / "out/reach_sizes.csv").exists()

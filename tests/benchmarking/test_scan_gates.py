"""The weights of what comes from afar are those of the scan itself, and a scan that is cut carries no further."""

import sys
from dataclasses import asdict

import pytest
import torch
from tables import rows_without_times

from flowgru.comparison.record import ABOUT, ComparisonRecord, RowRecord
from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.spatial_scan import STRAIGHT, scan_over_space

SIZE = 7, 9


@pytest.fixture
def gates(script):
    return script("scan_gates")


def responses(decay):
    """What each pixel's value of 1 gives in every pixel, [source, C, h, w]."""
    pixels = SIZE[0] * SIZE[1]
    values = torch.eye(pixels).reshape(pixels, 1, *SIZE).expand(-1, decay.shape[1], -1, -1).contiguous()
    return scan_over_space(decay.expand(pixels, -1, -1, -1).contiguous(), values, STRAIGHT[4])


def distances():
    """How many pixels lie between each pixel and each other one, [source, h, w], along rows and columns alone."""
    y, x = (each.flatten() for each in torch.meshgrid(*map(torch.arange, SIZE), indexing="ij"))
    return ((y[:, None] - y).abs() + (x[:, None] - x).abs()).reshape(-1, *SIZE)


@pytest.mark.parametrize("distance", [1, 2, 6])
def test_the_weight_from_afar_is_the_sum_of_what_comes_from_there(gates, distance):
    decay = torch.rand(1, 4, *SIZE)
    far = (distances() >= distance)[:, None]
    expected = (responses(decay) * far).sum(dim=0)
    found = gates.weight_beyond(decay, STRAIGHT[4], distance)
    known = ~found.isnan()
    torch.testing.assert_close(found[known], expected[known], rtol=1e-5, atol=1e-6)
    # A scan to the right has come so far in all columns but the first ones.
    assert known[0].all(dim=0).tolist() == [x >= distance for x in range(SIZE[1])]
    assert known[1].all(dim=0).tolist() == [SIZE[1] - 1 - x >= distance for x in range(SIZE[1])]


@pytest.mark.parametrize("block", [1, 3])
def test_nothing_is_carried_into_another_block(gates, block):
    decay = torch.rand(1, 4, *SIZE)
    carried = responses(gates.in_blocks(decay, STRAIGHT[4], block)) != 0
    assert carried.any() and (distances()[:, None].expand_as(carried)[carried] < block).all()
    if block > 1:
        assert (distances()[:, None].expand_as(carried)[carried] == block - 1).any()


def test_a_row_of_a_comparison_is_measured_with_and_without_its_scan(gates, monkeypatch, tmp_path, capsys):
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru", options={"form": "cand"}))
    assert isinstance(network.operator, ConvMinGRU)
    network.operator.carried.weight.data.normal_()  # of a new operator it is 0
    folder = tmp_path / "runs/a/seed0"
    folder.mkdir(parents=True)
    write_model_file(folder / "model.safetensors", network.state_dict(), {"network": asdict(network.config)})
    data = asdict(SyntheticSettings(photos=None, num_textures=4, untextured=1.0, radius=(0.3, 0.8)))
    about = ComparisonRecord(
        config={"training": {"data": data}, "test": {"seed": 5, "height": 200, "width": 256}},
        rows={"equal_parameters": {"conv_min_gru": RowRecord("conv_min_gru", folder="runs/a")}},
    )
    (tmp_path / ABOUT).write_text(about.as_text())
    words = [tmp_path, "--pairs", 2, "--threads", 1, "--json", tmp_path / "a.jsonl"]
    monkeypatch.setattr(sys, "argv", ["scan_gates", *map(str, words)])
    gates.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    let_through = [row for row in found if "mean A" in row]
    assert [(row["where"], row["in refinement"]) for row in let_through] == [
        (where, count) for where in ("64 px inside areas without texture", "with texture") for count in (1, 2, 4, 12)
    ]
    for row in let_through:
        assert 1 > row["mean A"] > 0.4 and row["from 1 away or more"] == pytest.approx(row["mean A"], abs=0.05)
        assert row["from 1 away or more"] > row["from 4 away or more"] > row["from 16 away or more"] > 0
    about.rows["equal_parameters"]["other"] = RowRecord("conv_min_gru", folder="runs/b")
    (tmp_path / ABOUT).write_text(about.as_text())
    (tmp_path / "runs/b/seed0").mkdir(parents=True)
    other = FlowNetwork(NetworkConfig("compact", "conv_min_gru", options={"scan": False}))
    card = {"network": asdict(other.config)}
    write_model_file(tmp_path / "runs/b/seed0/model.safetensors", other.state_dict(), card)
    monkeypatch.setattr(sys, "argv", ["scan_gates", str(tmp_path), "--row", "other"])
    with pytest.raises(SystemExit):
        gates.main()
    assert "other has no scan along rows and columns" in capsys.readouterr().err
    errors = [row["epe_per_image, 12 refinements"] for row in found if "carried within blocks of" in row]
    assert len(errors) == 4 and len({*errors}) == 4

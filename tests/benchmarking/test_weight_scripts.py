"""The scripts of benchmarks/ that say how good weights are."""

from dataclasses import asdict
from functools import partial

import pytest
import torch
from tables import rows_without_times

from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file


@pytest.fixture
def model(tmp_path):
    """A file of random weights whose card has every part of a way."""
    torch.manual_seed(0)
    way = {"iterations": 1, "initial_flow": "dis", "hold": 1, "polish": True, "scales": 2}
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru"))
    write_model_file(tmp_path / "a.safetensors", network.state_dict(), {"network": asdict(network.config), **way})
    return tmp_path / "a.safetensors"


def test_each_part_of_a_way_is_a_row_on_top_of_those_before_it(script, model, tmp_path, monkeypatch):
    parts = script("parts", "--model", model, "--sets", "one", "--json", tmp_path / "a.jsonl")
    settings = SyntheticSettings(height=200, width=208, photos=None, num_textures=4, speed=(2.0, 6.0))
    monkeypatch.setattr(parts, "opened", lambda names, root: [(*names, SyntheticPairs(settings, length=2))])
    parts.main()
    found = {row["row"]: row for row in rows_without_times(tmp_path / "a.jsonl")}
    assert [*found][3:] == [
        "the network alone, from zero, 12 refinements",
        "the network, 1 refinement from dis",
        "+ 1 held refinement",
        "+ 2 scales",
        "+ gate",
        "+ variational refinement",
    ]
    errors = [row["epe_per_image"] for row in found.values()]
    assert len({*errors}) == len(errors) and found["DIS"]["better than DIS"] == "0 of 2"
    assert found["zero flow"]["epe_per_image"] > found["DIS"]["epe_per_image"]


def test_weights_are_compared_pair_by_pair_with_the_first_ones_and_with_the_first_way(
    script, model, tmp_path, monkeypatch
):
    words = ("--pairs", 2, "--height", 128, "--width", 136, "--varied", "--json", tmp_path / "a.jsonl")
    paired = script("paired_models", model, model, *words)
    monkeypatch.setattr(paired, "WAYS", (Way(1, "dis"), Way(2)))
    monkeypatch.setattr(paired, "SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    paired.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [row["way"] for row in found] == 2 * [
        "initial flow of DIS > 1 refinement",
        "the network alone, 2 refinements",
    ]
    assert [row["95 % interval"] for row in found] == 4 * ["1.000 to 1.000"]
    assert [row["ratio"] for row in found] == 4 * [1.0] and {row["better pairs"] for row in found} == {0}
    assert found[0]["ratio to the first row"] == 1.0 != found[1]["ratio to the first row"]
    assert found[1]["ratio to the first row"] == pytest.approx(found[3]["ratio to the first row"])


def test_weights_are_compared_on_pairs_of_one_kind_in_the_ways_of_a_card(script, model, tmp_path, monkeypatch):
    words = ("--pairs", 2, "--height", 128, "--width", 136, "--rigid", 1, "--grey", 1, "--few-ways")
    paired = script("paired_models", model, *words, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr(paired, "SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    paired.main()
    own, alone, halved = (row["way"] for row in rows_without_times(tmp_path / "a.jsonl"))
    assert own.startswith("initial flow of DIS > 1 held refinement") and alone == "the network alone, 12 refinements"
    assert halved == own.replace("of DIS", "zero").removesuffix(" > gate > variational refinement")


def test_how_sure_a_model_is_is_told_on_the_way_that_users_get(script, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru", confidence=True))
    card = {"network": asdict(network.config), "iterations": 2, "initial_flow": "dis", "hold": 1, "polish": True}
    write_model_file(tmp_path / "sure.safetensors", network.state_dict(), card)
    words = ("--model", tmp_path / "sure.safetensors", "--pairs", 1, "--height", 128, "--width", 136)
    confidence = script("confidence", *words, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr(confidence, "SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    confidence.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    way = "initial flow of DIS > 1 held refinement > 2 refinements"
    assert [row["way"] for row in found if row["confidence"] == "all"] == [
        f"{way} > gate > variational refinement",
        way,
        "the network alone, 12 refinements",
    ]
    bins = [row for row in found if row["confidence"] != "all" and row["way"] == way]
    assert sum(row["share of the pixels"] for row in bins) == pytest.approx(1)


def test_each_choice_in_the_polish_is_a_row_beside_the_polish_as_it_is(script, model, tmp_path):
    words = ("--model", model, "--pairs", 1, "--height", 128, "--width", 136, "--json", tmp_path / "a.jsonl")
    script("polish", *words).main()
    found = {row["row"]: row for row in rows_without_times(tmp_path / "a.jsonl")}
    assert found["the polish as it is"]["ratio"] == 1.0
    errors = [row["mean, px"] for row in found.values()]
    assert len({*errors}) == len(errors) == 13
    assert found["DIS as a way begins"]["mean, px"] < found["no polish"]["mean, px"]


def test_the_further_dis_must_have_been_moved_the_fewer_pairs_begin_again(script, model, tmp_path, monkeypatch):
    words = ("--pairs", 3, "--height", 200, "--width", 208, "--json", tmp_path / "a.jsonl")
    restarts = script("restarts", model, *words)
    monkeypatch.setattr("paired_models.SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    restarts.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [found[0]["begins again above"], found[-1]["begins again above"]] == ["never", "always"]
    shares = [row["of the pairs"] for row in found]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and found[0]["ratio"] == 1
    assert found[-1]["better"] + found[-1]["worse"] == 3 and found[-1]["mean, px"] != found[0]["mean, px"]


def test_the_errors_of_parts_of_pictures_make_up_all_of_it(script, model, tmp_path, monkeypatch):
    words = ("--model", model, "--pairs", 3, "--height", 128, "--width", 136, "--varied", "--worst", 2)
    limits = script("limits", *words, "--json", tmp_path / "a.jsonl")
    monkeypatch.setattr("paired_models.SyntheticSettings", partial(SyntheticSettings, num_textures=2))
    limits.main()
    rows = rows_without_times(tmp_path / "a.jsonl")
    parts = [row for row in rows if "part" in row and row["way"] == "the network alone, 12 refinements"]
    assert [parts[0][share] for share in ("share of the pixels", "share of the errors")] == [1, pytest.approx(1)]
    for several in (parts[1:4], parts[4:]):  # by motion; hidden, beside a boundary, with and without texture
        for share in ("share of the pixels", "share of the errors"):
            assert sum(row[share] for row in several) == pytest.approx(1)
    worst = [row["mean error, px"] for row in rows if "pair" in row and row["way"] == parts[0]["way"]]
    assert len(worst) == 2 and worst == sorted(worst, reverse=True) and worst[0] > parts[0]["mean error, px"]


def test_pixels_beside_a_motion_boundary_and_those_with_texture_are_told(script):
    limits = script("limits")
    flow = torch.zeros(2, 40, 60)
    flow[0, :, 30:] = 3.0
    columns = limits.beside_a_boundary(flow)[20].nonzero()[0]
    assert [columns[0], columns[-1]] == [22, 38] and not limits.beside_a_boundary(flow / 4).any()
    picture = torch.zeros(3, 40, 60)
    picture[:, :, 30:] = torch.rand(1, 40, 30)
    assert not limits.has_texture(picture)[:, :25].any() and limits.has_texture(picture)[:, 35:].all()

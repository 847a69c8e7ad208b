"""What a run trains on and how: data sets, parts of a batch, batch norm, both losses, and weights from another network."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run
import torch
from paths import ROOT
from PIL import Image

from flowgru.cli import main
from flowgru.commands.train import train as train_command
from flowgru.config import (
    AugmentationSettings,
    NetworkConfig,
    OptimizerConfig,
    StageSet,
    SyntheticSettings,
    TrainConfig,
)
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.model.weight_files.transfer import transfer
from flowgru.parser import TaskParser
from flowgru.processes.fabric import connect
from flowgru.training.engine import begin_run
from flowgru.training.feeding.pairs import training_pairs, validation_pairs
from flowgru.training.feeding.sampler import collate
from flowgru.training.run import train
from flowgru.training.step import freeze_batch_norm, training_step

CROP = AugmentationSettings(128, 128, log2_scale=(-0.2, 0.2))
TINY = replace(
    tiny_run.TINY,
    data=replace(tiny_run.TINY.data, height=144, width=160),
    optimizer=OptimizerConfig(ema_decay=0.0),
    validation=replace(tiny_run.TINY.validation, iterations=(1, 2)),
    steps=2,
    batch_size=2,
    iterations=2,
    checkpoint_every=200,
)


@pytest.fixture
def manifest(tmp_path):
    """Three pairs of one's own, listed in a manifest."""
    rows = []
    for number, pair in enumerate(SyntheticPairs(TINY.data, length=3)):
        for name, picture in (("a", pair.first), ("b", pair.second)):
            Image.fromarray((255 * picture).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}{name}.png")
        write_flow(tmp_path / f"{number}.flo", pair.flow.permute(1, 2, 0).contiguous().numpy())
        rows.append({"first": f"{number}a.png", "second": f"{number}b.png", "flow": f"{number}.flo"})
    with (tmp_path / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["first", "second", "flow"])
        writer.writeheader()
        writer.writerows(rows)
    return str(tmp_path / "own.csv")


def test_ones_own_pairs_and_generated_ones_are_mixed_and_validated_on(manifest, tmp_path):
    sets = (StageSet(manifest, CROP), StageSet("synthetic", CROP))
    config = replace(TINY, sets=sets, validation=replace(TINY.validation, sets=(manifest, "synthetic")))
    assert {name: len(pairs) for name, pairs in validation_pairs(config).items()} == {manifest: 3, "synthetic": 1}  # pyright: ignore[reportArgumentType]
    pairs = training_pairs(config)
    names = {pairs[index].name for index in range(40)}
    assert all(pairs[index].flow.shape == (2, 128, 128) for index in range(4))
    assert any("synthetic" in name for name in names)
    network = tiny_run.final_weights(config, tmp_path / "run")
    assert all(value.isfinite().all() for value in network.values())
    card = load_model(tmp_path / "run" / "model.safetensors", "cpu").card
    assert card["held_out_epe_per_image"].keys() == {manifest, "synthetic"} and card["data"] == f"{manifest}, synthetic"


def test_parts_of_a_batch_give_the_step_of_the_whole(tmp_path):
    config = replace(TINY, steps=1, optimizer=replace(TINY.optimizer, learning_rate=1e-3))
    whole = tiny_run.final_weights(config, tmp_path / "whole")
    parts = tiny_run.final_weights(replace(config, gradient_accumulation_steps=2), tmp_path / "parts")
    start = FlowNetwork(config.network).state_dict()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=3e-5)
    assert any(not torch.equal(whole[name], start[name]) for name in whole)


def test_frozen_batch_norm_keeps_its_statistics():
    config = replace(TINY, network=NetworkConfig("large", "conv_gru"), iterations=1)
    fabric, batch = connect(torch.device("cpu"), 1, config.precision), collate([SyntheticPairs(tiny_run.TINY.data)[0]])
    run, wrapped = begin_run(fabric, config, lambda: FlowNetwork(config.network), None, compile=False)
    for frozen in (True, False):
        assert training_step(fabric, wrapped, run, replace(config, freeze_batch_norm=frozen), batch).read().loss
        weights = run.network.state_dict()
        means = [value for name, value in weights.items() if name.endswith("running_mean")]
        assert means and all((value == 0).all() for value in means) is frozen
        assert (
            all((weights[name.replace("mean", "var")] == 1).all() for name in weights if name.endswith("_mean"))
            is frozen
        )


def test_freezing_leaves_everything_but_batch_norm_in_training():
    network = FlowNetwork(NetworkConfig("large", "conv_gru")).train()
    freeze_batch_norm(network)
    frozen = {type(module).__name__ for module in network.modules() if not module.training}
    assert frozen == {"BatchNorm2d"}


def test_the_mixture_loss_trains_a_network_that_says_how_sure_it_is(tmp_path):
    config = replace(TINY, network=NetworkConfig("compact", "conv_gru", confidence=True), loss="mixture")
    tiny_run.final_weights(config, tmp_path / "run")
    network = load_model(tmp_path / "run" / "model.safetensors", "cpu")
    with torch.inference_mode():
        prediction = network(*torch.rand(2, 2, 3, 137, 129), iterations=3, final_only=True)
    assert prediction.confidence is not None and prediction.confidence.shape == (2, 137, 129)
    assert prediction.confidence.min() >= 0 and prediction.confidence.max() <= 1
    assert [mixture.shape for mixture in prediction.mixtures] == [(2, 3, 137, 129)]


@pytest.mark.parametrize("preset", ["compact", "small"])  # with convex and with bilinear upsampling
def test_confidence_changes_nothing_in_the_flow(preset):
    plain = FlowNetwork(NetworkConfig(preset, "conv_gru")).eval()
    sure = FlowNetwork(NetworkConfig(preset, "conv_gru", confidence=True)).eval()
    assert all(name.startswith("mixture_head.") for name in transfer(plain, sure))
    pair = torch.rand(2, 1, 3, 128, 136)
    with torch.inference_mode():
        flows = [network(*pair, iterations=2).flows for network in (plain, sure)]
    for one, other in zip(*flows, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_another_operator_starts_from_everything_but_the_operator(tmp_path, capsys):
    source = FlowNetwork(NetworkConfig("compact", "conv_min_gru"))
    start = tmp_path / "start.safetensors"
    write_model_file(start, source.state_dict(), {"network": {"preset": "compact", "operator": "conv_min_gru"}})
    target = FlowNetwork(TINY.network)
    left = transfer(source, target)
    assert left and all(name.startswith("operator.") for name in left)
    for name, value in target.state_dict().items():
        assert name in left or torch.equal(value, source.state_dict()[name])
    train(replace(TINY, init_from=str(start), steps=1), str(tmp_path / "run"), device="cpu")
    assert f"left at random: {left[0]}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["holes", "static_share", "noise", "blur", "colour", "furthest", "most_speed"])
@pytest.mark.parametrize("value", [math.nan, -0.1, math.inf])
def test_generated_pairs_refuse_shares_and_strengths_that_are_none(name, value):
    with pytest.raises(RequestError, match=f"data.{name} is {value}: it must be"):
        SyntheticSettings(**{name: value})


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (OptimizerConfig, "learning_rate"),
        (OptimizerConfig, "weight_decay"),
        (SyntheticSettings, "blur"),
        (SyntheticSettings, "furthest"),
    ],
)
def test_a_setting_that_is_infinite_is_told_to_be_finite(settings, name):
    with pytest.raises(RequestError, match=rf"{name} is inf: it must be .* and finite"):
        settings(**{name: math.inf})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": "chairs", "sets": (StageSet("chairs", CROP),)}, "empty where `stage` is given"),
        ({"loss": "mixture"}, "network.confidence is false: it must be true with loss mixture"),
        ({"precision": "16"}, "16 needs a GPU"),
        ({"gradient_accumulation_steps": 3}, "must be a multiple of 3"),
        ({"init_from": "nowhere.safetensors"}, "there is no model file nowhere.safetensors"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(tmp_path, changes, said):
    with pytest.raises(RequestError, match=said):
        train(replace(TINY, **changes), str(tmp_path / "run"), device="cpu")
    assert not (tmp_path / "run").exists()


def test_pairs_that_several_workers_would_make_alike_are_warned_of(tmp_path, capsys):
    train(replace(TINY, uses=4, workers=2, steps=1), str(tmp_path), device="cpu")
    assert (
        "uses is 4, and a process takes 2 pairs of a batch: several workers make the same pair"
        in capsys.readouterr().err
    )


def test_a_rate_that_falls_for_longer_than_the_run_lasts_is_warned_of(tmp_path, capsys):
    falling = OptimizerConfig(schedule="constant", decay_steps=3, ema_decay=0.0)
    train(replace(TINY, steps=2, optimizer=falling), str(tmp_path), device="cpu")
    said = "optimizer.decay_steps is 3 and the run has 2 steps: the learning rate falls from the first one on"
    assert said in capsys.readouterr().err


def test_a_checkpoint_says_what_network_it_is_of_and_its_weights_what_they_were_trained_with(tmp_path, capsys):
    network = NetworkConfig("compact", "conv_gru", texture_floor=0.05, texture_gate=True)
    train(replace(TINY, steps=1, network=network), str(tmp_path / "first"), device="cpu")
    assert load_model(tmp_path / "first/step-00000001/model.safetensors", "cpu").config == network
    begun = replace(TINY, steps=1, init_from=str(tmp_path / "first/model.safetensors"))
    capsys.readouterr()
    train(replace(begun, network=network), str(tmp_path / "second"), device="cpu")
    assert "its network has" not in capsys.readouterr().err
    train(begun, str(tmp_path / "third"), device="cpu")
    said = "its network has network.texture_floor 0.05 and network.texture_gate true, and this one another"
    assert said in " ".join(capsys.readouterr().err.split())


def test_held_out_pairs_are_no_pairs_of_the_training():
    alike = replace(TINY.validation, seed=TINY.data.seed)
    with pytest.raises(RequestError, match=r"validation\.seed is 0: it must be another seed than data.seed, 0"):
        replace(TINY, validation=alike)
    assert replace(TINY, stage="chairs", validation=alike).validation.seed == TINY.data.seed


def test_a_run_from_before_a_setting_goes_on_with_the_settings_default(tmp_path):
    train(TINY, str(tmp_path), device="cpu")
    noted = json.loads((tmp_path / "config.yaml").read_text())
    del noted["generate_on"], noted["network"]["hidden_size"]
    (tmp_path / "config.yaml").write_text(json.dumps(noted))
    train(TINY, str(tmp_path), device="cpu")
    with pytest.raises(RequestError, match=r"network.hidden_size was not given and is 40"):
        train(replace(TINY, network=NetworkConfig("compact", "conv_gru", hidden_size=40)), str(tmp_path), device="cpu")


def test_fine_tuning_keeps_the_default_network_and_watches_both_kinds():
    given = TaskParser("flowgru train", train_command).parse(
        ["--config", str(ROOT / "configs/fine_tune.yaml"), "--output", "runs/fine_tune"]
    )
    config: TrainConfig = given["config"]
    assert config.network == load_model("default", "cpu").config and config.init_from == "default"
    assert config.optimizer.learning_rate <= OptimizerConfig().learning_rate / 4
    assert {part.name for part in config.sets} == {"my_pairs.csv", "synthetic"}
    assert config.validation.sets == ("my_held_out_pairs.csv", "synthetic")
    assert config.starts.dis > 0.5 and config.hold == load_model("default", "cpu").card["hold"]
    assert config.validation.initial_flows[0] == "dis"


def test_the_head_of_confidence_is_trained_for_the_way_on_which_the_default_is_used():
    parser, configs = TaskParser("flowgru train", train_command), []
    for name in ("default", "default_confidence"):
        words = ["--config", str(ROOT / f"configs/{name}.yaml"), "--output", "run", "--init-from", "default"]
        configs.append(parser.parse(words)["config"])
    default, head = configs
    for name in ("network", "starts", "hold", "coarse_first"):
        assert getattr(head, name) == getattr(default, name), name


@pytest.mark.slow
def test_fine_tuning_runs_on_pairs_of_ones_own(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my_pairs.csv", "my_held_out_pairs.csv"):
        (tmp_path / name).write_bytes(Path(manifest).read_bytes())
    options = "--steps 1 --batch-size 1 --iterations 1 --no-grad-iterations 0 --workers 0 --validation.pairs 1"
    small = "--validation.height 128 --validation.width 160 --data.num-textures 2 --data.photos=null --device cpu"
    words = ["--config", str(ROOT / "configs/fine_tune.yaml"), "--output", "run", *options.split(), *small.split()]
    assert main(["train", *words]) == 0
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"my_held_out_pairs", "synthetic"} <= {
        word for line in logged for word in re.findall(r"\w+", json.dumps(line))
    }

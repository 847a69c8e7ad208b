"""Which pairs a run trains on, and which of them each step takes."""

from dataclasses import replace

import pytest
import torch
from tiny_run import NOTHING, TINY

from flowgru.config import StageSet, StartShares, TrainConfig
from flowgru.data.synthetic.batched.batch import DrawnPairs
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.training.feeding.pairs import described, training_pairs, validation_pairs
from flowgru.training.feeding.sampler import StepSampler


def test_every_step_has_its_own_samples_whatever_the_start():
    whole = list(StepSampler(0, 5, 3))
    assert [index for step in whole for index in step] == list(range(15))
    assert list(StepSampler(2, 5, 3)) == whole[2:]


def test_processes_share_the_samples_of_a_step():
    whole = list(StepSampler(1, 5, 6))
    shares = [list(StepSampler(1, 5, 6, rank=share, world_size=3)) for share in range(3)]
    assert [[*a, *b, *c] for a, b, c in zip(*shares, strict=True)] == whole


def test_the_plan_names_the_crop_that_is_trained_on():
    part = StageSet("synthetic", replace(NOTHING, height=64, width=96))
    pairs = training_pairs(replace(TINY, sets=(part, replace(part, repeats=2))))
    generated = "generated pairs of 128x128 px (height x width), cropped to 64x96"
    assert described(pairs) == f"{generated}; {generated}, 2 times an epoch"


@pytest.mark.parametrize("name", ["syntetic", "synthetik"])
def test_a_misspelt_synthetic_is_hinted_at(name):
    of_training = replace(TINY, sets=(StageSet(name, NOTHING),))
    of_validation = replace(TINY, validation=replace(TINY.validation, sets=(name,)))
    for config, pairs_of in ((of_training, training_pairs), (of_validation, validation_pairs)):
        with pytest.raises(RequestError, match=r"did you mean 'synthetic'\? known are synthetic, "):
            pairs_of(config)


def test_pairs_are_generated_where_the_configuration_says(monkeypatch):
    in_batches = TrainConfig(generate_on="cuda", uses=2, steps=3, batch_size=3)
    one_by_one = TrainConfig(generate_on="cuda", generate_in_batches=False, workers=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for config in (in_batches, one_by_one):
        with pytest.raises(RequestError, match=r"generate_on is cuda, and no CUDA .*: use --generate-on cpu"):
            training_pairs(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for chosen in (one_by_one, TrainConfig()):
        pairs = training_pairs(chosen)
        assert isinstance(pairs, SyntheticPairs) and pairs.device.type == chosen.generate_on
    drawn = training_pairs(in_batches)
    assert isinstance(drawn, DrawnPairs) and len(drawn) == 10 and drawn.shares == StartShares()
    assert described(drawn) == "generated pairs of 192x256 px (height x width), each used 2 times"
    only = "where generate_on is cuda and generate_in_batches false"
    with pytest.raises(RequestError, match=f"workers is 1: it must be 0 {only}"):
        replace(one_by_one, workers=1)
    with pytest.raises(RequestError, match=f"starts is .*: it must be without DIS {only}"):
        replace(one_by_one, starts=StartShares(zero=0.5, dis_fast=0.5))
    with pytest.raises(RequestError, match="generate_on is cuda: it must be cpu where `stage` is given"):
        TrainConfig(generate_on="cuda", stage="chairs")

"""Where weights come from, as their card says it: the terms of what they were trained on, and the code's commit."""

import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tiny_run import NOTHING, TINY

from flowgru.config import NetworkConfig, StageSet
from flowgru.config.way import Way
from flowgru.data.sets.layouts import DATASETS, licence_of
from flowgru.model.weight_files.card import origin_of
from flowgru.training import provenance
from flowgru.training.provenance import card_of, commit, licence
from flowgru.training.run_state import Run

TWO_SCALES = {"iterations": 2, "initial_flow": "dis", "hold": 1, "polish": True, "scales": 2, "coarse_iterations": 4}


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, "BSD-3-Clause"),
        ({"data": replace(TINY.data, photos="skimage")}, "BSD-3-Clause"),
        ({"data": replace(TINY.data, photos="mine")}, "mine: as the owner of its pictures allows"),
        ({"stage": "chairs"}, "FlyingChairs: for research only"),
        ({"stage": "kitti"}, "KITTI 2015: CC BY-NC-SA 3.0"),
        ({"sets": (StageSet("synthetic", NOTHING), StageSet("sintel", NOTHING))}, "Sintel: CC BY 3.0"),
        ({"sets": (StageSet("things_of_mine.csv", NOTHING),)}, "things_of_mine.csv: as its owner allows"),
        (
            {"stage": "sintel"},
            "Sintel: CC BY 3.0; KITTI 2015: CC BY-NC-SA 3.0; HD1K: as its page says; FlyingThings3D: for research only",
        ),
    ],
)
def test_weights_inherit_the_terms_of_their_data(changes, terms):
    assert licence(replace(TINY, **changes), origin={}) == terms


def test_weights_inherit_the_terms_of_those_they_began_with():
    origin = {"license": "FlyingChairs: for research only; KITTI 2015: CC BY-NC-SA 3.0"}
    assert licence(TINY, origin) == origin["license"]
    assert licence(replace(TINY, stage="kitti"), origin) == origin["license"]
    assert licence(TINY, {"license": "BSD-3-Clause"}) == "BSD-3-Clause"
    assert licence(TINY, origin_of("raft_large", {})) == "raft_large: as its training data allow"


@pytest.mark.parametrize(
    ("began_with", "trained", "measured_from", "way"),
    [
        (TWO_SCALES, {"hold": 3, "coarse_first": 0.5}, "synthetic from dis", TWO_SCALES),
        (
            TWO_SCALES,
            {"hold": 3},
            "synthetic from dis",
            {"iterations": 12, "initial_flow": "dis", "hold": 3, "polish": True, "scales": 1},
        ),
        (
            {"iterations": 24},
            {"hold": 3, "coarse_first": 0.5},
            "synthetic from dis",
            {"iterations": 12, "initial_flow": "dis", "hold": 3, "polish": True, "scales": 2},
        ),
        (
            TWO_SCALES,
            {"hold": 0, "coarse_first": 0.5},
            "synthetic from dis",
            {"iterations": 12, "initial_flow": "dis", "hold": 0, "polish": True, "scales": 2},
        ),
        (TWO_SCALES, {"hold": 3, "coarse_first": 0.5}, "synthetic", {"iterations": 12}),
    ],
    ids=["as before", "at one scale", "from a network alone", "without held ones", "measured from zero"],
)
def test_a_network_is_used_as_the_one_that_it_began_with_where_it_was_trained_so(
    began_with, trained, measured_from, way
):
    run = object.__new__(Run)
    run.validation, run.step, run.seconds = {measured_from: {4: 2.0, 12: 1.0}}, 2, 1.0
    run.origin = origin_of("default", {**began_with, "network": asdict(TINY.network)}, TINY.network)
    card = card_of(replace(TINY, **trained), run, Path("run"), [])
    assert {name: card[name] for name in asdict(Way()) if name in card} == way


@pytest.mark.parametrize(
    ("card", "network"),
    [
        ({"iterations": 0}, TINY.network),
        ({"initial_flow": "given"}, TINY.network),
        ({}, NetworkConfig("compact", "conv_lstm")),
        ({}, NetworkConfig("large", "conv_gru")),
        ({}, None),
    ],
)
def test_a_way_of_no_sense_or_of_another_operator_is_not_taken_over(card, network):
    before = {**TWO_SCALES, **card, "network": asdict(TINY.network)}
    assert "way" not in origin_of("default", before, network) and "way" in origin_of(
        "default", TWO_SCALES | {"network": asdict(TINY.network)}, TINY.network
    )


@pytest.mark.parametrize("name", DATASETS)
def test_the_terms_of_every_data_set_are_known(name):
    assert "as its owner allows" not in licence_of(name)


def test_the_commit_of_a_checkout_that_is_not_of_this_package_is_not_taken_for_its_own(tmp_path, monkeypatch):
    package = tmp_path / "venv/provenance.py"
    package.parent.mkdir()
    package.touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "other"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(package))
    assert commit() == "unknown"
    subprocess.run([*git, "add", "-f", str(package)], check=True)
    assert commit().endswith("-dirty")

"""What the tests of `flowgru submit` share. Nothing of flowgru is imported above: the type checks begin after this file."""

from pathlib import Path

import pytest


@pytest.fixture
def flows_from_grey_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission's flows come from the grey levels of their pictures."""
    from layouts.split_trees import levels

    monkeypatch.setattr("flowgru.evaluation.submission.open_estimator", lambda *_: levels)


@pytest.fixture
def small_challenges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers ask for as many flows as the trees of the tests have."""
    from layouts.split_trees import PACKAGES

    from flowgru.data.sets.test_splits import TEST_SPLITS

    for name, package in PACKAGES.items():
        monkeypatch.setitem(TEST_SPLITS, name, TEST_SPLITS[name]._replace(num_flows=len(package)))


@pytest.fixture
def submission(
    request: pytest.FixtureRequest, tmp_path: Path, flows_from_grey_levels: None, small_challenges: None
) -> Path:
    """A submission that was written, of the benchmark that the test's parameter names."""
    from layouts.split_trees import MAKERS, run

    MAKERS[request.param](tmp_path)
    assert run(request.param, "--root", tmp_path, "--output", tmp_path / "out") == 0
    return tmp_path / "out"

"""What every test shares: the folder of real pairs, one torch thread a worker, and memory that is never luckily zero."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-root", default="datasets", help="the folder that holds the data sets' own folders")


@pytest.fixture(scope="session")
def data_root(request: pytest.FixtureRequest) -> Path:
    return Path(str(request.config.getoption("--data-root"))).resolve()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def uninitialised_memory_is_nan() -> Iterator[None]:
    """torch.empty gives NaN, so that reading what was never written shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # pyright: ignore[reportAttributeAccessIssue]
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission's flows come from the grey levels of their pictures."""
    from challenge_trees import levels  # not above: the type checks begin after this file

    monkeypatch.setattr("flowgru.tasks.submit._estimator", lambda *_: levels)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers ask for as many flows as the trees of the tests have."""
    from challenge_trees import PACKAGES

    from flowgru.data.challenges import CHALLENGES

    for name, package in PACKAGES.items():
        monkeypatch.setitem(CHALLENGES, name, CHALLENGES[name]._replace(num_flows=len(package)))


@pytest.fixture
def package(request: pytest.FixtureRequest, tmp_path: Path, estimated: None, small: None) -> Path:
    """A submission that was written, of the benchmark that the test's parameter names."""
    from challenge_trees import MAKERS, run

    MAKERS[request.param](tmp_path)
    assert run(request.param, "--root", tmp_path, "--output", tmp_path / "out") == 0
    return tmp_path / "out"


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """What is started in the background of a shell ignores Ctrl-C, and so would every command that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

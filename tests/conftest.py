"""What every test shares: the folder of real pairs, one torch thread a worker, and memory that is never luckily zero."""

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

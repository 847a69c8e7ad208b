"""What tests share: the folder of real pairs, one torch thread a worker, memory that is never luckily zero, and a small
model, its inputs and its command. Nothing of flowgru is imported above: the type checks begin after this file."""

import contextlib
import copy
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from type_checks import bind_shapes_only_where_arrays_are_named

if TYPE_CHECKING:
    from flowgru.model.flow_network import FlowNetwork
    from flowgru.training.checkpoints.store import CheckpointStore

bind_shapes_only_where_arrays_are_named()  # before the conftest.py of any folder imports what is checked


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-root", default="datasets", help="the folder that holds the data sets' own folders")
    parser.addoption("--gpu", action="store_true", help="let the tests see the GPUs: for -k triton, others expect none")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch looks at it when it first asks for a GPU, and so do processes
    # Processes that tests start share the cores with other tests, and threads that wait for each other lose much there.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.suppress(ImportError):  # a GPU's tests need no more than pytest
        from hypothesis import settings

        # The same examples in each run, however long a busy machine takes for them.
        settings.register_profile("flowgru", deadline=None, derandomize=True, database=None)
        settings.load_profile("flowgru")


def pytest_collection_finish() -> None:
    """What has been imported stays: the garbage collector need not look through it again and again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Tests in a process for each core, where -n does not say otherwise and xdist is there.

    In addopts, -n would be refused by a pytest without xdist. Four at most: a machine of many cores need not have the
    memory for as many. A file's tests stay in one process, which makes what they share once.
    """
    if not config.pluginmanager.has_plugin("xdist") or hasattr(config, "workerinput"):
        return
    option = config.option
    if option.numprocesses is None and not option.tx:
        option.numprocesses = "auto"
        option.maxprocesses = option.maxprocesses or 4
    if (option.numprocesses or option.tx) and option.dist == "no" and not option.distload:
        option.dist = "loadfile"


@pytest.fixture(scope="session")
def data_root(request: pytest.FixtureRequest) -> Path:
    return Path(str(request.config.getoption("--data-root"))).resolve()


@pytest.fixture(autouse=True)
def seeded_on_one_thread() -> None:
    torch.set_num_threads(1)  # each time: benchmarks, which tests run too, take more
    if "cv2" in sys.modules:  # what does not need it does not wait for its import
        sys.modules["cv2"].setNumThreads(1)
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


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """What is started in the background of a shell ignores Ctrl-C, and so would every command that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def no_power_cut() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def git_is_asked_once() -> Iterator[None]:
    """The end of every training asks for the commit, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        # Whoever trains has imported it by now; the others do not wait for the import.
        if provenance := sys.modules.get("flowgru.training.provenance"):
            patch.setattr(provenance, "commit", functools.cache(provenance.commit))
        yield


@pytest.fixture(scope="session")
def random_network() -> "FlowNetwork":
    """A network of random weights whose flow does not leave the picture."""
    from flowgru.config import NetworkConfig
    from flowgru.model.flow_network import FlowNetwork

    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru")).eval()
    with torch.no_grad():
        for parameter in network.flow_head.parameters():
            parameter *= 0.1
    return network


@pytest.fixture
def network(random_network: "FlowNetwork") -> "FlowNetwork":
    """The same network as an object of its own, so that no later test has what is set on it."""
    return copy.copy(random_network)


@pytest.fixture(scope="session")
def model(random_network: "FlowNetwork", tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same network as a file, whose card says 2 iterations."""
    from flowgru.model.weight_files.model_file import write_model_file

    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    card = {"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 2}
    write_model_file(path, random_network.state_dict(), card)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven frames, whose names sort differently as texts and as numbers."""
    return _written(tmp_path / "walk", [f"frame_{number}" for number in range(1, 12)])[0].parent


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two frames."""
    return [str(path) for path in _written(tmp_path, ["a", "b"])]


def _written(folder: Path, names: list[str]) -> list[Path]:
    from estimates import SIZE
    from media import noisy_frames

    from flowgru.data.formats.images import write_image

    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.png" for name in names]
    for path, frame in zip(paths, noisy_frames(len(names), *SIZE), strict=True):
        write_image(path, frame)
    return paths


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder that receives results, which is not there yet."""
    return tmp_path / "out"


@pytest.fixture
def estimate(model: str, output: Path) -> Callable[..., int]:
    """Runs the command with a small model on the CPU and returns its exit code."""
    from flowgru.cli import main

    def run(*words: object) -> int:
        given = [str(word) for word in words]
        options = {"--output": str(output), "--model": model, "--iterations": "1", "--device": "cpu"}
        missing = [part for option in options.items() if option[0] not in given for part in option]
        return main(["estimate", *given, *missing])

    return run


@pytest.fixture
def store(tmp_path: Path) -> "Iterator[CheckpointStore]":
    """A store that is open."""
    from flowgru.training.checkpoints.store import CheckpointStore

    with CheckpointStore(tmp_path / "run") as opened:
        yield opened

"""A checkout that is only on PYTHONPATH does all of its work with its dependencies, and names those that it lacks."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from media import noisy_frames
from paths import ROOT
from tiny_run import write_config

from flowgru.data.formats.images import write_image
from flowgru.version import VERSION

pytestmark = pytest.mark.timeout(900)  # on a busy machine an export takes minutes


UNINSTALLED = """
import importlib.metadata, json, sys
known = importlib.metadata.Distribution.from_name
def from_name(name):
    if name == "flowgru":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.Distribution.from_name = from_name
from flowgru.cli import main
sys.exit(max(map(main, json.loads(sys.argv[1]))))
"""


def run(*commands: list[object]) -> str:
    """What the commands said, in one process of a flowgru that is not installed."""
    done = subprocess.run(
        [sys.executable, "-c", UNINSTALLED, json.dumps(commands, default=str)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_it_says_its_version():
    assert run(["--version"]) == f"flowgru {VERSION}\n"


def test_it_estimates_and_trains(tmp_path, model):
    pictures = [tmp_path / f"{name}.png" for name in "ab"]
    for path, frame in zip(pictures, noisy_frames(2, 48, 64), strict=True):
        write_image(path, frame)
    estimated = ["estimate", *pictures, "--output", tmp_path / "out", "--model", model, "--iterations", "1"]
    trained = ["train", "--config", write_config(tmp_path / "tiny.json", steps=1), "--output", tmp_path / "run"]
    run(*([*words, "--device", "cpu"] for words in (estimated, trained)))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["flowgru"] == VERSION
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.slow
def test_it_exports(tmp_path, model):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    words = ["--model", model, "--max-size", "256", "--iterations", "1", "--output", tmp_path / "flow.pt2"]
    assert f"wrote {tmp_path / 'flow.pt2'}" in run(["export", "--format", "torch-export", *words])


def test_an_installed_one_has_the_same_version():
    try:
        installed = distribution("flowgru")
    except PackageNotFoundError:
        pytest.skip("flowgru is not installed here")
    assert installed.version == VERSION


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("jsonargparse", ["train", "--help"]),
        ("yaml", ["train", "--help"]),
        ("torch", ["train", "--config", "configs/smoke.yaml", "--output", "{}"]),
    ],
)
def test_without_a_package_that_it_needs_it_says_which(package, words, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None\nfrom flowgru.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [word.format(tmp_path / "run") for word in words]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (4, f"error: the package {package} is missing: pip install flowgru\n")

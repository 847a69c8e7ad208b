"""Importing flowgru, and asking a command for help, loads no heavy package."""

import subprocess
import sys

import pytest
from paths import ROOT


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "import sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=200
    )
    return set(run.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import flowgru",
        "import flowgru.config",
        "import flowgru.cli",
        "import flowgru.corpus, flowgru.cli\nassert flowgru.cli.main(['corpus', '--help']) == 0",
        "import flowgru.cli\ntry: flowgru.cli.main(['--help'])\nexcept SystemExit as end: assert not end.code",
    ],
)
def test_the_door_opens_without_torch(code):
    assert not {"torch", "cv2", "lightning_fabric", "matplotlib", "dask", "distributed"} & loaded_after(code)


def test_a_training_loads_nothing_of_lightning_but_fabric():
    loaded = loaded_after("import flowgru.processes.fabric")
    assert "lightning_fabric" in loaded and not {"lightning", "torchmetrics", "scipy", "matplotlib"} & loaded

"""The check before a release says what it leaves out, and does not pass where nothing could run."""

import shutil
import subprocess

import pytest
from paths import ROOT

TOOLS = ("bash", "dirname", "sha256sum", "cut", "mkdir")


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason="needs bash and its usual tools")
def test_a_set_of_packages_whose_python_is_missing_is_left_out_with_that_reason(tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    places = {"PATH": tmp_path / "bin", "PYENV_ROOT": tmp_path, "HOME": tmp_path, "FLOWGRU_CI_CACHE": tmp_path}
    run = subprocess.run(
        ["bash", ".ci/venvs"],
        cwd=ROOT,
        env={name: str(path) for name, path in places.items()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.split("\n")[1:3] == [
        "lowest: skipped, because Python 3.11 is not here",
        "gpu: skipped, because Python 3.12 is not here",
    ]
    assert run.returncode == 1, run.stderr

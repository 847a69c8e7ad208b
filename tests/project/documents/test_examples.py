"""The worked examples run as they stand, as scripts and as the notebooks that are made from them."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from flowgru import read_flow
from flowgru.operators import UPDATE_OPERATORS

EXAMPLES = sorted(path.stem for path in ROOT.glob("docs/examples/*.py"))


def script(name: str) -> Path:
    return ROOT / f"docs/examples/{name}.py"


@pytest.fixture
def said(request, tmp_path, monkeypatch, capsys) -> str:
    """What an example prints that was run in a folder that has the sample clip, as the repository does."""
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script(request.param)), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("said", ["flow_of_a_video"], indirect=True)
def test_the_flow_of_a_video(said):
    output = Path("runs/flow_of_a_video")
    flows = [read_flow(path).flow for path in sorted(output.glob("*.flo"))]
    assert len(flows) == len(list(output.glob("picture_*.png"))) == 2
    exact = read_flow("datasets/sample/flow/frame_0001.png").flow[::2, ::2] / 2
    error, length = (np.linalg.norm(flow, axis=2).mean() for flow in (flows[0] - exact, exact))
    assert error < length / 4  # a flow in the wrong direction is off by twice its length
    differences = re.findall(r"next frame ([\d.]+), warped ([\d.]+)", said)
    assert len(differences) == 2 and all(float(after) < 0.5 * float(before) for before, after in differences)


@pytest.mark.parametrize("said", ["train_on_own_pairs"], indirect=True)
def test_training_on_pairs_of_ones_own(said):
    assert "own.csv, 3 pairs" in said and Path("runs/train_on_own_pairs/run/model.safetensors").exists()
    before, after = (float(error) for error in re.findall(r"^\S+: ([\d.]+) px$", said, re.MULTILINE))
    assert abs(before - after) < 0.2  # two small steps from good weights


@pytest.fixture
def operators_of_before():
    yield
    UPDATE_OPERATORS.pop("conv_mgu", None)


@pytest.mark.parametrize("said", ["own_operator"], indirect=True)
def test_an_operator_of_ones_own_beside_rafts(operators_of_before, said):
    sizes = dict(
        re.findall(r"^(\w+), seed 0: ([\d,]+) parameters; px after refinements: {'4': [\d.]+", said, re.MULTILINE)
    )
    assert sizes.keys() == {"conv_gru", "conv_mgu"} and sizes["conv_mgu"] < sizes["conv_gru"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_notebook_of_an_example_runs(name, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: pip install 'flowgru[docs]'")
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    notebook = jupytext.read(script(name))
    assert {cell.cell_type for cell in notebook.cells} == {"markdown", "code"}
    NotebookClient(
        notebook, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_every_example_is_listed_and_tested():
    listed = re.findall(r"\[(\w+)\.py\]", (ROOT / "docs/examples/README.md").read_text("utf-8"))
    tested = re.findall(r'\["(\w+)"\], indirect', Path(__file__).read_text("utf-8"))
    assert sorted(listed) == sorted(tested) == EXAMPLES

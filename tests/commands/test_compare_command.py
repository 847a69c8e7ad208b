"""`flowgru compare` refuses a senseless request in one line, before it writes or trains anything."""

import subprocess
import sys

import pytest
from comparisons import RECIPE, TINY_ROWS, words
from paths import ROOT

from flowgru.cli import main

pytestmark = pytest.mark.timeout(1800)  # most of it is the start of processes, which a busy machine draws out

CONFIGS = ROOT / "configs"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--operators", "conv_gruu"], "unknown row 'conv_gruu': did you mean 'conv_gru'"),
        (["--seeds", "0,1,x"], "--seeds is 'x': expected a list of whole numbers with commas between"),
        (["--seeds", "0,0"], "seeds is 0, 0: it must be one or more, each once"),
        (["--steps", "0"], "steps is 0: it must be 1 or more"),
        (["--steps", "5", "--minutes", "1.5"], "--steps is 5 and --minutes is 1.5: give one of them"),
        (["--minutes=-1"], "minutes is -1: it must be above 0"),
        (["--minutes=5", "--training.steps=7"], "--training.steps is 7 and --minutes is 5.0: give one of them"),
        (["--steps=5", "--training.steps=7"], "--steps is 5 and --training.steps is 7: give one of them"),
        (["--training.init_from=none.safetensors"], "there is no model file none.safetensors"),
        (["--training.batch_size=3", "--training.gradient_accumulation_steps=2"], "it must be a multiple of 2"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--reference", "gru"], "reference is 'gru': it must be one of the rows conv_gru, control"),
        (["--sets", "sintl"], "did you mean"),
        (["--test.seed", "0"], "test.seed is 0: it must be another seed"),
        (["--training.validation.seed", "0"], "validation.seed is 0: it must be another seed"),
        (["--iterations", "4,2"], "ascending"),
        (["--training.precision", "16"], "precision is 16 and the device cpu: 16 needs a GPU"),
        (["--training.generate_on", "cuda"], "generate_on is cuda, and no CUDA device was found"),
    ],
)
def test_a_senseless_request_is_one_line_and_leaves_no_folder(tmp_path, capsys, more, said):
    assert main(words(tmp_path / "results", *more)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_held_out_pairs_that_cannot_be_read_are_known_before_the_recipe_is_noted(tmp_path, capsys):
    """A folder with a recipe would refuse the mended one."""
    assert main(words(tmp_path / "results", "--training.validation.sets=none.csv")) == 3
    assert "none.csv" in capsys.readouterr().err and not (tmp_path / "results").exists()


@pytest.mark.parametrize("option", ["--steps", "--training.steps"])
def test_minutes_of_a_file_and_steps_of_the_command_line_are_refused(tmp_path, capsys, option):
    (tmp_path / "recipe.yaml").write_text(RECIPE + "minutes: 1.5\n")
    assert main(words(tmp_path / "results", f"{option}=5")) == 2
    assert f"{option} is 5 and --minutes is 1.5: give one of them" in capsys.readouterr().err


def test_a_comparison_without_a_recipe_says_how_to_give_one(tmp_path, capsys):
    assert main(["compare", "--output", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == (
        "error: --rows and --reference must be given; give them in a file, by --config FILE; configs/compare.yaml of a "
        "checkout is one, docs/compare.md explains it\n"
    )


def test_an_unknown_operator_of_a_row_is_refused_with_the_nearest_name(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("operator: conv_min_gru", "operator: conv_min_grew"))
    assert main(words(tmp_path / "results")) == 2
    assert "did you mean 'conv_min_gru'" in capsys.readouterr().err and not (tmp_path / "results").exists()


def test_a_row_that_breaks_the_contract_is_named_and_not_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flowgru.comparison.preparing.broken_contract", lambda operator: "it is lazy")
    assert main(words(tmp_path / "results")) == 2
    assert "conv_gru breaks the contract of update operators: it is lazy" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_shipped_comparisons_load_without_torch_and_the_study_compares_rows_of_the_large_one():
    code = """
import sys
from flowgru.config import ComparisonConfig
from flowgru.parser import TaskParser
from flowgru.commands.compare import compare
for name in sys.argv[1:]:
    print(*(row.name for row in TaskParser("x", compare).parse(["--config", name, "--output", "y"])["config"].rows))
assert "torch" not in sys.modules
"""
    names = [str(CONFIGS / name) for name in ("compare.yaml", "operator_study.yaml", "operator_selection.yaml")]
    run = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    rows, studied, variants = (line.split() for line in run.stdout.splitlines())
    assert {*TINY_ROWS, "conv_min_gru_no_scan"} <= {*studied} <= {*rows} and len(rows) == 13
    assert len(variants) >= 4

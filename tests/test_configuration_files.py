"""What a --config may hold: whatever else is in it is one line and exit code 2, before anything is imported or made."""

import subprocess
import sys

import pytest

from flowgru.cli import main

BAD = {
    "config: {a: 1}\n": "names another file under config",
    "network: 3\n": "--network is 3: expected a mapping",
    "validation: null\nsteps: 2\n": "--validation is null: expected a mapping",
    "steps: 2\ncheckpoint_every: ~\n": "--checkpoint-every is null: expected a whole number",
    "sets:\n": "gives no value to sets",
    "network: {operator: null}\n": "--network.operator is null: expected a text",
    "validation: [1]\n": "--validation is 1: expected a mapping",
    "seed: 99999999999999999999\n": "--seed is 99999999999999999999: expected at most 2147483647",
    "network: {options: {a: 99999999999999999999}}\n": "--network.options is 99999999999999999999",
    "seed: -1\n": "seed is -1: it must be a seed, from 0",
    "data: {seed: -1}\n": "data.seed is -1: it must be a seed",
    "validation: {seed: -7}\n": "validation.seed is -7: it must be a seed",
    "iterations: 10001\n": "iterations is 10001: it must be 10000 or less",
    "hold: 10001\n": "hold is 10001: it must be 10000 or less",
    "validation: {iterations: [1, 20000]}\n": "validation.iterations is 20000: it must be 10000 or less",
    "batch_size: 2000000000\n": "batch_size is 2000000000",
    "workers: 2000000000\n": "workers is 2000000000",
    "sets: &a [*a]\n": "the alias *a stands inside",
    "? [a, b]\n: 3\n": "unhashable",
    "steps: !!python/object/apply:os.system [x]\n": "could not determine a constructor",
}


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_a_bad_configuration_is_one_line(tmp_path, capsys, text):
    (tmp_path / "c.yaml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and BAD[text] in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", ["--seed=1" + "0" * 4000, "--seed=1" + "0" * 5000, "--seed -5"])
def test_a_number_beyond_every_range_is_one_line(tmp_path, capsys, words):
    assert main(["train", *words.split(), "--output", str(tmp_path / "run")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        "estimate a --output b --iterations 10001",
        "estimate a --output b --hold 10001",
        "evaluate sintel --iterations 10001",
        "benchmark --iterations 1,10001",
        "export --output a.onnx --iterations 10001",
        "compare --config configs/compare.yaml --minutes 1e300 --output a",
        "train --minutes 1e300 --output a",
        "train --devices 2000000000 --output a",
        "compare --config configs/compare.yaml --jobs 2000000000 --output a",
        "compare --config configs/compare.yaml --seeds=[-1,2] --output a",
        "benchmark --threads 2000000000",
    ],
)
def test_a_count_beyond_its_range_is_refused_by_its_command(tmp_path, capsys, monkeypatch, words):
    from paths import ROOT

    words = words.replace("configs/", f"{ROOT}/configs/")
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it must be" in line and not [*tmp_path.iterdir()]


def test_a_bomb_in_an_option_is_refused_at_once(tmp_path):
    bomb = "{a0: &a0 [x,x,x,x,x,x,x,x,x]" + "".join(
        f", a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
    )
    command = [
        sys.executable,
        "-m",
        "flowgru",
        "train",
        "--output",
        str(tmp_path / "a"),
        "--network.options",
        bomb + "}",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.startswith("error: --network.options is ")

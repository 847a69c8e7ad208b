"""What a --config may hold: whatever else is in it is one line and exit code 2, before anything is imported or made."""

import importlib
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from flowgru.cli import COMMANDS, main
from flowgru.commands.train import train
from flowgru.option_texts import LIST, metavar
from flowgru.parser import TaskParser

SET = "{{name: synthetic, augmentation: {{height: 128, width: 128, log2_scale: {}}}}}"

BAD = {
    "config: {a: 1}\n": "names another file under config",
    "<<: {config: a.yaml}\n": "names another file under config",
    "network: 3\n": "--network is 3: expected a mapping",
    "validation: null\nsteps: 2\n": "--validation is null: expected a mapping",
    "steps: 2\ndebug: true\n": "c.yaml gives debug, which only the command line has: --debug",
    "steps: 2\ncheckpoint_every: ~\n": "--checkpoint-every is null: expected a whole number",
    "sets:\n": "gives no value to sets",
    "network: {operator: null}\n": "--network.operator is null: expected a text",
    "validation: [1]\n": "--validation is 1: expected a mapping",
    "seed: 99999999999999999999\n": "--seed is 99999999999999999999: expected at most 2147483647",
    "network: {options: {a: 99999999999999999999}}\n": "--network.options is 99999999999999999999",
    "compile: maybe\n": "--compile is 'maybe': expected true or false",
    "network: {texture_gate: 1}\n": "--network.texture-gate is '1': expected true or false",
    "seed: -1\n": "seed is -1: it must be a seed, from 0",
    "data: {seed: -1}\n": "data.seed is -1: it must be a seed",
    "validation: {seed: -7}\n": "validation.seed is -7: it must be a seed",
    "iterations: 10001\n": "iterations is 10001: it must be 10000 or less",
    "hold: 10001\n": "hold is 10001: it must be 10000 or less",
    "validation: {iterations: [1, 20000]}\n": "validation.iterations is 20000: it must be 10000 or less",
    "batch_size: 2000000000\n": "batch_size is 2000000000",
    'stage: chairs\nroot: "a\\0b"\n': "--root holds a character of the number 0",
    f"optimizer: {{learning_rate: 1{400 * '0'}}}\n": "a number has hundreds of digits",
    f"sets: [{SET.format('[-.inf, .inf]')}]\n": "log2_scale is -inf, inf",
    f"sets: [{SET.format('[0, 3000]')}]\n": "log2_scale is 0.0, 3000.0",
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


@pytest.mark.parametrize("words", ["--steps 5 --config FILE", "--config=FILE --steps 5", "--steps=5 --config=FILE"])
def test_an_option_is_more_than_a_file_says_wherever_it_stands(tmp_path, words):
    (tmp_path / "c.yaml").write_text("steps: 7\nseed: 3\n")
    given = words.replace("FILE", str(tmp_path / "c.yaml")).split()
    config = TaskParser("flowgru train", train).parse([*given, "--output", "run"])["config"]
    assert (config.steps, config.seed) == (5, 3)


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
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 2 and ended.stderr.startswith("error: --network.options is ")


LISTS = [("train", "sets"), ("compare", "rows"), ("compare", "training.sets")]
"""The settings that are lists of mappings, with their command."""


def _hints_of(command: str) -> dict[str, Any]:
    task = COMMANDS[command]
    return TaskParser("flowgru", getattr(importlib.import_module(task.module), task.function))._types


def test_the_lists_of_mappings_are_those_that_are_attacked():
    found = {
        (name, option) for name in COMMANDS for option, hint in _hints_of(name).items() if metavar("", hint) == LIST
    }
    assert found == {*LISTS}


def _parts_of(hint: Any) -> Iterator[Any]:
    """What a type is made of in the end."""
    parts = (
        [] if typing.get_origin(hint) is Literal else [part for part in typing.get_args(hint) if part is not Ellipsis]
    )
    for part in parts:
        yield from _parts_of(part)
    if not parts and typing.get_origin(hint) is not Literal:
        yield hint


@pytest.mark.parametrize("command", COMMANDS)
def test_jsonargparse_is_told_of_no_type_that_a_word_could_name(command):
    hints = {option: hint for option, hint in _hints_of(command).items() if (command, option) not in LISTS}
    others = {option: {*_parts_of(hint)} - {int, float, str, bool, type(None)} for option, hint in hints.items()}
    assert {option for option, found in others.items() if found} == set()


@pytest.mark.parametrize(("command", "setting"), LISTS)
def test_no_word_of_a_user_is_imported(tmp_path, monkeypatch, command, setting):
    """Words by which jsonargparse would import a module, whose code would then run."""
    (tmp_path / "planted_module.py").write_text("import pathlib\npathlib.Path('MARK').touch()\nthing = list\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    option, word = f"--{setting}", "planted_module.thing"
    called = {"class_path": word}
    for value in (
        word,
        [word],
        called,
        [called],
        [{"name": "a", "operator": "b", "augmentation": word, "options": word}],
    ):
        (tmp_path / "c.yaml").write_text(json.dumps({setting: value}))
        for words in (["--config", "c.yaml"], [f"{option}={json.dumps(value)}"]):
            assert main([command, *words, "--output", "run"]) == 2
    assert main([command, f"{option}.help", word]) == 2
    assert not (tmp_path / "MARK").exists() and word.partition(".")[0] not in sys.modules


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sets [my.csv]", "--sets: an entry is my.csv: expected a mapping with name, augmentation, repeats"),
        ("--sets my.csv", "--sets is 'my.csv': expected a list, each entry a mapping with name, augmentation, repeats"),
        (
            "--sets [{name:,augmentation:my.csv}]",
            "--sets: augmentation is my.csv: expected a mapping with height, width",
        ),
        ('--sets [{"class_path":"my.csv"}]', "--sets: unknown class_path in an entry: known are name,"),
        ("--sets [", "--sets is no list in YAML: "),
    ],
)
def test_an_entry_of_a_list_that_is_no_mapping_is_named(tmp_path, capsys, words, said):
    words = words.replace("name:,", "name: a, ").replace("augmentation:", "augmentation: ")
    option, _, value = words.partition(" ")
    assert main(["train", option, value, "--output", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_settings_that_are_printed_can_be_given_again(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(
        "sets:\n- {name: kitti2015, augmentation: {height: 96, width: 128, log2_scale: [0, 1]}}\n"
    )
    printed = []
    for name in ("c.yaml", "again.yaml"):
        assert main(["train", "--config", str(tmp_path / name), "--output", "run", "--print_config"]) == 0
        printed.append(capsys.readouterr().out)
        (tmp_path / "again.yaml").write_text(printed[0])
    assert "log2_stretch: 0.2" in printed[0] and printed[0] == printed[1]


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("compare", "batch_size: 2", "which flowgru compare does not know: it is a file for flowgru train"),
        ("train", "rows: []", "c.yaml gives rows, which flowgru train does not know: it is a file for flowgru compare"),
        ("train", "training: {steps: 1}", "which flowgru train does not know: it is a file for flowgru compare"),
        ("train", "starts: {dis: 0.5}", "dis_fast: 0.0, truth: 0.0: it must be shares that sum to 1, and these sum to 1.5"),
        ("train", "data.height: 64\ndata: {width: 96}", "line 1: data.height stands beside data, give it inside"),
        ("train", "data: {width: 96}\ndata.height: 64", "line 2: data.height stands beside data, give it inside"),
        ("train", "optimizer: {learning-rate: 1, learning_rate: 2}", "learning_rate and learning-rate are one setting"),
        ("train", "<<: {batch-size: 2}\nbatch_size: 4", "batch_size and batch-size are one setting, give it once"),
        (
            "compare",
            "training.optimizer.learning_rate: 0.1\ntraining.optimizer: {method: muon}",
            "line 1: training.optimizer.learning_rate stands beside training.optimizer, give it inside",
        ),
        (
            "compare",
            "training: {optimizer: {schedule: constant}, optimizer.decay_steps: 7}",
            "line 1: optimizer.decay_steps stands beside optimizer, give it inside",
        ),
        ("train", "batch-size: 2\nbatch_size: 4", "line 2: batch_size and batch-size are one setting, give it once"),
        ("train", "network: {operator: conv_gru}\nsteps: 1e3", "--steps is '1000.0': expected a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path, capsys, command, text, said):
    (tmp_path / "c.yaml").write_text(text)
    assert main([command, "--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["initial-flow", "initial_flow"])
def test_a_folder_whose_name_is_a_number_may_be_spelled_either_way(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(f"{name}: 0010")
    assert main(["estimate", "a.png", "b.png", "--config", "c.yaml", "--output", "out"]) == 2
    assert "--initial-flow is '0010': expected dis, zero, or a folder of flow files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--compile=true", "--compile takes no value, and got 'true': give --compile or --no-compile"),
        ("--no-compile=1", "--compile takes no value, and got '1': give --compile or --no-compile"),
        ("--debug=1", "--debug takes no value, and got '1': give --debug alone"),
    ],
)
def test_a_switch_takes_no_value_on_the_command_line(capsys, word, said):
    assert main(["train", word]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"

"""How values of settings are read: numbers as numbers, texts that look like numbers as texts, lists with commas."""

import importlib

import pytest
import yaml

from flowgru.cli import COMMANDS, main
from flowgru.config_file import read_value
from flowgru.parser import TaskParser


@pytest.mark.parametrize("words", [["--steps", "1e3"], ["--steps=1e3"], ["--steps", "2", "--steps", "1e3"]])
def test_a_number_is_shown_as_it_was_typed(capsys, words):
    assert main(["train", *words, "--output", "run"]) == 2
    assert capsys.readouterr().err == "error: --steps is '1e3': expected a whole number\n"


@pytest.mark.parametrize("option", ["--validation.initial-flows", "--validation.initial_flows"])
@pytest.mark.parametrize("form", ["{} dis", "{}=dis", "{} dis,zero"])
def test_a_list_is_written_with_commas_however_its_option_is_spelled(option, form):
    command = importlib.import_module(COMMANDS["train"].module).train
    words = ["--output", "o", "--steps", "1", *form.format(option).split()]
    config = TaskParser("flowgru train", command).parse(words)["config"]
    assert config.validation.initial_flows == (("dis", "zero") if "zero" in form else ("dis",))


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (
            "estimate",
            "resize: 0.50\noutput: 2026_01\nmodel: 007",
            {"resize": "0.50", "output": "2026_01", "model": "007"},
        ),
        ("corpus", "resize: 0.5\noutput: 2026-11-29", {"resize": "0.5", "output": "2026-11-29"}),
        ("live", "resize: 1\nmax_flow: 5\nport: 80", {"resize": "1", "max_flow": 5.0, "port": 80}),
        ("web", "models: [1, 2.0]", {"models": ("1", "2.0")}),
        ("live", "resize: 1.0\n<<: {save: 010, resize: 2.0}", {"resize": "1.0", "save": "010"}),
        ("live", "<<: [{save: 010}, {resize: 2.0}]", {"resize": "2.0", "save": "010"}),
    ],
)
def test_a_number_is_a_text_where_a_text_is_expected(tmp_path, command, text, expected):
    (tmp_path / "c.yaml").write_text(text)
    words = ["a.mp4"] * (command in ("estimate", "corpus")) + ["--config", str(tmp_path / "c.yaml")]
    task = COMMANDS[command]
    parser = TaskParser("flowgru", getattr(importlib.import_module(task.module), task.function))
    settings = parser.parse(words)["settings"]
    assert {name: getattr(settings, name) for name in expected} == expected


def test_a_number_that_begins_with_zero_is_decimal(tmp_path):
    (tmp_path / "c.yaml").write_text("steps: 010\nvalidation: {iterations: [2, 012]}\nseed: 0x10\n")
    command = importlib.import_module(COMMANDS["train"].module).train
    words = ["--config", str(tmp_path / "c.yaml"), "--batch-size", "010", "--output", "o"]
    config = TaskParser("flowgru train", command).parse(words)["config"]
    assert (config.steps, config.validation.iterations, config.seed, config.batch_size) == (10, (2, 12), 16, 10)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "1:30"], "--minutes is '1:30': expected a number"),
        (["--minutes=1:30.5"], "--minutes is '1:30.5': expected a number"),
        (["--batch-size", "1:30"], "--batch-size is '1:30': expected a whole number"),
        (["--minutes", " 1:30"], "--minutes is ' 1:30': expected a number"),
        (["--sets", "[{name: kitti, repeats: 1:30}]"], "1:30 is read in base 60 by YAML: write a number"),
        (["--config", "c.yaml"], "line 1: minutes is 1:30:00, which YAML reads in base 60: write a number"),
        (["--config", "quoted.yaml"], "line 2: validation.every is 1:30, which YAML reads in base 60: write a number"),
    ],
)
def test_no_number_is_read_in_base_60(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("minutes: 1:30:00\n")
    (tmp_path / "quoted.yaml").write_text("output: 1:30\nvalidation: {every: '1:30'}\n")
    assert main(["train", *words, "--output", "12:30"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "12:30").exists()


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("evaluate", "corruptions: fog,rain", {"corruptions": ("fog", "rain")}),
        ("evaluate", "reach-sizes: 64x64\nreach: true", {"reach_sizes": ("64x64",)}),
        ("corpus", "write: score, half\noutput: o", {"write": ("score", "half")}),
        ("corpus", "write: '[score, half]'\noutput: o", {"write": ("score", "half")}),
        ("track", "strides: 1,2\noutput: o\ngrid: 2", {"strides": (1, 2)}),
        ("track", "strides: 1\noutput: o\ngrid: 2", {"strides": (1,)}),
    ],
)
def test_a_list_in_a_file_may_be_written_as_on_the_command_line(tmp_path, command, text, expected):
    (tmp_path / "c.yaml").write_text(text)
    task = COMMANDS[command]
    parser = TaskParser("flowgru", getattr(importlib.import_module(task.module), task.function))
    found = parser.parse(["x", "--config", str(tmp_path / "c.yaml")])
    settings = next(value for value in found.values() if hasattr(value, next(iter(expected))))
    assert {name: getattr(settings, name) for name in expected} == expected


def test_a_list_inside_a_group_may_be_written_so_too(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "steps: 2\nvalidation: {iterations: 12, sets: synthetic, initial_flows: 'zero, dis'}\n"
    )
    command = importlib.import_module(COMMANDS["train"].module).train
    words = ["--config", str(tmp_path / "c.yaml"), "--output", "o"]
    found = TaskParser("flowgru train", command).parse(words)["config"].validation
    assert (found.iterations, found.sets, found.initial_flows) == ((12,), ("synthetic",), ("zero", "dis"))


def test_a_video_of_another_kind_behind_its_switch_is_explained(capsys):
    assert main(["estimate", "clip.mp4", "--output", "o", "--video", "flow.mkv"]) == 2
    said = "--video is followed by flow.mkv: expected no name, or one that ends in .gif or .webp"
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.parametrize(("text", "said"), [("a b.mp4", "cannot read a b.mp4"), ("{a: b}", "inputs is a mapping")])
def test_one_input_needs_no_list(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(f"inputs: {text}\noutput: o\n")
    assert main(["estimate", "--config", "c.yaml", "--device", "cpu"]) in (2, 3)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--backward", "12:30"], ["12:30", "--backward"], ["1:20", "12:30"]])
def test_an_input_may_look_like_a_time(words):
    found = TaskParser("flowgru estimate", importlib.import_module(COMMANDS["estimate"].module).estimate)
    assert found.parse([*words, "--output", "o"])["inputs"][-1] == "12:30"


def test_home_is_found_where_no_shell_looks_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "c.yaml").write_text("output: ~/run\nroot: ./~/sets\nvalidation: {sets: [~/pairs, synthetic]}\n")
    command = importlib.import_module(COMMANDS["train"].module).train
    words = [
        "--config",
        str(tmp_path / "c.yaml"),
        "--steps",
        "1",
        "--data.photos=skimage,~/photos",
        "--resume=~user/~/a",
    ]
    found = TaskParser("flowgru train", command).parse(words)
    config = found["config"]
    assert (found["output"], config.root) == (f"{tmp_path}/run", "./~/sets")
    assert config.validation.sets == (f"{tmp_path}/pairs", "synthetic")
    assert (config.data.photos, found["resume"]) == (f"skimage,{tmp_path}/photos", "~user/~/a")


@pytest.mark.parametrize("text", ["<<: [{steps: 5}, {steps: 010}]", "<<: [{steps: 010}, {steps: 5}]"])
def test_of_merged_mappings_one_counts_for_values_and_their_texts(text):
    """Which of them does depends on PyYAML's version."""
    plain = yaml.safe_load(text.replace("010", "10"))
    assert read_value(text) == plain


@pytest.mark.parametrize("form", ["config", "word"])
def test_a_number_in_an_entry_of_a_list_is_a_text_where_a_text_is_expected(tmp_path, form):
    entry = "&a {name: 2015, augmentation: {height: 96, width: 128, log2_scale: [0, 1]}, repeats: 2}"
    (tmp_path / "c.yaml").write_text(f"sets:\n- {entry}\n- *a\n")
    words = ["--config", str(tmp_path / "c.yaml")] if form == "config" else ["--sets", f"[{entry}, *a]"]
    command = importlib.import_module(COMMANDS["train"].module).train
    sets = TaskParser("flowgru train", command).parse([*words, "--output", "o"])["config"].sets
    assert [(one.name, one.repeats, one.augmentation.height) for one in sets] == 2 * [("2015", 2, 96)]

"""What several rooms need stands in one of them: names of files, the processor's name, dotted names of settings."""

from pathlib import Path

import pytest
from paths import ROOT

from flowgru.comparison.folder import recipe_of
from flowgru.config.flatten import flatten
from flowgru.processes.devices import processor_name


@pytest.mark.parametrize("name", ["comparison.json", "measurements.csv", "model.safetensors", "log.jsonl"])
def test_the_name_of_a_file_is_said_once(name):
    saying = [path.name for path in (ROOT / "flowgru").rglob("*.py") if f'"{name}"' in path.read_text("utf-8")]
    assert len(saying) == 1, saying


@pytest.mark.parametrize("repeated", ["def _flat(", "/proc/cpuinfo"])
def test_what_is_done_once_is_not_done_again(repeated):
    doing = [path.name for path in (ROOT / "flowgru").rglob("*.py") if repeated in path.read_text("utf-8")]
    assert len(doing) == (repeated == "/proc/cpuinfo"), doing


def test_nested_settings_get_dotted_names():
    settings = {"a": 1, "b": {"c": [{"d": 2}], "e": {}, "f": {"g": None}}}
    assert flatten(settings) == {"a": 1, "b.c": [{"d": 2}], "b.f.g": None}
    assert flatten({"x": 1}, "of.") == {"of.x": 1}


def test_what_each_run_has_of_its_own_is_no_part_of_a_recipe():
    network = {"operator": "conv_gru", "options": {"reset": "after"}, "hidden_size": 3, "preset": "compact"}
    settings = {"seeds": [1], "rows": [], "training": {"seed": 1, "workers": 4, "steps": 5, "network": network}}
    assert recipe_of(settings) == {"training.steps": 5, "training.network.preset": "compact"}


@pytest.mark.parametrize(
    ("text", "name"), [("vendor: x\nmodel name\t: A CPU @ 3: GHz\nmodel name\t: B\n", "A CPU @ 3: GHz"), ("", "some")]
)
def test_a_processor_has_the_name_that_the_system_gives_it(monkeypatch, text, name):
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "some")
    assert processor_name() == name

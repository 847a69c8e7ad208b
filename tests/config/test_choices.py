"""A setting that is one of a few words is refused in Python as on the command line, whichever class has it."""

import importlib
import pkgutil
from dataclasses import is_dataclass
from typing import Any

import pytest

import flowgru.config
from flowgru.config.network import NetworkSizes
from flowgru.config.require import choices_of
from flowgru.errors import RequestError

ROW = flowgru.config.RowConfig("a", "conv_gru")
NEEDED: dict[str, dict[str, Any]] = {
    "ComparisonConfig": {"rows": (ROW,), "reference": "a"},
    "CorpusSettings": {"output": "corpus"},
    "EstimateSettings": {"output": "out"},
    "ExportSettings": {"output": "flow.onnx"},
    "TrackSettings": {"output": "tracks", "grid": 4},
}
"""Settings that have no default."""


def settings_with_choices() -> list[tuple[type, str]]:
    modules = [
        importlib.import_module(each.name) for each in pkgutil.walk_packages(flowgru.config.__path__, "flowgru.config.")
    ]
    kinds = {
        each for module in modules for each in vars(module).values() if isinstance(each, type) and is_dataclass(each)
    }
    settings = sorted(kinds - {NetworkSizes}, key=lambda kind: kind.__name__)
    return [(kind, name) for kind in settings for name in choices_of(kind)]


@pytest.mark.parametrize(("kind", "name"), settings_with_choices())
def test_a_word_that_is_no_choice_is_refused_in_one_line_that_says_what_is(kind, name):
    choices = choices_of(kind)[name]
    is_tuple = isinstance(kind.__dataclass_fields__[name].default, tuple)
    settings: Any = kind(**NEEDED.get(kind.__name__, {}))
    object.__setattr__(settings, name, ("wrong",) if is_tuple else "wrong")  # in tests __init__ checks types itself
    with pytest.raises(RequestError) as refused:
        settings.__post_init__()
    message = str(refused.value)
    assert "wrong" in message and "\n" not in message
    assert name.replace("_", "-") in message.replace("_", "-")
    assert all(str(choice) in message for choice in choices if choice is not None)


def test_there_are_such_settings_and_all_their_choices_are_taken():
    found = {(kind.__name__, name) for kind, name in settings_with_choices()}
    assert {("OptimizerConfig", "method"), ("CorpusSettings", "write"), ("Way", "initial_flow")} <= found
    for method in ("adamw", "muon"):
        assert flowgru.config.OptimizerConfig(method=method).method == method
    settings: Any = flowgru.config.ValidationConfig()
    object.__setattr__(settings, "initial_flows", ["zero", "dis"])
    settings.__post_init__()  # a list of choices is as good

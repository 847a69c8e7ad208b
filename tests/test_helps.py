"""Every help speaks plain words: what an option takes, whether it must be given, and its default, but no Python."""

import re
from dataclasses import dataclass, field
from typing import Literal

import pytest

from flowgru.cli import COMMANDS, main
from flowgru.option_texts import default_text, metavar
from flowgru.parser import TaskParser

PYTHON = re.compile(
    r"\b(?:Optional|Union|Literal|List|Dict|Tuple|list|dict|tuple|Callable)\[|\b(?:None|True|False|null|int|str|float)\b"
    r"|\b(?!OMP_)[A-Z]+_[A-Z_]+\b|\bflowgru\.\w|<class|\btype: |keyword argument|%%|\b[A-Z][a-z]+(?:Set|Settings|Config)\b"
)


@dataclass(frozen=True)
class Part:
    """One of several."""

    name: str
    """Its name."""
    weight: float = 1.0
    """Its weight."""


@dataclass(frozen=True)
class Settings:
    """What is done."""

    output: str
    """Where to."""
    num_steps: int = 3
    """How many, in 100 % of the cases."""
    loud: bool = False
    """Whether to shout."""
    quiet: bool | None = None
    """Whether to whisper; without it as the model says."""
    limit: int | None = None
    """At most so many."""
    learning_rate: float = 0.1
    """How fast."""
    sizes: tuple[int, int] = (1, 2)
    """How large."""
    kinds: tuple[Literal["plain", "odd"], ...] = ()
    """Of which kinds."""
    options: dict[str, int | str] = field(default_factory=dict)
    """Anything else."""
    parts: tuple[Part, ...] = ()
    """What it is made of."""


def work(inputs: list[str], settings: Settings, colour: Literal["red", "blue"] = "red") -> None:
    """Does something.

    inputs: Files.
    colour: Of the thing.
    """


def helped(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        TaskParser("flowgru work", work).parse(["--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_speaks_no_python(name, capsys):
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert PYTHON.findall(text) == [] and ".help" not in text


def test_a_help_says_what_an_option_takes_and_its_default(capsys):
    text = helped(capsys)
    for part in (
        "INPUT Files.",
        "--output OUTPUT Where to. (required) --",
        "--num-steps N How many, in 100 % of the cases. (default: 3) --",
        "--loud, --no-loud Whether to shout. (default: no) --",
        "--quiet, --no-quiet Whether to whisper; without it as the model says. --",
        "--limit N At most so many. --",
        "--learning-rate NUMBER How fast. (default: 0.1) --",
        "--sizes N,N How large. (default: 1,2) --",
        "--kinds {plain,odd},... Of which kinds. (default: none) --",
        "--options {NAME: VALUE} Anything else. (default: none) --",
        "--parts LIST What it is made of. Each entry has name, weight. (default: none) --",
        "--colour {red,blue} Of the thing. (default: red) --",
        "--print_config[=flags] Print all settings as they would be used, as a file for --config;",
    ):
        assert part in text
    assert "--parts.help" not in text and not PYTHON.search(text)


@pytest.mark.parametrize(
    ("name", "hint", "shown"),
    [
        ("init_from", str | None, "INIT-FROM"),
        ("data.photos", str, "PHOTOS"),
        ("models", tuple[str, ...], "MODEL,..."),
        ("scale", float | None, "NUMBER"),
    ],
)
def test_what_stands_for_a_value(name, hint, shown):
    assert metavar(name, hint) == shown


@pytest.mark.parametrize(("value", "text"), [(None, ""), (True, "yes"), ((), "none"), ((0.5, 1), "0.5,1"), ("a", "a")])
def test_a_default_is_written_as_one_would_give_it(value, text):
    assert default_text(value) == text

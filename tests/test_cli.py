"""The command line: one line for every error, its exit code, no traceback unasked, and no torch for help."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from paths import ROOT

from flowgru import cli
from flowgru.cli import COMMANDS, Command, main
from flowgru.errors import InputFileError, MachineError, RequestError


@dataclass(frozen=True)
class Inner:
    """Settings inside settings."""

    learning_rate: float = 0.1
    """How fast."""


@dataclass(frozen=True)
class Part:
    """One of several."""

    name: str
    """Its name."""
    inner: Inner = field(default_factory=Inner)
    """Its own settings."""


@dataclass(frozen=True)
class Settings:
    """Settings of a command."""

    output: str
    """Where to."""
    inner: Inner = field(default_factory=Inner)
    """The inner ones."""
    num_steps: int = 3
    """How many, in 100 % of the cases."""
    loud: bool = False
    """Whether to shout."""
    failure: str | None = None
    """What to raise."""
    limit: int | None = None
    """At most so many."""
    sizes: tuple[int, int] = (1, 2)
    """How large."""
    options: dict[str, int | str] = field(default_factory=dict)
    """Anything else."""
    kind: Literal["plain", "odd"] | None = None
    """Of which kind."""
    parts: tuple[Part, ...] = ()
    """What it is made of."""


called: list = []


def task(inputs: list[str], settings: Settings, colour: str = "red") -> int:
    """Does something.

    colour: of the thing, which
        has one.
    """
    failures = {
        "request": RequestError("no such\nthing"),
        "file": InputFileError("a.png is damaged"),
        "machine": MachineError("disk full"),
        "bug": KeyError("surprise"),
        "disk": PermissionError(13, "Permission denied", "a.txt"),
        "extra": ModuleNotFoundError("No module named 'lightning_fabric'", name="lightning_fabric"),
        "files": OSError(24, "Too many open files"),
        "interrupt": KeyboardInterrupt(),
        "pipe": BrokenPipeError(),
    }
    if settings.failure == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if settings.failure is not None:
        raise failures[settings.failure]
    called.append((inputs, settings, colour))
    return 0


@pytest.fixture(autouse=True)
def command(monkeypatch):
    called.clear()
    monkeypatch.setitem(COMMANDS, "work", Command(__name__, "task", "does something"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def error_line(capsys) -> str:
    """What was said on stderr, which must be one line without a traceback."""
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1 and "Traceback" not in text, text
    return text.strip()


def test_arguments_of_every_kind_arrive():
    words = "work a b --output o --inner.learning-rate 1e-3 --num-steps 5 --loud --colour blue"
    assert main(words.split()) == 0
    assert called == [(["a", "b"], Settings("o", Inner(1e-3), 5, True), "blue")]


@pytest.mark.parametrize(
    "words", ["work --inputs a b --output o", "work --output o --inputs=a b", "work a b --output o"]
)
def test_words_may_be_named(words):
    assert main(words.split()) == 0
    assert called[0][0] == ["a", "b"]


def test_a_list_of_settings_comes_as_those_with_what_is_not_given_at_its_default(tmp_path):
    (tmp_path / "c.yaml").write_text("output: o\nparts:\n- {name: a, inner: {learning_rate: 2}}\n- {name: b}\n")
    assert main(["work", "a", "--config", str(tmp_path / "c.yaml")]) == 0
    assert called[0][1].parts == (Part("a", Inner(2.0)), Part("b", Inner(0.1)))


def test_options_can_come_from_a_file_and_the_command_line_goes_first(tmp_path):
    (tmp_path / "c.yaml").write_text("output: here\nnum_steps: 7\nloud: true\ninner:\n  learning_rate: 2\n")
    assert main(["work", "a", "--config", str(tmp_path / "c.yaml"), "--num-steps", "8"]) == 0
    assert called == [(["a"], Settings("here", Inner(2.0), 8, True), "red")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("work a --output=", "error: --output is empty: give a name or a path, or leave it out"),
        ("wrok a", "error: no command 'wrok': did you mean 'work'?"),
        ("help", "work; flowgru --help lists what they do"),
        ("work a --outptu o", "error: unknown argument --outptu: did you mean --output?"),
        ("work a --output o --inner.learning-rat=1", "did you mean --inner.learning-rate?"),
        ("work a --output o --rate 1", "unknown argument --rate"),
        ("work a --output o --num-steps many", "error: --num-steps is 'many': expected a whole number"),
        ("work a --output o --num-steps 1.5", "error: --num-steps is '1.5': expected a whole number"),
        ("work a --output o --limit 1e9", "error: --limit is '1e9': expected a whole number"),
        ("work a --output o --inner.learning-rate nan", "--inner.learning-rate is 'nan': expected a number"),
        (
            "work a --output o --sizes 3",
            "--sizes is '[3]': expected a list of 2 whole numbers with commas between",
        ),
        (
            "work a --output o --options 3",
            "--options is '3': expected a mapping of names to values, such as {name: value}",
        ),
        ("work a --output o --kind x", "--kind is 'x': expected one of plain, odd"),
        ("work a --output o --parts 3", "--parts is '3': expected a list, each entry a mapping with name, inner"),
        ('work a --output o --parts [{"nam":"x"}]', "--parts: unknown nam in an entry: did you mean 'name'?"),
        ('work a --output o --parts [{"inner":{"learning_rat":1}}]', "did you mean 'inner.learning_rate'?"),
        ('work a --output o --parts [{"inner":{"learning_rate":1}}]', "--parts: an entry lacks name"),
        (
            'work a --output o --parts [{"name":"x","inner":{"learning_rate":"fast"}}]',
            "--parts: inner.learning_rate is 'fast': expected a number",
        ),
        ("work a", "error: --output must be given"),
        ("work --output o", "error: INPUT must be given"),
        ("work a --output", "argument --output: expected one argument"),
        ("work a --config nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line_and_exit_2(words, said, capsys):
    assert main(words.split()) == 2
    assert said in error_line(capsys)
    assert not called


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("num_stepss: 3", "c.yaml gives num_stepss, which flowgru work does not know: did you mean --num-steps?"),
        (
            "network:\n  preset: small",
            "c.yaml gives network.preset, which flowgru work does not know: flowgru work --help",
        ),
        ("inner:\n  learning_rte: 3", "did you mean --inner.learning-rate?"),
        ("num_steps: x", "--num-steps is 'x': expected a whole number"),
        ("inner:\n  learning_rate: [", "config"),
    ],
)
def test_a_mistake_in_a_configuration_names_its_key(text, said, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    assert main(["work", "a", "--output", "o", "--config", str(tmp_path / "c.yaml")]) == 2
    assert said in error_line(capsys)


def test_of_two_configurations_the_one_with_the_unknown_setting_is_named(tmp_path, capsys):
    for name, text in (("a", "network.preset: small"), ("b", "num_steps: 3")):
        (tmp_path / f"{name}.yaml").write_text(text)
    files = [word for name in "ab" for word in ("--config", str(tmp_path / f"{name}.yaml"))]
    assert main(["work", "a", "--output", "o", *files]) == 2
    assert f"error: {tmp_path / 'a.yaml'} gives network.preset, which" in error_line(capsys)


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        ("request", 2, "error: no such thing"),
        ("file", 3, "error: a.png is damaged"),
        ("machine", 4, "error: disk full"),
        ("disk", 4, "error: cannot use a.txt: Permission denied"),
        ("extra", 2, "pip install 'flowgru[train]'"),
        ("bug", 1, "KeyError"),
        ("files", 4, "raise the limit of open files"),
        ("interrupt", 130, "stopped by Ctrl-C"),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(failure, code, said, capsys):
    assert main(["work", "a", "--output", "o", "--failure", failure]) == code
    assert said in error_line(capsys)


def test_sigterm_says_that_it_has_come(capsys):
    assert main(["work", "a", "--output", "o", "--failure", "terminated"]) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


def test_debug_shows_the_traceback(capsys):
    assert main(["work", "a", "--output", "o", "--failure", "file", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_help_tells_every_command_and_every_option(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(f"  {name}  " in overview for name in COMMANDS)
    assert main(["work", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Does something.", "--output", "How fast.", "--no-loud", "of the thing, which has one.", "100 %"):
        assert part in text
    assert main([]) == 2


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", "--output", "o", "--stepps", "3"]])
def test_help_and_configuration_errors_need_no_torch(words):
    code = f"import sys; from flowgru.cli import main; main({words}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_has_its_function():
    for command in (COMMANDS[name] for name in COMMANDS if name != "work"):
        module = Path(cli.__file__).parents[1] / (command.module.replace(".", "/") + ".py")
        assert f"\ndef {command.function}(" in module.read_text()


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"work"}))
def test_a_lack_of_memory_names_only_options_that_the_command_has(name, monkeypatch, capsys):
    assert main([name, "--help"]) == 0
    options = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))

    def no_memory(words):
        raise MemoryError

    monkeypatch.setattr(cli, "_run", no_memory)
    assert main([name]) == 4
    said = capsys.readouterr().err
    assert "not enough memory" in said and set(re.findall(r"--[\w.-]*\w", said)) <= options


def test_public_names_are_there_and_are_imported_late():
    code = "import flowgru, sys; assert 'torch' not in sys.modules; [getattr(flowgru, n) for n in flowgru.__all__]"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        import flowgru

        _ = flowgru.nothing


def test_a_reader_that_stops_reading_and_a_locale_without_unicode_end_quietly():
    """As in `flowgru --help | head -0`, in a locale that knows only ASCII."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(
        [sys.executable, "-m", "flowgru", "--help"], stdout=writing, stderr=subprocess.PIPE, env=environment
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")
    found = subprocess.run([sys.executable, "-m", "flowgru", "wörk"], capture_output=True, env=environment)
    assert found.returncode == 2 and b"w\\xf6rk" in found.stderr


def test_an_empty_word_or_entry_or_line_of_a_file_is_refused_too(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("output: ''\n")
    recipe = str(ROOT / "configs/compare.yaml")
    for words, said in (
        (["work", "", "--output", "o"], "INPUT is empty"),
        (["work", "a", "", "--output", "o"], "INPUT is empty"),
        (["work", "a", "--config", str(tmp_path / "c.yaml")], "--output is empty"),
        (["compare", "--config", recipe, "--output", "o", "--sets", '["sintel", ""]'], "--sets is empty"),
    ):
        assert main(words) == 2
        assert said in error_line(capsys)
    assert not called

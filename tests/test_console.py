"""What reaches a terminal is shown, never obeyed, and a command goes its way where its streams are closed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flowgru.cli import main
from flowgru.console import printable, progress, say, warn, wrapped
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import write_image
from flowgru.evaluation.set_report import print_table

EVIL = "a\x1b]0;title\x07\x1b[2J\u202eb\udcff\r"
SHOWN = "a\\x1b]0;title\\x07\\x1b[2J\\u202eb\\udcff\\r"


def test_what_a_terminal_would_obey_is_written_as_escapes():
    assert printable(EVIL) == SHOWN
    plain = "größer 流れ\u3000a\u00a0b \u200d👍\tx\n| ± − |"
    assert printable(plain) == plain


def test_every_way_to_say_something_escapes(capsys):
    say(EVIL)
    warn(EVIL)
    with progress(EVIL, 1, "pairs") as advance:
        advance()
    said = capsys.readouterr()
    assert said.out == SHOWN + "\n"
    assert said.err.splitlines()[0] == SHOWN.removesuffix("\\r") and said.err.splitlines()[1].startswith(
        f"{SHOWN}: 1/1"
    )


def test_names_of_files_are_escaped_by_the_commands(tmp_path, capsys):
    flow = np.zeros((4, 5, 2), np.float32)
    (tmp_path / "x\x1b[2J").mkdir()
    write_flow(tmp_path / "x\x1b[2J" / "a.flo", flow)
    assert main(["view", str(tmp_path / "x\x1b[2J" / "a.flo"), str(tmp_path / "none\x1b]0;x\x07.flo")]) == 3
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "x\\x1b[2J" in said.out and "none\\x1b]0;x\\x07.flo" in said.err


def test_a_picture_that_pillow_finds_large_is_read_without_a_warning(tmp_path, model, pair, monkeypatch, capsys):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 2000)  # more than twice as much Pillow refuses
    assert main(["estimate", *pair, "--model", model, "--output", str(tmp_path / "out")]) == 0
    assert "Image size" not in capsys.readouterr().err


def test_a_table_escapes_names(capsys):
    print_table({"model": EVIL}, [])
    assert "\x1b" not in capsys.readouterr().out


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", np.zeros((16, 24, 3), np.uint8))
    write_flow(tmp_path / "a.flo", np.zeros((16, 24, 2), np.float32))
    (tmp_path / "m.csv").write_text("first,second,flow\na.png,b.png,a.flo\n")
    return tmp_path / "m.csv"


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("streams", "words", "code"),
    [
        (">&- 2>/dev/null", "{m} --baseline zero --output {out}", 0),
        ("2>&-", "{m} --baseline zero --model x", 2),
        (">&- 2>&- <&-", "{out}/none.csv --baseline zero", 3),
        (">/dev/full 2>/dev/null", "{m} --baseline zero", 4),
        (">/dev/null 2>/dev/full", "{m} --baseline zero --output {out}", 0),
        ("2>/dev/full", "{out}/none.csv --baseline zero", 3),
    ],
)
def test_closed_streams_change_no_exit_code_and_no_file(manifest, tmp_path, streams, words, code):
    """The next file that is opened would take the place of a closed stream, and an error would go to stdout."""
    out = tmp_path / "out"
    command = f"exec {sys.executable} -m flowgru evaluate {words.format(m=manifest, out=out)} {streams}"
    held = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # to the end, if need be
    ended = subprocess.run(["sh", "-c", command], capture_output=True, env=held, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, b"", b"")
    if code == 0:
        assert (out / "pairs.csv").read_text("utf-8").startswith("pair,set,epe")


@pytest.mark.skipif(os.name == "nt", reason="there is no such file")
def test_the_lines_of_a_long_run_end_in_silence_where_the_disk_is_full():
    code = (
        "from flowgru.console import lines_over_bar\n"
        "with lines_over_bar(3) as (console, _):\n"
        "    for line in range(3):\n"
        "        console.print(line, 'x' * 10000)\n"
        "import sys; print('went on', file=sys.stderr)"
    )
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"went on\n")


ORPHAN = """
import multiprocessing, os, signal
from flowgru.processes.signals import end_with_parent

def work(ours, theirs):
    end_with_parent()
    ours.close()
    os.write(1, b"began")
    theirs.send("began")
    theirs.recv()

ours, theirs = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=work, args=(ours, theirs))
process.start()
ours.recv()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_the_worker_of_a_killed_process_ends_without_a_word():
    ended = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, timeout=120
    )  # until its pipes are closed
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, b"began", b"")


LONG = (
    "  files   of which /a/very/long/path/that/must/stay/whole/because/somebody/copies/it/into/a/shell/a.png is damaged"
)


def test_lines_are_wrapped_at_words_for_a_terminal_and_whole_for_a_pipe():
    assert wrapped(LONG, None) == LONG and wrapped("short\n\nlines", 80) == "short\n\nlines"
    lines = wrapped(LONG, 80).split("\n")
    assert (
        lines[0] == "  files   of which"
        and lines[2] == "    is damaged"
        and " ".join(" ".join(lines).split()) == " ".join(LONG.split())
    )
    assert wrapped("word " * 40, 30).split("\n")[1] == "  word word word word word"


def test_what_is_said_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    say("a result of many words " * 5)
    warn("a warning of many words " * 5)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert len(text.splitlines()) > 2 and max(map(len, text.splitlines())) <= 40


def test_the_time_that_is_left_may_be_days(monkeypatch, capsys):
    moments = iter(3600.0 * hour for hour in range(9))
    with monkeypatch.context() as patch:
        patch.setattr("time.perf_counter", lambda: next(moments))
        with progress("walk", 31, "pairs") as advance:
            advance()
    assert capsys.readouterr().err == "walk: 1/31 pairs, 0.00 pairs/s, 1 day, 6:00:00 left\n"

"""`flowgru web` says in one line what it cannot do, and needs its extra only to serve."""

import errno
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
from media import moving_frames
from paths import ROOT
from PIL import Image

from flowgru.cli import main
from flowgru.errors import InputFileError
from flowgru.web.settings import WebSettings
from flowgru.web.visitors import Visitors, error_line
from flowgru.web.work import Models, Wishes

LOOKING, COMPUTING = ("_look", "_point"), ("_estimate_pair", "_estimate_clip", "_make_file")
"""Events of the page by the names of what they call."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server sets is as it was afterwards."""
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "GRADIO_SSR_MODE", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")


def test_its_help_needs_no_extra_and_serving_names_it(environment, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["web", "--help"]) == 0
    assert "--max-megapixels" in capsys.readouterr().out
    assert main(["web", "--port", "0"]) == 2
    assert capsys.readouterr().err == "error: the package gradio is missing: pip install 'flowgru[web]'\n"


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--models", "default,nowhere.pth"], 2, "there is no model file nowhere.pth"),
        (["--models", "nowhere.onnx"], 2, "there is no model file nowhere.onnx"),
        (["--models", "raft_large", "--device", "cuda"], 4, "the device cuda cannot be used"),
        (["--device", "gpu"], 2, "--device is 'gpu': expected auto, cpu, cuda, cuda:0 or the like"),
    ],
)
def test_what_cannot_be_opened_is_told_before_anybody_visits(words, code, said, environment, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    assert main(["web", "--port", "0", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_the_page_is_served_at_an_address_of_ipv6(model):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'flowgru[web]'")
    words = ["web", "--host", "::1", "--port", "0", "--models", model, "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, "-m", "flowgru", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said = re.match(r"the page is at (http://\[::1\]:\d+) ", server.stdout.readline())
            assert said is not None
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(said[1], timeout=60) as answer:
                assert answer.status == 200
        finally:
            server.terminate()


def test_only_who_wants_something_computed_waits_in_the_queue(environment, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'flowgru[web]'")
    from flowgru.web.page import Page

    settings = WebSettings(models=("default",))
    events = Page(settings, Visitors(tmp_path, settings)).blocks.fns.values()
    waits = {event.name: event.queue for event in events if event.name in (*LOOKING, *COMPUTING)}
    assert waits == dict.fromkeys(LOOKING, False) | dict.fromkeys(COMPUTING, True)


def test_models_of_one_name_are_told_apart_and_the_others_are_short():
    models = Models(WebSettings(models=("default", "/s/a/m.pth", "/s/b/m.pth", "/s/x.pth", "default")))
    assert models.names == ["default", "a/m.pth", "b/m.pth", "x.pth"]
    assert models.settings(Wishes("b/m.pth")).model == "/s/b/m.pth"


def test_a_port_that_is_taken_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["web", "--port", str(port)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot listen at 127.0.0.1:{port} (") and "give another --port" in line


@pytest.mark.parametrize(
    "words, said",
    [
        (["--max-frames", "1"], "--max-frames is 1: it must be 2 or more"),
        (["--max-upload", "0"], "--max-upload is 0.0: it must be above 0"),
        (["--max-megapixels", ".nan"], "--max-megapixels is nan: it must be above 0"),
        (["--max-waiting", "0"], "--max-waiting is 0: it must be 1 or more"),
        (["--port", "65536"], "--port is 65536: it must be a number from 0 to 65535; 0 takes a free one"),
        (["--models", "[]"], "--models is empty: it must be one name or file at least"),
    ],
)
def test_limits_that_make_no_sense_are_refused(words, said, capsys):
    assert main(["web", *words]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.parametrize(
    "wishes, said",
    [
        (Wishes("/etc/passwd"), "error: the model is '/etc/passwd': expected one of default, mine.safetensors"),
        (Wishes("default", initial_flow="/etc"), "error: the initial flow is '/etc': expected one of dis, zero"),
        (Wishes("default", iterations=1000), "error: iterations is 1000: it must be from 1 to 64"),
    ],
)
def test_a_visitor_names_no_files_of_the_server_and_asks_for_no_endless_work(wishes, said, tmp_path):
    visitors = Visitors(tmp_path / "visitors", WebSettings(models=("default", "/secret/mine.safetensors")))
    (line,) = visitors.estimate("../..", [str(tmp_path / "a.png"), str(tmp_path / "b.png")], wishes)
    assert isinstance(line, str) and line.startswith(said) and str(tmp_path) not in line
    assert visitors.folder("../..").parent == tmp_path / "visitors"
    visitors.leave("../..")
    assert list((tmp_path / "visitors").iterdir()) == []


def test_an_animation_among_two_pictures_is_named_and_not_the_other_one(pair, tmp_path, capsys):
    first, *others = map(Image.fromarray, moving_frames(3))
    first.save(tmp_path / "moving.png", save_all=True, append_images=others)
    visitors = Visitors(tmp_path / "visitors", WebSettings(models=("default",)))
    for inputs in ([pair[0], str(tmp_path / "moving.png")], [str(tmp_path / "moving.png"), pair[0]]):
        (line,) = visitors.estimate("a", inputs, Wishes("default"))
        assert isinstance(line, str) and line.startswith("error: moving.png is an animation of 3 pictures: ")


@pytest.mark.parametrize(
    "error, said",
    [
        (InputFileError("/tmp/x/a.png is damaged"), "error: a.png is damaged"),
        (MemoryError(), "error: not enough memory: compute at a smaller size"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (KeyError("x"), "error: KeyError: 'x' (a bug)"),
    ],
)
def test_every_error_becomes_one_line(error, said, tmp_path, capsys):
    assert error_line(error, [Path("/tmp/x")]) == said
    assert capsys.readouterr().err.splitlines()[-1] == said

"""One page for all tests, served by the command, and one browser. Nothing of flowgru is imported above: the type checks
begin after this file."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Served(NamedTuple):
    """A page that is served, and the folder for temporary files of its server."""

    address: str
    temporary: Path


@pytest.fixture(scope="module")
def served(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`flowgru web` with a small model, small limits and no way to another machine: a proxy that does not answer."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'flowgru[web]'")
    temporary = tmp_path_factory.mktemp("web")
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    limits = ["--max-upload", "0.2", "--max-frames", "4", "--max-megapixels", "0.03"]
    words = ["web", "--port", "0", "--models", model, "--device", "cpu", *limits]
    with subprocess.Popen(
        [sys.executable, "-m", "flowgru", *words],
        cwd=ROOT,
        env={**os.environ, **nowhere, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=(temporary / "stderr").open("w"),
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            said = re.match(r"the page is at (http://127\.0\.0\.1:\d+) ", server.stdout.readline())
            assert said is not None, (temporary / "stderr").read_text()
            yield Served(said[1], temporary)
            server.terminate()
            assert server.wait(100) == 143
        finally:
            server.kill()
    assert [path.name for path in temporary.glob("flowgru-web-*")] == []


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium to open the page with: install one, such as Debian's package chromium")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield opened
        opened.close()


@pytest.fixture
def page(served: Served, browser: "Browser") -> "Iterator[Page]":
    """The page as a visitor opens it; no test may make it ask another address for anything."""
    asked = []
    with browser.new_page(viewport={"width": 1300, "height": 900}) as opened:
        opened.set_default_timeout(30_000)
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(served.address)
        yield opened
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []

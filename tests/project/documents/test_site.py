"""The site is built without a network, asks no other address for anything, and no link inside it is broken."""

import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import pytest
from paths import ROOT

pytestmark = pytest.mark.slow

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser asks for by itself, without a click."""


class Page(HTMLParser):
    """What a page loads, where its links lead, and the names in it that a link can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (address := given.get(LOADED.get(tag, ""))) and given.get("rel") != "canonical":
            self.loaded.append(address)
        if tag == "a" and (address := given.get("href")):
            self.links.append(address)
        self.names |= {name for key in ("id", "name") if (name := given.get(key))}


@pytest.fixture(scope="module")
def site() -> Path:
    pytest.importorskip("zensical", reason="zensical is not installed: pip install 'flowgru[docs]'")
    # No proxy answers there, so what would ask an outside address fails.
    environment = {"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    built = subprocess.run(
        [sys.executable, ROOT / "docs/build.py"], env=environment, capture_output=True, text=True, timeout=200
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return ROOT / "build/site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


def test_no_page_asks_another_address_for_scripts_styles_pictures_or_fonts(site, pages):
    asked = {address for page in pages.values() for address in page.loaded if urlparse(address).netloc}
    assert asked == set()
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert "url(http" not in styles and "url(//" not in styles and "@import" not in styles
    assert len(list(site.rglob("*.css"))) > 0 and any(page.loaded for page in pages.values())


def test_every_link_inside_the_site_leads_to_a_place_in_it(site, pages):
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are made for the root of a server
            continue
        for link in [*page.links, *page.loaded]:
            parts = urlparse(urljoin(path.as_uri(), link))
            if parts.scheme != "file":
                continue
            target = Path(unquote(parts.path))
            target = target / "index.html" if target.is_dir() else target
            lands = target.exists() and site in (target, *target.parents)
            if not lands or (parts.fragment and target in pages and parts.fragment not in pages[target].names):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_the_reference_shows_what_the_docstrings_say(site):
    shown = (site / "docs/reference/flow/index.html").read_text("utf-8")
    assert "The flow from each first picture to its second" in shown and "::: flowgru" not in shown
    assert "<p><strong><code>initial_flow</code></strong>: where they begin" in shown


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path):
    tree = tmp_path / "tree"
    (tree / "docs").mkdir(parents=True)
    (tree / "README.md").write_text("# A page\n\n[nowhere](docs/nowhere.md)\n")
    (tree / "mkdocs.yml").write_text("site_name: x\ndocs_dir: build/pages\nsite_dir: build/site\n")
    script = tree / "docs/build.py"
    script.write_bytes((ROOT / "docs/build.py").read_bytes())
    assert runpy.run_path(str(script))["main"]() == 1

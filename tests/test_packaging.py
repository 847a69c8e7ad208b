"""What packs flowgru for others says the same as pyproject.toml: citation, container, conda recipe, lock file."""

import re
import tomllib

import pytest
import yaml
from packaging.version import parse
from paths import ROOT

from flowgru.version import VERSION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA_NAMES = {"opencv-python-headless": "py-opencv", "torch": "pytorch"}
"""Packages that conda-forge calls otherwise."""


def requirement(text: str) -> tuple[str, str]:
    """The name and the bounds of a requirement."""
    name, bounds = re.fullmatch(r"([\w.-]+) ?(.*)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return name, bounds


def newest_release() -> str:
    """The first version in the changelog that has a date."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", text, re.MULTILINE)[0]


def test_between_two_releases_the_version_is_that_of_the_next_one_in_development():
    unreleased = "## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    release, version = parse(newest_release()), parse(VERSION)
    assert version.is_devrelease and version > release if unreleased else version == release


def test_the_citation_is_of_the_newest_release():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software" and cited["message"]
    assert cited["version"] == newest_release() and cited["license"] == PROJECT["license"]
    assert f"## {cited['version']} ({cited['date-released']})" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    for work in [cited, *cited["references"]]:
        assert work["title"] and all(author.get("name") or author.get("family-names") for author in work["authors"])


def test_the_conda_recipe_needs_what_the_wheel_needs():
    recipe = yaml.safe_load((ROOT / "recipe/meta.yaml").read_text("utf-8"))
    assert recipe["package"] == {"name": PROJECT["name"], "version": newest_release()}
    assert recipe["source"]["git_rev"] == f"v{newest_release()}"
    expected = {CONDA_NAMES.get(name, name): bounds for name, bounds in map(requirement, PROJECT["dependencies"])}
    found = dict(map(requirement, recipe["requirements"]["run"]))
    assert found == {"python": PROJECT["requires-python"], **expected}
    assert recipe["build"]["entry_points"] == [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]


def test_the_container_gets_the_files_that_the_wheel_is_made_of_and_the_same_torch():
    lines = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {name for files in re.findall(r"^COPY (.*) \S+$", lines, re.MULTILINE) for name in files.split()}
    assert copied == {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "flowgru"}
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert allowed[0] == "*" and {f"!{name}" for name in copied} <= {*allowed}
    torches = [text for text in PROJECT["dependencies"] if requirement(text)[0].startswith("torch")]
    assert len(torches) == 2 and all(f'"{text}"' in lines for text in torches)


def test_the_lock_file_knows_public_addresses_alone():
    path = ROOT / "uv.lock"
    if not path.exists():
        pytest.skip("there is no uv.lock: an archive of the sources has none")
    text = path.read_text("utf-8")
    hosts = {*re.findall(r"[a-z+]+://([^/\"]+)", text)}
    # The public index and its files are at such addresses; a mirror has a port, a number, a user or another ending.
    assert hosts and all(re.fullmatch(r"([a-z]+\.){1,2}org", host) for host in hosts) and "http://" not in text
    locked = tomllib.loads(text)
    (ours,) = [package for package in locked["package"] if package["name"] == PROJECT["name"]]
    needed = {entry["name"] for entry in ours["metadata"]["requires-dist"]}
    assert {requirement(text)[0].lower() for text in PROJECT["dependencies"]} <= needed

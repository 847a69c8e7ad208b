"""What the documents say is so: commands parse, settings load, Python runs, links lead somewhere, the site shows all."""

import dataclasses
import importlib
import io
import re
import runpy
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from exports import exported, small_network, write_model
from markdown.extensions.toc import slugify
from media import moving_frames, noisy_frames, write_clip
from paths import ROOT
from PIL import Image

import flowgru
from flowgru.cli import COMMANDS, main
from flowgru.config import AugmentationSettings, StageSet
from flowgru.data.sets.layouts import DATASETS
from flowgru.data.sets.opening import is_manifest
from flowgru.operators import UPDATE_OPERATORS
from flowgru.option_texts import default_text, field_texts
from flowgru.parser import TaskParser

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "results/*.md", "datasets/README.md") for path in ROOT.glob(pattern)
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in PAGES}
TODAY = {name: text for name, text in TEXTS.items() if not name.startswith("results/") and name != "CHANGELOG.md"}
"""Without the records of what was run or changed once, under the names of that time."""
EXAMPLES = {
    path.relative_to(ROOT).as_posix(): re.sub(r"^# ?", "", path.read_text("utf-8"), flags=re.MULTILINE)
    for path in sorted(ROOT.glob("docs/examples/*.py"))
}
"""The scripts of the worked examples, with their sentences as a notebook shows them."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
VERBS = "|".join(COMMANDS)
NOT_OURS = {"--max-restarts", "--gpu", "--data-root", "--no-deps"}
"""Options of torchrun, of the tests and of pip."""


def blocks(name: str, language: str) -> list[str]:
    return [text for kind, text in FENCED.findall(TEXTS[name]) if kind == language]


def inline(text: str) -> list[str]:
    """The code inside sentences and tables, each on one line."""
    return [" ".join(code.split()) for code in INLINE.findall(FENCED.sub("", text))]


def commands() -> list[str]:
    sources = [
        *TODAY.values(),
        *EXAMPLES.values(),
        *(path.read_text("utf-8") for path in sorted(ROOT.glob("configs/*.yaml"))),
    ]
    lines = [line for text in sources for line in re.findall(rf"^[# ]*(flowgru (?:{VERBS}) .*)$", text, re.M)]
    records = [text.replace("\\\n", " ") for name, text in TEXTS.items() if name.startswith("results/")]
    lines += [line for text in records for line in re.findall(rf"^ {{4,}}(flowgru (?:{VERBS}) .*)$", text, re.M)]
    said = [code for text in sources for code in inline(text) if re.match(rf"flowgru (?:{VERBS}) ", code)]
    return [line for line in dict.fromkeys(lines + said) if "--help" not in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has the project's configurations, and those that the pages tell a reader to save."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "configs").symlink_to(ROOT / "configs")
    for block in (block for name in TEXTS for block in blocks(name, "yaml")):
        if named := re.match(r"# (\w+\.yaml)", block):
            (folder / named[1]).write_text(block)
    return folder


@cache
def parser_of(verb: str) -> TaskParser:
    command = COMMANDS[verb]
    return TaskParser("flowgru", getattr(importlib.import_module(command.module), command.function))


@pytest.mark.parametrize("line", commands())
def test_every_command_is_understood(line, place, monkeypatch):
    monkeypatch.chdir(place)
    for name, value in {"$operator": "conv_gru", "$start": "conv_gru", " [METHOD]": ""}.items():
        line = line.replace(name, value)
    words = shlex.split(line, comments=True)
    given = parser_of(words[1]).parse(words[2:])
    sets = {"evaluate": given.get("data", []), "data": given.get("words", [])[1:]}.get(words[1], [])
    sets = [name for name in sets if not name.endswith(".mp4")]  # a video, of which the pages have none
    assert [name for name in sets if name not in DATASETS and not is_manifest(name)] == []


def test_there_are_commands_to_check():
    assert {line.split()[1] for line in commands()} == set(COMMANDS) - {"demo"}  # which needs no words


def test_only_commands_that_exist_are_named():
    named = {code.split()[1] for text in TODAY.values() for code in inline(text) if re.match(r"flowgru \w", code)}
    assert named - set(COMMANDS) <= {"COMMAND", "VERB"}


@cache
def known_options() -> set[str]:
    found = set(NOT_OURS)
    for verb in COMMANDS:
        with io.StringIO() as text, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", text)
            main([verb, "--help"])
            found |= set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))
    for script in ROOT.glob("benchmarks/*.py"):
        found |= set(re.findall(r'add_argument\(\s*"(--[a-z][\w-]*)"', script.read_text("utf-8")))
    return found | {"--print_config"}


@pytest.mark.parametrize("name", TODAY)
def test_every_option_that_is_named_exists(name):
    text = TEXTS[name]
    if name == "docs/coming_from.md":  # its first column has the options of other programs
        text = re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE)
    said = {match[0] for code in inline(text) if (match := re.match(r"--[a-z][\w.-]*", code))}
    assert said - known_options() == set()


@pytest.mark.parametrize("block", [block for name in TEXTS for block in blocks(name, "yaml")])
def test_every_configuration_is_one_of_a_training(block, tmp_path):
    (tmp_path / "page.yaml").write_text(block)
    parser_of("train").parse(["--config", str(tmp_path / "page.yaml"), "--output", "runs/page"])


@pytest.fixture
def materials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the Python of the pages takes for given, as files in the working directory and as names."""
    monkeypatch.chdir(tmp_path)
    frames = moving_frames(3)
    write_clip(tmp_path / "clip.mp4", frames)
    for name, frame in zip("ab", frames, strict=False):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    (tmp_path / "out").mkdir()
    flowgru.write_flow(tmp_path / "out/frame_000001.flo", np.zeros((8, 12, 2), np.float32))
    first, second = (torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in noisy_frames(2))
    halves = {"first_half": first[:, ::2, ::2], "second_half": second[:, ::2, ::2]}
    return {"__name__": "__main__", "frames": frames, "first": first, "second": second, **halves}


def run_blocks(name: str, names: dict) -> None:
    found = blocks(name, "python")
    assert found
    for block in found:
        exec(compile(block, name, "exec"), names)


SLOW = ("docs/corpus.md", "docs/estimate.md")
"""Pages whose Python needs what a command computes first."""


@pytest.mark.parametrize("name", [name for name in TEXTS if blocks(name, "python") and name not in SLOW])
def test_the_python_of_a_page_runs(name, materials, capsys):
    run_blocks(name, materials)
    if name == "README.md":
        assert materials["picture"].shape == (48, 64, 3)
    if name == "docs/errors.md":
        assert capsys.readouterr().out.startswith("3 ")
    if name == "docs/coordinates.md":
        assert materials["full"].shape == materials["first"][:2].shape
    if name == "docs/warping.md":
        back = materials["back"].permute(1, 2, 0).numpy()
        seen = (materials["valid"] & ~materials["hidden"]).numpy()
        assert seen.any() and np.allclose(materials["same"][seen], back[seen], atol=0.05)  # OpenCV rounds to 1/32 px


@pytest.mark.slow
def test_the_python_of_the_page_about_a_corpus_runs(materials, capsys):
    Path("videos").mkdir()
    Path("clip.mp4").rename("videos/walk.mp4")
    for folder, items in (("flows", "jpeg,score"), ("tars", "shards")):
        assert (
            main(["corpus", "videos", "--output", folder, "--write", items, "--workers", "1", "--device", "cpu"]) == 0
        )
    run_blocks("docs/corpus.md", materials)
    assert "walk.mp4 2" in capsys.readouterr().out


@pytest.mark.slow
def test_the_python_that_runs_exported_files_gives_one_flow(materials):
    pytest.importorskip("openvino", reason="needs the extra export")
    model = write_model(Path("model.safetensors"), small_network(confidence=True))
    for suffix, form in (("onnx", "onnx"), ("xml", "openvino"), ("pt2", "torch-export")):
        exported(Path(f"flow.{suffix}"), "--model", model, "--format", form, "--iterations", 2, "--no-warm-start")
    run_blocks("docs/estimate.md", materials)
    assert materials["flow"].shape == (1, 2, 128, 256)
    for other in (materials["flow_of_openvino"], materials["flow_of_torch"].numpy()):
        assert np.abs(other - materials["flow"]).max() < 1e-3


@pytest.mark.parametrize("settings", [StageSet, AugmentationSettings])
def test_every_setting_of_a_set_is_told_of(settings):
    for field in dataclasses.fields(settings):
        text = " ".join(dict(field_texts(settings))[field.name].split())
        usual = "" if field.default is dataclasses.MISSING else default_text(field.default)
        usual = f"{field.default:.3f}" if field.name == "hue" else usual
        assert f"| `{field.name}` | {usual} | {text} |" in TEXTS["docs/train.md"]


def links(name: str) -> list[str]:
    text = INLINE.sub("", FENCED.sub("", {**TEXTS, **EXAMPLES}[name]))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {slugify(heading.replace("`", ""), "-") for heading in headings}


@pytest.mark.parametrize("name", [*TEXTS, *EXAMPLES])
def test_every_link_leads_somewhere(name):
    for link in links(name):
        path, _, anchor = link.partition("#")
        target = ROOT / name if not path else (ROOT / name).parent / path
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_the_site_shows_every_page_once():
    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        assert not isinstance(inner, type(None))
        return [file for part in inner for file in files(part)]  # pyright: ignore[reportGeneralTypeIssues]

    shown = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(shown) == sorted(TEXTS)


def test_the_reference_has_every_public_function_and_every_operator():
    reference = "".join(text for name, text in TEXTS.items() if name.startswith("docs/reference/"))
    shown = re.findall(r"^::: ([\w.]+)$", reference, re.MULTILINE)
    functions = {f"{home}.{name}" for name, home in flowgru._HOMES.items()}
    operators = {f"{kind.__module__}.{kind.__qualname__}" for kind in UPDATE_OPERATORS.values()}
    assert functions | operators <= set(shown) and len(shown) == len(set(shown))
    for name in UPDATE_OPERATORS:
        assert f"| `{name}` |" in TEXTS["docs/operators.md"]


def test_the_pictures_of_the_pages_are_those_of_their_script(tmp_path):
    runpy.run_path(str(ROOT / "docs/make_pictures.py"))["main"](tmp_path)
    kept = {path.name: path for path in (ROOT / "docs/pictures").iterdir()}
    assert sorted(kept) == sorted(path.name for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in kept.values()) < 150_000
    for name, path in kept.items():
        one, other = (np.asarray(Image.open(source), int) for source in (path, tmp_path / name))
        assert np.abs(one - other).mean() < 2

"""Imports go down and never in circles, no room is crowded, heavy dependencies have one home, and tests mirror flowgru/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

FLOORS = [  # from the ground up; "" is flowgru/__init__.py
    {"config", "types", "errors", "tracing", "kernels", "version"},
    {"scan", "grid", "layers", "kinds", "files", "processes", "console", "option_texts", "option_words"},
    {"operators", "data"},
    {"model", "view"},
    {"estimation"},
    {"evaluation", "benchmarking", "corpus", "tracking", "live", "web"},
    {"training"},
    {"comparison"},
    {"commands"},
    {"config_file", "option_parser", "parser", "cli", "__main__", ""},
]
NEIGHBOURS = {
    ("config", "errors"),
    ("kernels", "errors"),
    ("processes", "files"),
    ("parser", "config_file"),
    ("parser", "option_parser"),
    ("option_parser", "config_file"),
    ("cli", "parser"),
    ("__main__", "cli"),
}
"""The only imports along a floor: settings and kernels speak in the words of errors, processes write through the door of
files, cli has a parser, which has an option_parser and a config_file, `python -m flowgru` is cli."""

MAX_FILES, MAX_LINES = 15, 300
"""In a folder of flowgru/ or tests/, besides __init__.py and conftest.py, and in one of its files."""

TESTS_ALONE = {"campaign", "helpers", "project"}
"""Folders of tests/ that are no folder of flowgru/: an attack, what tests share, and the tests of the project as a whole."""

HOMES = {  # package: the files, or folders of files, that may import it
    "cv2": ("data/", "live/display.py"),
    "PIL": ("data/",),
    "av": ("data/",),
    "imageio": ("data/",),
    "h5py": ("data/",),
    "skimage": ("data/",),
    "scipy": ("comparison/statistics.py", "model/initial_flow.py"),
    "huggingface_hub": ("model/weight_files/hub.py",),
    "torchvision": ("model/weight_files/loading.py",),
    "triton": ("kernels/probe.py", "scan/triton_kernels.py", "model/correlation/", "layers/triton_norm.py"),
    "onnx": ("model/exported/",),
    "onnxruntime": ("model/exported/",),
    "openvino": ("model/exported/",),
    "matplotlib": ("view/report/",),
    "lightning_fabric": ("processes/fabric.py",),
    "tensorboard": ("training/board.py",),
    "dask": ("corpus/workers/opening.py",),
    "distributed": ("corpus/workers/", "corpus/work.py"),
    "dask_jobqueue": ("corpus/workers/slurm.py",),
    "pyarrow": ("corpus/parquet.py",),
    "gradio": ("web/",),
    "jsonargparse": ("config_file.py", "option_parser.py", "parser.py"),
    "rich": ("console.py", "evaluation/set_report.py", "training/run_log.py"),
}


def imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    """Every module that a file of `package` imports by name, wherever in the file, relative names made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join((*parents, node.module) if node.module else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))


def violations(root: Path) -> list[str]:
    """What the tree under `root` does against the floor plan, one line each."""
    found = [f"{path.relative_to(root)}: datasets/ holds no Python" for path in (root / "datasets").rglob("*.py")]
    floor_of = {part: floor for floor, parts in enumerate(FLOORS, start=1) for part in parts}
    for path in sorted((root / "flowgru").rglob("*.py")):
        file = path.relative_to(root / "flowgru")
        package = ("flowgru", *file.parts[:-1])
        part = "" if file.as_posix() == "__init__.py" else file.parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text("utf-8"))
        if not ast.get_docstring(tree):
            found.append(f"{file}: no docstring")
        if part not in floor_of:
            found.append(f"{file}: {part} is on no floor")
            continue
        for name in imported(tree, package):
            top, _, inside = name.partition(".")
            if name.endswith(".*"):
                found.append(f"{file}: import * from {name[:-2]}")
            if top == "flowgru":
                other = inside.partition(".")[0]
                other = other if other in floor_of else ""  # a name of flowgru/__init__.py itself
                along = floor_of[other] == floor_of[part] and (part, other) not in NEIGHBOURS
                if other != part and (floor_of[other] > floor_of[part] or along):
                    found.append(f"{file}: {part or 'flowgru'} may not import {other or 'flowgru'}")
            elif not file.as_posix().startswith(HOMES.get(top, ("",))):
                found.append(f"{file}: {top} is at home in {', '.join(HOMES[top])}")
        if part == "operators" and any(isinstance(n, ast.Attribute) and n.attr == "_replace" for n in ast.walk(tree)):
            found.append(f"{file}: _replace gives an empty tuple in a graph that torch 2.11 compiles: call the class")
    return found


def crowding(root: Path) -> list[str]:
    """Folders with more files, and files with more lines, than one looks through; one line each."""
    found = []
    for folder in (path for top in ("flowgru", "tests") for path in (root / top, *(root / top).rglob("*/"))):
        files = [path for path in folder.glob("*.py") if path.name not in ("__init__.py", "conftest.py")]
        if len(files) > MAX_FILES:
            found.append(f"{folder.relative_to(root)} holds {len(files)} files, more than {MAX_FILES}")
        lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files}
        found += [
            f"{path.relative_to(root)} has {length} lines, more than {MAX_LINES}"
            for path, length in lengths.items()
            if length > MAX_LINES
        ]
    return found


def strays(root: Path) -> list[str]:
    """Folders of tests that test neither a folder of flowgru/ nor a file of their name there; one line each."""
    folders = {path.parent.relative_to(root / "tests") for path in (root / "tests").rglob("*.py")}
    return [
        f"tests/{folder} tests nothing of flowgru/: there is neither flowgru/{folder} nor flowgru/{folder}.py"
        for folder in sorted(folders)
        if folder.parts and folder.parts[0] not in TESTS_ALONE
        if not (root / "flowgru" / folder).is_dir() and not (root / "flowgru" / f"{folder}.py").is_file()
    ]


def circles(root: Path) -> list[str]:
    """Files that import each other, directly or around several corners, wherever in a file the import stands."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / "flowgru").rglob("*.py")
    }
    imports: dict[str, set[str]] = {}
    for name, path in paths.items():
        package = path.relative_to(root).parts[:-1]
        named = imported(ast.parse(path.read_text("utf-8")), package)
        # `from flowgru.scan import x` names a module of flowgru.scan or something in its __init__.
        imports[name] = {other if other in paths else other.rpartition(".")[0] for other in named} & {*paths} - {name}
    remaining = {name: {*others} for name, others in imports.items()}
    while leaves := [name for name, others in remaining.items() if not others & {*remaining}]:
        for leaf in leaves:
            del remaining[leaf]
    return sorted(remaining)


def test_this_project_keeps_the_floor_plan():
    assert (ROOT / "flowgru/config/__init__.py").is_file() and violations(ROOT) == []


def test_no_room_of_this_project_is_crowded_and_no_files_import_each_other():
    assert crowding(ROOT) == [] and circles(ROOT) == []


def test_the_tests_lie_where_what_they_test_lies():
    assert strays(ROOT) == []


@pytest.mark.parametrize("top", ["flowgru", "tests"])
def test_a_crowded_folder_and_a_long_file_fail(tmp_path, top):
    for number in range(MAX_FILES):
        write(tmp_path, f"{top}/view/panel_{number}.py", "")
    write(tmp_path, f"{top}/view/__init__.py", "")
    write(tmp_path, f"{top}/view/conftest.py", "")
    assert crowding(tmp_path) == []
    write(tmp_path, f"{top}/view/one_more.py", "\n" * (MAX_LINES + 1))
    assert len(crowding(tmp_path)) == 2 and f"holds {MAX_FILES + 1} files" in crowding(tmp_path)[0]


def test_a_folder_of_tests_without_one_or_a_file_of_the_program_fails(tmp_path):
    for file in (
        "flowgru/data/video/reader.py",
        "tests/test_cli.py",
        "tests/helpers/media.py",
        "tests/project/test_x.py",
    ):
        write(tmp_path, file, "")
    write(tmp_path, "tests/data/video/test_reader.py", "")
    write(tmp_path, "tests/data/video/reader/test_seeking.py", "")
    assert strays(tmp_path) == []
    write(tmp_path, "tests/data/pictures/test_reader.py", "")
    (line,) = strays(tmp_path)
    assert "neither flowgru/data/pictures nor flowgru/data/pictures.py" in line


@pytest.mark.parametrize(
    "back",
    [
        "import flowgru.view.a",
        "def late():\n    from flowgru.view.a import one",
        "if TYPE_CHECKING:\n    from flowgru.view import a",
    ],
)
def test_a_circle_of_imports_fails(tmp_path, back):
    write(tmp_path, "flowgru/view/__init__.py", "")
    write(tmp_path, "flowgru/view/a.py", "from flowgru.view.b import two")
    write(tmp_path, "flowgru/view/b.py", "from flowgru.view import c")
    write(tmp_path, "flowgru/view/c.py", "import math")
    assert circles(tmp_path) == []
    write(tmp_path, "flowgru/view/c.py", back)
    assert circles(tmp_path) == ["flowgru.view.a", "flowgru.view.b", "flowgru.view.c"]


@pytest.mark.parametrize(
    "file, text",
    [
        ("flowgru/model/loop.py", "from flowgru.operators import find_operator\nimport flowgru.types"),
        ("flowgru/model/loop.py", "from .encoders import Encoder\nfrom .. import config\nfrom ..grid import sample"),
        (
            "flowgru/__init__.py",
            "from flowgru.model.weight_files.loading import load_model\nfrom .errors import FlowgruError",
        ),
        ("flowgru/__main__.py", "from flowgru.cli import main"),
        ("flowgru/model/weight_files/loading.py", "import torchvision"),
        ("flowgru/processes/fabric.py", "from lightning_fabric import Fabric"),
        ("flowgru/data/formats/images.py", "import cv2\nfrom PIL import Image\nimport torch, numpy, json"),
        ("flowgru/view/report/plots.py", "def plot():\n    import matplotlib.pyplot as plt"),
        ("benchmarks/time_it.py", "import cv2, flowgru.cli"),
    ],
)
def test_what_obeys_passes(tmp_path, file, text):
    write(tmp_path, file, f'"""It has a docstring."""\n{text}\n')
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("flowgru/grid.py", "from flowgru.model import flow_network", "grid may not import model"),
        ("flowgru/grid.py", "import flowgru.scan", "grid may not import scan"),
        ("flowgru/grid.py", "from flowgru import cli", "grid may not import cli"),
        ("flowgru/grid.py", "import flowgru", "grid may not import flowgru"),
        ("flowgru/grid.py", "from . import load_model", "grid may not import flowgru"),
        ("flowgru/errors.py", "from flowgru.config import PRESETS", "errors may not import config"),
        ("flowgru/cli.py", "import flowgru.__main__", "cli may not import __main__"),
        ("flowgru/training/engine.py", "from ..commands import evaluate", "training may not import commands"),
        (
            "flowgru/model/loop.py",
            "from flowgru.estimation.stream import pair_flows",
            "model may not import estimation",
        ),
        ("flowgru/data/a/b.py", "from ...commands.train import run", "data may not import commands"),
        ("flowgru/model/x.py", "def late():\n    from flowgru.view import wheel", "model may not import view"),
        ("flowgru/model/x.py", "if TYPE_CHECKING:\n    import flowgru.training.run", "model may not import training"),
        ("flowgru/scan/x.py", "import importlib\nimportlib.import_module('flowgru.data')", "scan may not import data"),
        ("flowgru/model/x.py", "def late():\n    import cv2", "cv2 is at home in data/, live/display.py"),
        ("flowgru/view/x.py", "from PIL import Image", "PIL is at home in data/"),
        ("flowgru/training/run.py", "import lightning_fabric as lf", "lightning_fabric is at home in processes/"),
        (
            "flowgru/model/encoders.py",
            "__import__('torchvision')",
            "torchvision is at home in model/weight_files/loading.py",
        ),
        ("flowgru/utils.py", "", "utils is on no floor"),
        ("flowgru/scan/x.py", "from flowgru.types import *", "import * from flowgru.types"),
        ("flowgru/scan/x.py", "from math import *", "import * from math"),
        ("flowgru/operators/x.py", "def step(state):\n    return state._replace(hidden=1)", "_replace gives an empty"),
        ("datasets/__init__.py", "", "datasets/ holds no Python"),
        ("datasets/sintel/read.py", "", "datasets/ holds no Python"),
    ],
)
def test_what_does_not_obey_fails(tmp_path, file, text, said):
    write(tmp_path, file, f'"""It has a docstring."""\n{text}\n')
    (line,) = violations(tmp_path)
    assert said in line and Path(file).name in line


@pytest.mark.parametrize("text", ["", "import torch\n", "# A comment is none.\n"])
def test_a_file_without_docstring_fails(tmp_path, text):
    write(tmp_path, "flowgru/scan/__init__.py", text)
    assert violations(tmp_path) == ["scan/__init__.py: no docstring"]


def write(root: Path, file: str, text: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text, "utf-8")

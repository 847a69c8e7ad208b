"""Every file of the project goes through one door: whole or not there, and never written through a link."""

import ast
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import atomic_write, open_to_append, write_file


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    write_file(tmp_path / "a", "new", overwrite=True)
    assert (tmp_path / "mine").read_text() == "mine" and (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()


def test_a_name_that_is_no_utf_8_is_written_with_escapes(tmp_path):
    write_file(tmp_path / "a", "größer \udcff", overwrite=False)
    assert (tmp_path / "a").read_text("utf-8") == "größer \\udcff"


def test_a_file_that_is_there_is_kept_and_the_option_that_replaces_it_is_named(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(RequestError, match=r"exists already: .*--overwrite \(overwrite=True in Python\)"):
        write_file(tmp_path / "a", "new", overwrite=False)
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path(os.devnull)):
        with pytest.raises(RequestError, match="it is a device or a pipe, a file name was expected"):
            write_file(path, "new", overwrite=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("how", ["link", "pipe", "folder"])
def test_lines_are_added_to_plain_files_only(tmp_path, how):
    path = tmp_path / "log"
    (tmp_path / "mine").write_text("mine")
    {"link": lambda: path.symlink_to(tmp_path / "mine"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[how]()
    with pytest.raises(OSError):
        open_to_append(path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_lines_are_added_at_the_end(tmp_path):
    for line in ("a\n", "b\n"):
        with open_to_append(tmp_path / "log") as file:
            file.write(line)
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_a_name_that_is_too_long_is_the_machines_refusal(tmp_path):
    with pytest.raises(MachineError, match="File name too long"):
        write_file(tmp_path / ("a" * 300), "", overwrite=False)


def test_what_cannot_be_read_meanwhile_is_not_called_a_failure_to_write(tmp_path):
    """A disk that refuses is one, whether its error names the file or not."""

    def write(meanwhile):
        with atomic_write(tmp_path / "new/a", overwrite=False) as temporary:
            temporary.write_text("half")
            meanwhile(temporary)

    def refuse(*said):
        raise OSError(*said)

    with pytest.raises(PermissionError, match="denied"):
        write(lambda temporary: refuse(errno.EACCES, "denied", str(tmp_path / "clip.mp4")))
    with pytest.raises(FileNotFoundError):
        write(lambda temporary: (tmp_path / "clip.mp4").read_bytes())
    for error in (
        (errno.ENOSPC, "no space"),
        (errno.ENOTCONN, "dead mount"),
        (errno.EACCES, "denied", str(tmp_path / "new")),
        ("an encoder's",),
    ):
        with pytest.raises(MachineError, match=rf"cannot write .*new/a: {error[-1] if len(error) < 3 else 'denied'}"):
            write(lambda temporary, error=error: refuse(*error))
    with pytest.raises(MachineError, match="denied"):
        write(lambda temporary: refuse(errno.EOPNOTSUPP, "denied", os.path.relpath(temporary)))
    assert not (tmp_path / "new/a").exists() and [*(tmp_path / "new").iterdir()] == []


def test_what_ends_in_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RequestError), atomic_write(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_text("half")
        raise RequestError("stop")
    assert not [*tmp_path.iterdir()]


def writes(path: Path) -> list[str]:
    """The calls by which a file writes to a path of its own choice, but for the temporary path of atomic_write."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name, text = ast.unparse(node.func), ast.unparse(node)
        modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        short = {str(mode) for mode in modes if len(str(mode)) < 4}
        opens = name.rpartition(".")[2] == "open" and any(set(mode) & set("wax") for mode in short)
        if opens or name.endswith((".write_text", ".write_bytes", ".imwrite", "savefig", ".symlink_to")):
            found.append(text)
    return [text for text in found if "temporary" not in text]


ALLOWED = {
    "model/memory.py": ("Path('/proc/self/clear_refs').write_text('5')",),
    "view/report/charts.py": ("draw().savefig(buffer",),
    "console.py": ("open(os.devnull",),
    "corpus/shards.py": ("path.open('xb')", "tarfile.open(self.path, 'w'"),
    "corpus/work.py": ("open(os.devnull",),
}
"""A switch of the kernel, memory, nowhere; and new files of a corpus, in a folder of its own until they are whole."""


def test_no_other_file_of_the_project_writes_by_itself():
    package = ROOT / "flowgru"
    files = [path for path in package.rglob("*.py") if path.parent != package / "files"]
    assert len(files) > 100
    others = {
        (path.relative_to(package).as_posix(), text)
        for path in files
        for text in writes(path)
        if not text.startswith(ALLOWED.get(path.relative_to(package).as_posix(), ()))
    }
    assert others == set()


FULL_DISK = """
import resource, sys
import numpy as np
import flowgru.data.formats.flow_files as files
import flowgru.data.formats.images
import h5py
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
flow = np.random.default_rng(0).normal(size=(100, 120, 2)).astype(np.float32)
for suffix in ("flo", "npz", "flo5", "pfm", "png"):
    try:
        files.write_flow(f"{sys.argv[1]}/a.{suffix}", flow)
    except files.RequestError.__mro__[1] as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system does not limit the size of files")
def test_a_disk_that_takes_no_more_ends_every_format_with_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files refuses as a full disk does; HDF5 crashed on it."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended
    lines = ended.stdout.splitlines()
    assert len(lines) == 5 and all(line.startswith("MachineError cannot write ") for line in lines)
    assert not [*tmp_path.iterdir()]

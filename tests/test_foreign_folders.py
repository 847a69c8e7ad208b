"""A folder that holds something of another origin is refused by every command that would make it the folder of its run."""

from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image

from flowgru.cli import main
from flowgru.errors import RequestError
from flowgru.files.own_folders import refuse_foreign

COMMANDS = {
    "train": ["train", "--network.preset", "compact", "--steps", "1"],
    "compare": [
        "compare",
        "--config",
        str(ROOT / "configs" / "compare.yaml"),
        "--regimes",
        "equal_width",
        "--operators",
        "conv_gru",
    ],
    "corpus": ["corpus", "clips"],
}
FOREIGN = {
    "a model": {"model.safetensors": "weights"},
    "a log": {"log.jsonl": "{}\n"},
    "a training": {"run.lock": "1\nhost\n", "config.yaml": "{}", "model.safetensors": "weights"},
    "a file of settings": {"config.yaml": "steps: 3 # mine\n"},
    "pictures": {"Sintel/training/clean/alley_1/frame_0001.png": "picture"},
    "what a killed run left": {"run.lock": "1\nhost\n", "notes.txt": "mine"},
}


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_foreign_folder_is_refused_and_stays_as_it_is(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for number in (1, 2):
        Image.new("RGB", (64, 64)).save(tmp_path / "clips" / f"frame_{number}.png")
    for place, text in FOREIGN[name].items():
        path = tmp_path / "folder" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = content(tmp_path / "folder")
    assert main([*COMMANDS[command], "--output", "folder"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: folder holds ") and line.endswith("name another --output"), line
    assert "it is not the folder of a" in line and "damaged" not in line
    assert content(tmp_path / "folder") == before


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_where_a_folder_is_to_be_is_refused(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file(, which)? is a file: name a folder$"):
        refuse_foreign(tmp_path / place, "a run", "record", ())


def test_a_folder_with_what_the_system_puts_there_is_empty(tmp_path):
    for name in ("lost+found", ".flowgru-12-0123abcd.json", "run.lock"):
        (tmp_path / name).touch()
    refuse_foreign(tmp_path, "a run", "record", ("run.lock",))
    refuse_foreign(tmp_path / "absent", "a run", "record", ())

"""The table of `flowgru evaluate` is whole wherever it goes, and flow files from elsewhere are measured like a model's."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from estimates import only_error
from layouts.trees import HEIGHT, WIDTH, picture
from tables import csv_rows

from flowgru.cli import main
from flowgru.data.formats.flow_files import write_flow

LONG = "a group whose name is longer than most terminals are wide as names of recordings often are"


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Four pairs of three groups in folders of their own; their flows are 1, 2, 3 and 4 px long."""
    rows = ["first,second,flow,set,weather"]
    for number, group in enumerate(("dry", "dry", "wet", LONG), start=1):
        folder = f"of_{group[:3].strip()}_flow"
        picture(tmp_path / f"clip/{number}a.png", number)
        picture(tmp_path / f"clip/{number}b.png", number)
        (tmp_path / folder).mkdir(exist_ok=True)
        write_flow(tmp_path / f"{folder}/{number}.flo", np.full((HEIGHT, WIDTH, 2), (number, 0), np.float32))
        rows.append(f"clip/{number}a.png,clip/{number}b.png,{folder}/{number}.flo,{group},w{number}")
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, row by row."""
    found: list[list[list[str]]] = []
    for line in re.sub(r"\x1b\[\d*m", "", text).splitlines():  # terminals show bold
        if line[:1] == "┏":
            found.append([])
        if line[:1] in "┃│":
            found[-1].append([cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")])
    return found


@pytest.mark.parametrize("columns", [None, 40, 80, 120, 300])
def test_no_name_is_cut_at_any_width_or_in_a_pipe(manifest, capsys, monkeypatch, columns):
    if columns is not None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
    assert run(manifest, "--baseline", "zero", "--static", 0) == 0
    found = tables(capsys.readouterr().out)
    heads = [cell for table in found for cell in table[0][1:]]
    assert heads == ["dry", "wet", LONG, "mine.csv"]
    for table in found:
        assert [row[0] for row in table][:4] == ["measure", "pairs", "true flow from", "epe [px]"]
        assert len({len(row) for row in table}) == 1
    assert len(found) == {None: 1, 300: 1}.get(columns, len(found)) and (columns != 40 or len(found) == 4)


def test_a_pair_whose_flow_is_nowhere_known_is_counted_to_no_measure(manifest, tmp_path, capsys):
    write_flow(tmp_path / "of_dry_flow/2.flo", np.full((HEIGHT, WIDTH, 2), np.nan, np.float32), overwrite=True)
    assert run(manifest, "--baseline", "zero", "--static", 0, "--output", tmp_path / "out") == 0
    (table,) = tables(capsys.readouterr().out)
    assert {row[0]: row[1:] for row in table}["pairs"] == [
        "1 of 2, 1 left out",
        "1 of 1",
        "1 of 1",
        "3 of 4, 1 left out",
    ]
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    (of_set,) = report["sets"].values()
    assert of_set["pairs"] == 3 and of_set["left_out"] == ["mine.csv/of_dry_flow/2 has no pixel with valid flow"]


def test_a_column_speaks_of_its_own_pairs(manifest, tmp_path, capsys):
    (tmp_path / "of_dry_flow/2.flo").write_bytes(b"PIEH")
    assert run(manifest, "--baseline", "zero", "--output", tmp_path / "out") == 3
    (table,) = tables(capsys.readouterr().out)
    rows = {row[0]: row[1:] for row in table}
    assert rows["pairs"] == ["1 of 2, 1 left out", "1 of 1", "1 of 1", "3 of 4, 1 left out"]
    assert rows["true flow from"] == [
        "of_dry_flow",
        "of_wet_flow",
        "of_a g_flow",
        "of_a g_flow, of_dry_flow, of_wet_flow",
    ]
    assert rows["epe [px]"] == ["1.000", "3.000", "4.000", "2.667"]
    assert main(["data", "check", str(manifest)]) == 3


def test_names_are_short_and_the_manifests_own_columns_stay(manifest, tmp_path, capsys):
    assert run(manifest, "--baseline", "zero", "--output", tmp_path / "out", "--worst", 1) == 0
    assert capsys.readouterr().err.count("say nothing to flowgru: weather") == 1
    rows = csv_rows(tmp_path / "out/pairs.csv")
    assert rows[0]["pair"] == "mine.csv/of_dry_flow/1" and [row["weather"] for row in rows] == ["w1", "w2", "w3", "w4"]
    assert list(json.loads((tmp_path / "out/evaluation.json").read_text())["sets"]) == ["mine.csv"]
    assert [str(path.relative_to(tmp_path / "out/worst")) for path in (tmp_path / "out/worst").rglob("*.png")] == [
        "mine.csv/01_mine.csv_of_a_g_flow_4.png"
    ]


@pytest.mark.parametrize("prefix", ["mine/", ""])
@pytest.mark.parametrize("ending", [".flo", ".npz", ".png"])
def test_flow_files_of_another_program_are_measured(manifest, tmp_path, capsys, prefix, ending):
    for number, group in enumerate(("dry", "dry", "wet", "a g"), start=1):
        estimate = np.zeros((HEIGHT, WIDTH, 2), np.float32)
        estimate[..., 0] = number - 0.5
        write_flow(tmp_path / f"theirs/{prefix}of_{group}_flow/{number}{ending}", estimate)
    assert run(manifest, "--flows", tmp_path / "theirs", "--output", tmp_path / "out") == 0
    (table,) = tables(capsys.readouterr().out)
    rows = {row[0]: row[1:] for row in table}
    assert rows["epe [px]"] == ["0.500"] * 4 and rows["static_flow [px]"] == ["-"] * 4
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["method"]["flows"] == str(tmp_path / "theirs")


def test_a_flow_that_is_missing_or_unknown_is_said(manifest, tmp_path, capsys):
    estimate = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    known = np.ones((HEIGHT, WIDTH), bool)
    known[0] = False
    write_flow(tmp_path / "theirs/of_dry_flow/1.flo", estimate, known)
    write_flow(tmp_path / "theirs/of_dry_flow/2.flo", estimate[1:])
    assert run(manifest, "--flows", tmp_path / "theirs") == 3
    printed, said = capsys.readouterr()
    rows = {row[0]: row[1:] for row in tables(printed)[0]}
    assert rows["epe [px]"][0] == "NaN" and rows["pairs"][0] == "1 of 2, 1 left out"
    assert said.count("has no flow mine/of_") == 2 and "the flow of a pair has the size of its pictures" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--flows", "nowhere"), "there is no folder nowhere: name a folder of flow files as --flows"),
        (("--flows", ".", "--baseline", "dis"), "--baseline is dis and --flows .: give one of them"),
        (("--flows", ".", "--iterations", 3), "--flows . is no model, and has no --iterations: give one or the others"),
    ],
)
def test_requests_without_sense_are_one_line(manifest, capsys, options, said):
    manifest.write_text(manifest.read_text().replace(",weather", ",name"))
    assert run(manifest, *options) == 2
    assert said in only_error(capsys)

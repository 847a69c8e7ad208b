"""An output folder that was begun otherwise, changed since, or leads elsewhere: what is refused, and by which words."""

import json
import shutil
from pathlib import Path

import pytest
from test_keeps import run

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver
from flowgru.corpus.work import estimate_clip
from flowgru.errors import RequestError


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def deciding(settings):
    """As the real ones: jpeg alone has a bound, and a model's card says its way."""
    bound = {"bound": settings.bound} if "jpeg" in settings.write else {}
    way = {"iterations": settings.iterations or len(settings.model), "polish": settings.polish}
    digest = {"default": "a", "raft_small": "b"}[settings.model]
    return {**bound, **way, "write": sorted(settings.write), "fps": settings.fps, "model": digest}


def test_all_options_that_differ_are_named_and_no_setting_that_follows_from_them(inline, clips, tmp_path, monkeypatch):
    def refusal(**given):
        with pytest.raises(RequestError) as refused:
            run(clips, tmp_path / "out", **given)
        return str(refused.value).removeprefix(f"{tmp_path / 'out'} was begun with ").partition(":")[0]

    monkeypatch.setattr(driver, "deciding_settings", deciding)
    run(clips, tmp_path / "out", write=("score", "jpeg"), polish=True)
    assert refusal(write=("half",), polish=True) == "--write score,jpeg, and --write half is asked for"
    old, new = refusal(write=("jpeg", "score"), model="raft_small", polish=False, fps=8.0).split(", and ")
    assert old == "--polish no --fps --model default"
    assert new == "--no-polish --fps 8.0 --model raft_small is asked for"


def test_a_setting_that_came_later_was_as_it_is_by_default(inline, clips, tmp_path, monkeypatch):
    def clips_done(**given):
        settings = CorpusSettings(output=str(tmp_path / "out"), write=("half",), **given)
        done = []
        driver.run_corpus([str(clips)], settings, lambda task: (done.append(task.clip.id), estimate_clip(task))[1])
        return done

    assert len(clips_done()) == 5
    of_before = driver.deciding_settings
    monkeypatch.setattr(driver, "deciding_settings", lambda settings: of_before(settings) | {"tiles": settings.tiles})
    assert clips_done() == ["c1/3"]  # the broken one
    with pytest.raises(RequestError, match=r"was begun with .*1x1.*2x2.* is asked for"):
        clips_done(tiles="2x2")


@pytest.mark.parametrize(("model", "seen"), [("my.safetensors", "{0}/my.safetensors"), ("default", "default")])
def test_workers_are_told_whole_paths(inline, clips, tmp_path, monkeypatch, model, seen):
    told = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    settings = CorpusSettings(output="out", write=("half",), model=model, initial_flow="flows")
    driver.run_corpus([str(clips)], settings, lambda task: (told.append(task), estimate_clip(task))[1])
    assert len(told) == 5
    for task in told:
        assert task.settings.model == seen.format(tmp_path) and task.settings.initial_flow == f"{tmp_path}/flows"
        assert task.root == f"{tmp_path}/out" and task.clip.path.startswith(f"{tmp_path}/")


@pytest.mark.parametrize("name", [".unfinished", ".parts", "shards", "half"])
def test_nothing_is_taken_away_through_a_link(inline, clips, tmp_path, name):
    """What lies unfinished is removed; a link may lead to anything."""
    other = tmp_path / "other"
    (other / "mine").mkdir(parents=True)
    (other / "mine/part.tar").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(other)
    with pytest.raises(RequestError, match=rf"{name} is a link to .*other, outside --output .*out: remove the link"):
        driver.run_corpus([str(clips)], CorpusSettings(output=str(tmp_path / "out"), write=("half", "shards")))
    assert (other / "mine/part.tar").read_text() == "precious"


def test_nor_through_one_deeper_down(inline, clips, tmp_path):
    (tmp_path / "other/1").mkdir(parents=True)
    (tmp_path / "other/1/mine").write_text("precious")
    settings = CorpusSettings(output=str(tmp_path / "out"), write=("half",))
    driver.run_corpus([str(clips)], settings)
    shutil.rmtree(tmp_path / "out/half/c1")
    (tmp_path / "out/half/c1").symlink_to(tmp_path / "other")
    (row,) = (row for row in driver.run_corpus([str(clips)], settings) if row.id == "c1/1")
    assert row.status == "failed" and f"half/c1 is a link to {tmp_path}/other, outside --output" in row.reason
    assert (tmp_path / "other/1/mine").read_text() == "precious"


def test_other_settings_and_foreign_results_are_refused_in_one_line(inline, clips, tmp_path, monkeypatch):
    run(clips, tmp_path / "out")
    with pytest.raises(
        RequestError, match="was begun with --write score,half,shards, and --write score is asked for: "
    ):
        run(clips, tmp_path / "out", write=("score",))
    monkeypatch.setattr(driver, "deciding_settings", lambda settings: {"write": sorted(settings.write), "seed": 2})
    with pytest.raises(RequestError, match="was begun with seed 1, and seed 2 is asked for: give the same settings"):
        run(clips, tmp_path / "out")
    (tmp_path / "foreign/half").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"foreign holds half and no corpus.json"):
        run(clips, tmp_path / "foreign")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="file is a file: name a folder"):
        run(clips, tmp_path / "file")


def test_other_frames_under_the_same_id_are_refused(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    lines = clips.read_text().splitlines()
    clips.write_text("\n".join([lines[0] + ",start", *(line + ",2" for line in lines[1:])]))
    with pytest.raises(RequestError, match="the clip 'c0/0' was done with other frames than from 2 to the last"):
        run(clips, tmp_path / "out")


def test_ids_whose_results_would_lie_in_those_of_an_earlier_list_are_refused(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    before = files(tmp_path / "out")
    clips.write_text(f"id,path\nc0,{tmp_path}/clips/0.txt\n")
    with pytest.raises(RequestError, match=r"the results of 'c0' and 'c0/.' would share a folder"):
        run(clips, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_clips_that_lay_elsewhere_when_they_were_done_are_said(inline, clips, tmp_path, capsys):
    run(clips, tmp_path / "out")
    assert "lay elsewhere" not in capsys.readouterr().err
    shutil.copytree(tmp_path / "clips", tmp_path / "moved")
    clips.write_text(clips.read_text().replace("/clips/", "/moved/"))
    assert len(run(clips, tmp_path / "out")) == 5
    said = [line for line in capsys.readouterr().err.splitlines() if "elsewhere" in line]
    assert len(said) == 1 and said[0].startswith("4 clips of ids that are done lay elsewhere then (the first is c0/0: ")
    assert f"{tmp_path}/clips/0.txt, now {tmp_path}/moved/0.txt): they count as done" in said[0]


def test_a_table_that_was_changed_is_refused_and_not_repaired(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    manifest, index = tmp_path / "out/manifest.csv", tmp_path / "out/shards.csv"
    rows, indexed = manifest.read_text(), index.read_text()
    for path, text, said in (
        (manifest, rows.replace("id,", "name,", 1), "has the columns 'name,"),
        (manifest, rows + "a,b\n", "row 7 has 2 fields, expected 12"),
        (index, indexed.partition("\n")[0] + "\n", "shard-000000.tar is in no row of shards.csv"),
        (index, indexed.replace("shard-000000.tar", "shard-x.tar"), "names no shard, or no place in it"),
        (
            index,
            indexed.replace("shard-000000.tar,0,", "shard-000000.tar,nought,"),
            "names no shard, or no place in it",
        ),
        (manifest, rows + "a" * 200_000 + "\n", r"manifest.csv is damaged \(field larger"),
    ):
        manifest.write_text(rows)
        index.write_text(indexed)
        path.write_text(text)
        with pytest.raises(RequestError, match=said):
            run(clips, tmp_path / "out")
        assert path.read_text() == text


def test_corpus_json_says_what_the_folder_was_begun_with(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    noted = json.loads((tmp_path / "out/corpus.json").read_text())
    assert noted["settings"] == {"write": ["half", "score", "shards"], "seed": 1}
    assert noted["options"] == {"write": ["score", "half", "shards"]}
    (tmp_path / "out/corpus.json").write_text("{")
    with pytest.raises(RequestError, match=r"corpus.json is damaged"):
        run(clips, tmp_path / "out")

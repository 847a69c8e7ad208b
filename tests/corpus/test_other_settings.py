"""A folder that was begun with other settings is refused by the options that the user gave, and one with links as well."""

import shutil

import pytest

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver
from flowgru.corpus.work import estimate_clip
from flowgru.errors import RequestError


def deciding(settings):
    """As the real ones: jpeg alone has a bound, and a model's card says its way."""
    bound = {"bound": settings.bound} if "jpeg" in settings.write else {}
    way = {"iterations": settings.iterations or len(settings.model), "polish": settings.polish}
    digest = {"default": "a", "raft_small": "b"}[settings.model]
    return {**bound, **way, "write": sorted(settings.write), "fps": settings.fps, "model": digest}


def test_all_options_that_differ_are_named_and_no_setting_that_follows_from_them(inline, clips, tmp_path, monkeypatch):
    def run(**given):
        driver.run_corpus([str(clips)], CorpusSettings(output=str(tmp_path / "out"), **given))

    def refusal(**given):
        with pytest.raises(RequestError) as refused:
            run(**given)
        return str(refused.value).removeprefix(f"{tmp_path / 'out'} was begun with ").partition(":")[0]

    monkeypatch.setattr(driver, "deciding_settings", deciding)
    run(write=("score", "jpeg"), polish=True)
    assert refusal(write=("half",), polish=True) == "--write score,jpeg, and --write half is asked for"
    old, new = refusal(write=("jpeg", "score"), model="raft_small", polish=False, fps=8.0).split(", and ")
    assert old == "--polish no --fps --model default"
    assert new == "--no-polish --fps 8.0 --model raft_small is asked for"


def test_a_setting_that_came_later_was_as_it_is_by_default(inline, clips, tmp_path, monkeypatch):
    def run(**given):
        settings = CorpusSettings(output=str(tmp_path / "out"), write=("half",), **given)
        done = []
        driver.run_corpus([str(clips)], settings, lambda task: (done.append(task.clip.id), estimate_clip(task))[1])
        return done

    assert len(run()) == 5
    of_before = driver.deciding_settings
    monkeypatch.setattr(driver, "deciding_settings", lambda settings: of_before(settings) | {"tiles": settings.tiles})
    assert run() == ["c1/3"]  # the broken one
    with pytest.raises(RequestError, match=r"was begun with .*1x1.*2x2.* is asked for"):
        run(tiles="2x2")


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

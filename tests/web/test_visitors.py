"""What is estimated for a page lies in a folder of its own, as long as the page is open and nothing else is estimated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowgru.errors import InputFileError, RequestError
from flowgru.web.looking import Look
from flowgru.web.settings import WebSettings
from flowgru.web.visitors import Visitors
from flowgru.web.work import Counted, EstimatedClip, Wishes


@pytest.fixture
def visitors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    """Three steps without a network."""

    def steps(paths: Any, wishes: Any, models: Any, limits: Any, folder: Path) -> Iterator[Counted]:
        for number in range(3):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.flo").touch()
            yield Counted(number, 3)

    monkeypatch.setattr("flowgru.web.visitors.estimated", steps)
    return Visitors(tmp_path, WebSettings(models=("default",)))


PAIR = ["x.png", "y.png"]


def test_nothing_is_written_for_a_page_that_was_closed(visitors):
    running = visitors.estimate("a", PAIR, Wishes("default"))
    assert next(running) == Counted(0, 3) and visitors.folder("a").is_dir()
    visitors.leave("a")
    assert list(running) == [] and not visitors.folder("a").exists()
    assert len(list(visitors.estimate("a", PAIR, Wishes("default")))) == 3  # it was opened again


def test_a_file_is_not_made_of_what_is_estimated_anew(visitors, monkeypatch):
    """A file that is being made goes on writing into the folder that the new estimation removes."""
    clip = EstimatedClip(next_folder(visitors))

    def made(clip, kind, look):
        if clip.folder.exists():
            return clip.folder / "flow.flo"
        clip.folder.mkdir()
        raise InputFileError("there is no file a.flo")

    monkeypatch.setattr("flowgru.web.visitors.made", made)
    assert visitors.make("a", clip, "flo", Look()) == clip.folder / "flow.flo"
    again = EstimatedClip(next_folder(visitors))
    with pytest.raises(RequestError, match="the flow is estimated anew"):
        visitors.make("a", clip, "flo", Look())
    assert list(visitors.folder("a").iterdir()) == [again.folder]
    visitors.leave("a")
    with pytest.raises(RequestError, match="the flow is estimated anew"):
        visitors.make("a", again, "flo", Look())
    assert not again.folder.exists()


def next_folder(visitors: Visitors) -> Path:
    """Where the whole of an estimation for the page "a" lies."""
    assert len(list(visitors.estimate("a", PAIR, Wishes("default")))) == 3
    (folder,) = visitors.folder("a").iterdir()
    return folder


def test_what_is_begun_anew_goes_on_where_the_run_before_it_ends_late(visitors):
    """After Stop, the next run may begin while a pair of the one before is still being computed."""
    before, after = (visitors.estimate("a", PAIR, Wishes("default")) for _ in range(2))
    assert next(before) == next(after) == Counted(0, 3)
    before.close()
    assert list(after) == [Counted(1, 3), Counted(2, 3)]

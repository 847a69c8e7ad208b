"""A journal of lines keeps what was whole, is read by nobody else's means, and goes with what lies beside it."""

import pytest

from flowgru.errors import MachineError
from flowgru.files.line_journal import LineJournal


def journal(folder, **options) -> LineJournal:
    return LineJournal(folder / "a.jsonl", folder / "a.lock", **{"max_bytes": 100, **options})


def test_a_line_that_was_killed_while_it_was_written_is_missing_and_no_other(tmp_path):
    first = journal(tmp_path)
    first.take()
    first.begin([{"request": 1}])
    first.add({"done": 2})
    first.close(keep=True)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"done": 3')
    assert journal(tmp_path).read() == [{"request": 1}, {"done": 2}]


def test_what_is_a_link_or_too_large_is_not_read(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"request": 1}\n')
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "b.jsonl")
    assert journal(tmp_path).read() == []
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "b.jsonl").rename(tmp_path / "a.jsonl")
    assert journal(tmp_path).read() == [{"request": 1}]
    assert journal(tmp_path, max_bytes=10).read() == []


@pytest.mark.parametrize("keep", [True, False])
def test_one_process_has_it_and_gives_it_back_with_what_lies_beside_it(tmp_path, keep):
    beside = tmp_path / "a.npz"
    beside.write_bytes(b"")
    first = journal(tmp_path, beside=[beside])
    first.take()
    with pytest.raises(MachineError, match="is being written by process"):
        journal(tmp_path).take()
    first.begin([])
    first.close(keep=keep)
    assert {path.name for path in tmp_path.iterdir()} == ({"a.jsonl", "a.npz"} if keep else set())


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"^cannot write .*a.jsonl: "):
        journal(tmp_path / "file").take()

"""A clip of any length takes no more memory than a short one, whatever is written of it."""

import gc
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from flowgru.corpus import shards, staging
from flowgru.data.formats.flow_files import half_flow_bytes
from flowgru.data.video.reader import Frame

COUNT = 500
"""Flows: what is kept of each, if it is only its name, shows."""


def test_parts_of_shards_are_written_and_read_in_constant_memory(tmp_path, monkeypatch):
    data = half_flow_bytes(np.zeros((1, 1, 2), np.float32))
    monkeypatch.setattr(shards, "half_flow_bytes", lambda flow: data)
    frame = Frame(np.zeros((1, 1, 3), np.uint8), "frame_000001", 0.0, 0, False)
    part = shards.ShardPart(tmp_path, "clip")

    with traced():
        for number in range(COUNT):
            part.add(number + 1, frame, np.zeros((1, 1, 2), np.float32))
        assert held() < 100 * COUNT
    part.close()
    shards.join_parts([("clip", tmp_path / "part.tar")], "s.tar", tmp_path / "s.tar")
    with traced():
        for flow in shards.read_shard(tmp_path / "s.tar"):
            if flow.number == COUNT:
                assert held() < 100 * COUNT
                break
        else:
            pytest.fail("the last flow is not there")


def test_the_files_of_a_clip_are_flushed_a_few_at_a_time(tmp_path, monkeypatch):
    given, flushed = [], []

    class Pool(staging.ThreadPoolExecutor):
        def map(self, fn, *iterables, **options):
            given.append(len(iterables[0]))
            return super().map(fn, *iterables, **options)

    monkeypatch.setattr(staging, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(staging, "FILES_OF_A_TURN", 4)
    monkeypatch.setattr(staging, "flush", lambda path: flushed.append(path.name))
    for number in range(10):
        (tmp_path / f"{number}").touch()
    staging.flush_all(tmp_path)
    assert given == [4, 4, 2] and sorted(flushed[:-1]) == [f"{n}" for n in range(10)] and flushed[-1] == tmp_path.name


@contextmanager
def traced() -> Iterator[None]:
    """Counts what Python takes from here on."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held() -> int:
    """Bytes that shards and archives hold of what they have taken; what ends in the background takes memory, too."""
    gc.collect()
    ours = [tracemalloc.Filter(True, str(module.__file__)) for module in (shards, tarfile)]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)

"""How CUDA graphs are recorded, as far as it shows without a GPU: what PyTorch is asked for, and in which order."""

import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
import torch

from flowgru.layers.recorder import CudaRecorder

CPU = torch.device("cpu")


def test_a_graph_is_recorded_on_its_device_with_nothing_cast_before_and_shares_its_memory(monkeypatch):
    calls = []

    class Graph:
        def replay(self):
            calls.append("replay")

    class Named(nullcontext):
        def __init__(self, *places, **options):
            calls.append((places, options))
            super().__init__()

    graph, pools = Graph(), iter(["a pool"])
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "device", Named)
    monkeypatch.setattr(torch.cuda, "graph", Named)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "its own")
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: calls.append("clear"))
    device, recorder = torch.device("cuda", 1), CudaRecorder()
    place = {"pool": "a pool", "stream": "stream of cuda:1", "capture_error_mode": "thread_local"}
    for _ in range(2):
        replay, found = recorder(lambda: calls.append("computed") or 7, device)
        assert found == 7 and calls == ["clear", ((device,), {}), ((graph,), place), "computed", "clear"]
        replay()
        assert calls[5:] == [((device,), {}), "replay"]
        calls.clear()


class Cuda:
    """What a recorder asks of torch.cuda, whose `graph` keeps its own stream as the current one where it fails."""

    def __init__(self, monkeypatch, *, ends="well"):
        self.current, self.ends, self.calls = "the default stream", ends, []
        self.num_recording = self.most_recording = 0
        graph = type("Graph", (), {"replay": lambda _: None})
        for name, value in (
            ("CUDAGraph", graph), ("graph_pool_handle", lambda: "a pool"), ("Stream", lambda device: "a side stream"),
            ("device", nullcontext), ("stream", self.stream), ("graph", self.graph),
            ("current_stream", lambda device: self.current),
        ):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, value)
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            monkeypatch.setattr(
                torch._C, name, lambda *given, name=name: self.calls.append((name, *given)), raising=False
            )

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph, *, stream, **_):
        self.num_recording += 1
        self.most_recording = max(self.most_recording, self.num_recording)
        self.current, before = stream, self.current
        yield
        self.num_recording -= 1
        if self.ends != "well":
            raise RuntimeError(self.ends)
        self.current = before


def test_a_recording_that_fails_says_why_and_leaves_stream_and_memory_as_they_were(monkeypatch):
    cuda, device = (
        Cuda(monkeypatch, ends="operation failed due to a previous error during capture"),
        torch.device("cuda", 1),
    )

    def refused():
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        CudaRecorder()(refused, device)
    assert cuda.current == "the default stream"
    assert cuda.calls == [("_cuda_endAllocateToPool", 1, "a pool"), ("_cuda_releasePool", 1, "a pool")]
    with pytest.raises(RuntimeError, match="previous error"):  # where nothing else is known
        CudaRecorder()(lambda: None, device)
    assert cuda.current == "the default stream"


def test_what_a_function_raises_is_raised_where_its_recording_ends_well(monkeypatch):
    cuda = Cuda(monkeypatch)

    def lacks():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaRecorder()(lacks, torch.device("cuda", 0))
    assert (cuda.current, cuda.calls) == ("the default stream", [])


def test_two_threads_never_record_at_once(monkeypatch):
    cuda = Cuda(monkeypatch)
    record = [threading.Thread(target=CudaRecorder(), args=(lambda: time.sleep(0.05), CPU)) for _ in range(2)]
    for thread in record:
        thread.start()
    for thread in record:
        thread.join()
    assert cuda.most_recording == 1 and cuda.num_recording == 0

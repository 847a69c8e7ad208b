"""Work beside the thread that computes comes in its order, is bounded, and is never lost."""

import threading
from unittest.mock import Mock

import pytest
import torch

from flowgru.processes.beside import MAX_WAITING, HostCopy, in_order


def test_pieces_are_done_in_their_order_in_one_thread_beside_the_caller():
    found, done = [], []
    with in_order(lambda: done.append(threading.current_thread().name)) as do:
        for number in range(5):
            do(lambda number=number: found.append((number, threading.current_thread().name)))
    assert [number for number, _ in found] == list(range(5))
    threads = {name for _, name in found}
    assert len(threads) == 1 and threads.isdisjoint(done) and len(done) == 5


def test_only_so_many_pieces_wait():
    may_go_on, given = threading.Event(), []

    def give_all(do):
        for number in range(MAX_WAITING + 3):
            do(lambda: None if may_go_on.wait(60) else pytest.fail("nobody lets it go on"))
            given.append(number)

    with in_order() as do:
        caller = threading.Thread(target=give_all, args=(do,))
        caller.start()
        caller.join(0.3)
        assert caller.is_alive() and len(given) == MAX_WAITING + 1
        may_go_on.set()
        caller.join(60)
    assert len(given) == MAX_WAITING + 3


def test_what_a_piece_raises_reaches_the_caller_and_no_later_piece_is_done():
    found = []

    def fails():
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), in_order() as do:
        do(lambda: found.append(1))
        do(fails)
        for _ in range(9):
            do(lambda: found.append(2))
        pytest.fail("it went on")
    assert found == [1]


@pytest.mark.parametrize("met", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_was_given_before_the_caller_ended_is_done(met):
    found = []
    with pytest.raises(met), in_order() as do:
        do(lambda: found.append(1))
        do(lambda: found.append(2))
        raise met
    assert found == [1, 2]


def test_an_error_of_the_caller_gives_way_to_that_of_an_earlier_piece_but_a_signal_does_not():
    def fails():
        raise OSError("the disk is full")

    for met, raised in ((ValueError, OSError), (KeyboardInterrupt, KeyboardInterrupt)):
        with pytest.raises(raised), in_order() as do:
            do(fails)
            raise met


def test_without_a_thread_each_piece_is_done_at_once():
    found = []
    with in_order(lambda: found.append("done"), beside=False) as do:
        do(lambda: found.append(threading.current_thread()))
        assert found == [threading.main_thread(), "done"]


def test_a_tensor_of_the_cpu_is_not_copied():
    values = torch.rand(3)
    assert HostCopy(values).wait() is values


def test_a_copy_from_a_gpu_is_waited_for_alone(monkeypatch):
    calls = []

    class Event:
        def record(self, stream):
            calls.append(f"record {stream}")

        def synchronize(self):
            calls.append("synchronize")

    def to(device, non_blocking):
        calls.append(f"to {device} {non_blocking}")
        return torch.ones(())

    on_cuda = Mock(spec=torch.Tensor, device=torch.device("cuda", 1), to=to)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    copy = HostCopy(on_cuda)
    assert calls == ["to cpu True", "record stream of cuda:1"]
    assert copy.wait() == 1 and calls[2:] == ["synchronize"]

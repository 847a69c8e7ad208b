"""What is done beside the thread that computes: values are copied from a GPU, and work is done in its order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

MAX_WAITING = 1
"""Pieces of work that may wait beside the one that is being done; each holds what it works on."""

Work = Callable[[], None]


class HostCopy:
    """A tensor on its way to the CPU, while its device goes on; one of the CPU is not copied."""

    def __init__(self, values: Tensor) -> None:
        on_cuda = values.device.type == "cuda"
        self._values = values.to("cpu", non_blocking=on_cuda)  # on other devices nothing is known to wait for
        self._copied = None
        if on_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(values.device))

    def wait(self) -> Tensor:
        """The copy; waits for this one alone, and for nothing that the device was asked for later."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values


@contextmanager
def in_order(done: Work = lambda: None, *, beside: bool = True) -> Iterator[Callable[[Work], None]]:
    """Gives a function that has work done in a thread, one piece after the other in the order in which they are given.

    It waits where more than MAX_WAITING pieces wait already, and raises what an earlier piece has raised; after that no
    further piece is done. Whatever ends the body, all that it has given is done, or has failed, afterwards: an error of the
    body gives way to that of a piece, which was given before it; a signal does not.

    done: called after each piece, in the thread of the caller. beside: False does each piece at once instead, there.
    """
    if not beside:

        def at_once(work: Work) -> None:
            work()
            done()

        yield at_once
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="in order") as pool:
        pieces = _Pieces(pool, done)
        try:
            yield pieces.give
        except Exception:
            pieces.finish(0)
            raise
        pieces.finish(0)


class _Pieces:
    def __init__(self, pool: ThreadPoolExecutor, done: Work) -> None:
        self._pool, self._done = pool, done
        self._given: deque[Future[None]] = deque()
        self._failed = False

    def give(self, work: Work) -> None:
        self._given.append(self._pool.submit(self._do, work))
        self.finish(1 + MAX_WAITING)

    def finish(self, num_left: int) -> None:
        """Waits until so few pieces are left."""
        while len(self._given) > num_left:
            self._given.popleft().result()
            self._done()

    def _do(self, work: Work) -> None:
        if self._failed:
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise

"""Records CUDA graphs: what a function has a device do, to be done again by a single launch."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

Replay = Callable[[], None]

Recorder = Callable[[Callable[[], Any], torch.device], tuple[Replay, Any]]
"""Records what a function has a device do: gives what replays it, and the tensors in which a replay leaves its results."""

_recording = threading.Lock()
"""Of all recorders: each begins by waiting for the whole device, which ends what another thread is recording there."""


class CudaRecorder:
    """Records CUDA graphs that all work in the same memory: what one gives is copied before another one is replayed."""

    def __init__(self) -> None:
        self._place: tuple[Any, torch.cuda.Stream] | None = None

    def __call__(self, function: Callable[[], Any], device: torch.device) -> tuple[Replay, Any]:
        if self._place is None:
            self._place = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
        graph, (pool, stream) = torch.cuda.CUDAGraph(), self._place
        torch.clear_autocast_cache()  # weights in 16 bits that were cast before lie where they do not stay
        found, problem = None, None
        try:
            with (
                _recording,
                torch.cuda.device(device),
                torch.cuda.stream(torch.cuda.current_stream(device)),  # the next one leaves another where it fails
                # Other threads read frames and pairs, and write flows, meanwhile.
                torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                try:
                    found = function()
                except Exception as error:
                    problem = error
        except Exception as error:
            _leave(pool, device)
            problem = problem or error  # the end of what has failed fails too, and says less
        finally:
            torch.clear_autocast_cache()
        if problem is not None:
            raise problem

        def replay() -> None:
            with torch.cuda.device(device):
                graph.replay()

        return replay, found


def _leave(pool: Any, device: torch.device) -> None:
    """Ends what a recording that has failed leaves begun: PyTorch would give back no memory to the device any more."""
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(AttributeError, RuntimeError):
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)

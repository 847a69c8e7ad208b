"""The processes of a run live and end together, and the first one says which of them has died."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from flowgru.errors import FlowgruError, MachineError, one_line
from flowgru.processes.signals import Stopped

Value = TypeVar("Value")

GRACE_S = 20.0
"""How long a process may go on after another one has died: until it next waits for that one, or has saved."""

AGREED = 99
"""The exit code of a started process that all agreed to end; 0 may also be that of one which never took part."""

STARTER = "FLOWGRU_STARTED_BY"
"""Names the first process, by its pid, to those that it starts: it may be dead before they can ask who it is."""

LAUNCH_SETS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS", STARTER)
"""What a launch sets in the environment; left there, the commands that a script starts later would wait for each other."""


@runtime_checkable
class Fabric(Protocol):
    """What a run uses of Lightning's Fabric, which flowgru.processes.fabric alone imports."""

    @property
    def device(self) -> torch.device: ...
    @property
    def strategy(self) -> Any: ...
    @property
    def world_size(self) -> int: ...
    @property
    def global_rank(self) -> int: ...
    @property
    def is_global_zero(self) -> bool: ...

    def setup(self, module: Any, optimizer: torch.optim.Optimizer, /) -> Any: ...

    def barrier(self) -> None: ...

    def broadcast(self, obj: Value, /) -> Value: ...

    def all_reduce(self, data: Tensor, /, *, reduce_op: str) -> Any: ...

    def backward(self, tensor: Tensor, /) -> None: ...

    def no_backward_sync(self, module: Any, /, enabled: bool) -> AbstractContextManager: ...

    def clip_gradients(
        self, module: Any, optimizer: torch.optim.Optimizer, /, *, max_norm: float, error_if_nonfinite: bool
    ) -> Tensor | None: ...


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Around a run of one or several processes, from before they are started by `launch`.

    Where one of them dies, the others end within GRACE_S even if they wait for it in vain, and the first one says
    which it was: MachineError, with the exit code of the dead one if it had one. An error of the first one ends the others.
    Where all is done, the started ones end here: what follows in a script is the first one's.
    Under torchrun, which watches its processes itself, MachineError says only that another one has died.
    """
    family = _Family(fabric)
    environment = {name: os.environ.get(name) for name in LAUNCH_SETS}
    if fabric.world_size > 1:
        _prepare_meeting(fabric)
        family.start()
    try:
        yield
        family.wait()
        if _was_started(fabric):
            sys.exit(AGREED)
    except Stopped:  # each ends by itself
        family.wait()
        raise
    except BaseException as error:
        try:
            if _lost_another(error) and fabric.world_size > 1:
                family.explain_loss(error)
            raise
        finally:
            family.kill()
    finally:
        family.ended.set()
        if not _was_started(fabric):
            _restore(environment)


def end_others(fabric: Fabric) -> None:
    """Ends all processes but the first, quietly and once it has saved: the first one says why, by its exit code."""
    fabric.barrier()
    if not fabric.is_global_zero:
        sys.exit(AGREED if _was_started(fabric) else 0)


def _was_started(fabric: Fabric) -> bool:
    """Whether another process of the run has started this one; torchrun or a cluster would take AGREED for a failure."""
    return not fabric.is_global_zero and STARTER in os.environ


def _prepare_meeting(fabric: Fabric) -> None:
    """Before the processes meet: names the first one to those it starts, and has those of torchrun meet each other.

    torchrun's store outlives a restart (--max-restarts) with the addresses of the dead in it, and whoever comes before
    the one it asks for would wait for a dead one. Only torchrun itself could make a new store
    (TORCH_DISABLE_SHARE_RDZV_TCP_STORE); on several machines the count of restarts may differ, and it has to.
    """
    if not torch.distributed.is_torchelastic_launched():
        if fabric.is_global_zero:
            os.environ[STARTER] = str(os.getpid())
        return
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restart == "0" or os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        return
    store, rank, size = next(torch.distributed.rendezvous("env://"))
    own = torch.distributed.PrefixStore(f"restart {restart}", store)
    backend = "nccl" if fabric.device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=own, rank=rank, world_size=size)  # Fabric takes it as it is


def _restore(environment: dict[str, str | None]) -> None:
    """What these variables were; None: not set."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Family(threading.Thread):
    """Watches, in the first process, those that it has started, and in these the one that started them."""

    def __init__(self, fabric: Fabric) -> None:
        super().__init__(daemon=True, name="flowgru-processes")
        self.ended = threading.Event()
        self._num_processes = fabric.world_size
        self._launched = getattr(fabric.strategy.launcher, "procs", [])
        self._children: list[subprocess.Popen[bytes]] = []
        self._adopting = threading.Lock()
        outside = fabric.is_global_zero or torch.distributed.is_torchelastic_launched()
        starter = os.environ.get(STARTER) if os.name == "posix" else None  # elsewhere a launcher may stand between
        self._parent = None if outside else int(starter or os.getppid())
        self._adopt()

    def run(self) -> None:
        """Ends this process where another one has died and it does not notice, waiting for it in vain."""
        while not self.ended.wait(0.5):
            self._adopt()
            if (death := self._death()) is None:
                continue
            if self.ended.wait(GRACE_S if self._parent is None else 0):
                return
            self.kill()
            print(f"error: {death}", file=sys.stderr, flush=True)
            os._exit(death.exit_code)

    def explain_loss(self, error: BaseException) -> None:
        """Ends this process, which has lost the connection to another one, by an error that says which, if that shows."""
        patience = time.monotonic() + GRACE_S / 2
        while (self._children or self._parent is not None) and time.monotonic() < patience:
            if self._parent is None and (death := self._death()) is not None:
                raise death from None
            time.sleep(0.1)  # one that was started is ended meanwhile, by its starter or by its own `run`
        raise MachineError(
            f"another process of this run has died or cannot be reached ({one_line(error, 150)}): "
            "the same command goes on from the last checkpoint"
        ) from None

    def wait(self) -> None:
        """Waits until those that this process has started have ended, as they are about to; else they would miss it.

        Those that hang are ended after GRACE_S.
        """
        self._adopt()
        patience = time.monotonic() + GRACE_S
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(patience - time.monotonic(), 0))
        self.kill()

    def kill(self) -> None:
        """Ends those that this process has started."""
        self._adopt()
        for child in self._children:
            child.kill()

    def _adopt(self) -> None:
        """Takes the started processes over from Fabric, whose own observer would kill this one before it can speak."""
        with self._adopting:
            while self._launched:
                self._children.append(self._launched.pop(0))

    def _death(self) -> MachineError | None:
        """Who has died and how; one that a signal has killed goes before those that ended because of it."""
        if self._parent is not None:
            gone = os.getppid() != self._parent
            return MachineError("the first process of this run has died") if gone else None
        found = [(child.poll(), number, child.pid) for number, child in enumerate(self._children, start=2)]
        dead = min(((code, number, pid) for code, number, pid in found if code not in (None, AGREED)), default=None)
        if dead is None:
            return None
        code, number, pid = dead
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        how += " before the run was done" * (code == 0)
        death = MachineError(
            f"process {number} of {self._num_processes} (pid {pid}) {how}, and the others ended with it: the same command "
            "goes on from the last checkpoint"
        )
        death.exit_code = code if code > 0 else MachineError.exit_code
        return death


def _lost_another(error: BaseException) -> bool:
    """Whether this is what gloo, NCCL or their meeting place say when another process is gone."""
    if not isinstance(error, RuntimeError) or isinstance(error, FlowgruError):
        return False
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(word in text for word in ("gloo", "nccl", "peer"))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

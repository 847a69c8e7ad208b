"""All that a training run changes while it goes on, and how a checkpoint's content becomes it again."""

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from flowgru.config import OptimizerConfig, TrainConfig
from flowgru.layers.graphs import Graphs
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.feeding.pairs import changed_lists
from flowgru.training.losses import Loss, loss_of
from flowgru.training.muon import Muon
from flowgru.training.step_times import StepKind


class ExponentialMovingAverage:
    """The moving average of the weights: what is validated, kept and published."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    def update(self, weights: dict[str, Tensor], step: int, counts: Bool[Tensor, ""] | None = None) -> None:
        """Moves towards the weights after `step`; early steps count more, so that random weights are soon forgotten.

        counts: whether it does so at all, where only the device knows yet; None where it does.
        """
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        floating = [name for name, value in self.weights.items() if value.is_floating_point()]
        averages, ends = [self.weights[name] for name in floating], [weights[name].detach() for name in floating]
        if counts is None:
            torch._foreach_lerp_(averages, ends, weight)
        else:
            moves = torch._foreach_sub(ends, averages)
            torch._foreach_mul_(moves, weight * counts)
            torch._foreach_add_(averages, moves)
        if counts_of := [name for name, value in self.weights.items() if not value.is_floating_point()]:
            torch._foreach_copy_([self.weights[name] for name in counts_of], [weights[name] for name in counts_of])


@dataclass
class Run:
    """All that changes while a run goes on."""

    network: FlowNetwork
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: ExponentialMovingAverage
    step: int = 0
    best_error: float = math.inf
    validation: dict[str, dict[int, float]] = field(default_factory=dict)
    """The last error on each validation set, after each number of refinements."""
    is_best: bool = False
    """This step's weights have the lowest error so far."""
    validation_due: bool = False
    """This step's weights were to be validated, and the run was stopped before they were."""
    seconds: float = 0.0
    scaler: torch.amp.GradScaler | None = None
    """What scales the loss in 16-bit floating point."""
    machine: dict[str, Any] = field(default_factory=dict)
    """How many processes it has, on which kind of device."""
    resumed_by: str | None = None
    """What is said where it goes on with other processes or on another kind of device than before."""
    changed_rate: str | None = None
    """What is said where it goes on at another learning rate than its schedule had before, because it was made longer."""
    lists: dict[str, str] = field(default_factory=dict)
    """Digests of the lists of pairs that it is trained and measured on, by name."""
    changed_lists: tuple[str, ...] = ()
    """Those that were other ones when the checkpoint was saved from which it goes on."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the weights that it began with come from; empty for random ones."""
    graphs: Graphs | None = None
    """What its steps' gradients are recorded by; None where each kernel is started by itself."""
    loss: Loss = loss_of
    """What its steps minimise, compiled or not."""

    def step_kind(self, before: tuple[int, int]) -> StepKind:
        """What became of a step before which num_graph_calls was `before`."""
        first, recorded = self.num_graph_calls
        return "recorded" if recorded > before[1] else "first" if first > before[0] else "usual"

    @property
    def num_graph_calls(self) -> tuple[int, int]:
        """See Graphs.num_first and num_recorded; 0 without graphs."""
        return (0, 0) if self.graphs is None else (self.graphs.num_first, self.graphs.num_recorded)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights: tensors and plain values only."""
        return {
            "step": self.step,
            "best_error": self.best_error,
            "validation": self.validation,
            "validation_due": self.validation_due,
            "seconds": self.seconds,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "mean": self.average.weights,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "machine": self.machine,
            "lists": self.lists,
            "origin": self.origin,
        }

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Back to what `state` described."""
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(_on_this_machine(state["optimizer"], self.optimizer))
        self._restore_schedule(state["schedule"])
        for name, value in self.average.weights.items():  # on the network's device; what was loaded is on the CPU
            value.copy_(state["mean"][name])
        self.step, self.best_error, self.seconds = state["step"], state["best_error"], state["seconds"]
        self.validation, self.origin = state["validation"], state.get("origin", {})
        self.validation_due = state.get("validation_due", False)
        self.changed_lists = changed_lists(self.lists, state.get("lists", {}))
        before = state.get("machine", self.machine)
        if before != self.machine:
            self.resumed_by = (
                f"{_described(self.machine)}, {_described(before)} before: each step takes the same pairs in the same "
                "batch, and the results differ in the last digits"
            )
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])

    def _restore_schedule(self, state: dict[str, Any]) -> None:
        """To the same step of this run's own schedule, which may be a longer one than that of `state`."""
        # Another version's may hold more.
        kept = self.schedule.state_dict().keys() - {"total_steps", "_schedule_phases"}
        self.schedule.load_state_dict({name: value for name, value in state.items() if name in kept})
        before, num_calls = self.schedule.get_last_lr()[0], self.schedule._step_count
        self.schedule.last_epoch -= 1
        with warnings.catch_warnings():  # torch takes a schedule that moves before any step for a mistake
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.schedule.step()  # the rate of the next step is where the optimizer keeps it
        self.schedule._step_count = num_calls
        now = self.schedule.get_last_lr()[0]
        if not math.isclose(float(before), float(now), rel_tol=1e-9, abs_tol=1e-15):
            self.changed_rate = (
                f"the next step has the learning rate {float(now):.3g}, which was to be {float(before):.3g}"
            )


def make_optimizer(trained: list[nn.Parameter], config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """As configured; on a GPU plain AdamW moves all weights in one kernel, but not with precision 16, where Fabric could
    not clip gradients."""
    settings = config.optimizer
    if settings.method == "muon":
        return Muon(trained, settings.learning_rate, weight_decay=settings.weight_decay)
    fused = device.type == "cuda" and config.precision != "16"
    return torch.optim.AdamW(
        trained, settings.learning_rate, weight_decay=settings.weight_decay, fused=True if fused else None
    )


def _on_this_machine(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state, to be computed on as `optimizer` does, whatever kind of device had it before."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    return {**state, "param_groups": [{**before, "fused": own["fused"]} for before, own in groups]}


def _described(machine: dict[str, Any]) -> str:
    count = machine["processes"]
    return f"{count} process{'es' * (count > 1)} on {machine['device']}"


def one_cycle(optimizer: torch.optim.Optimizer, settings: OptimizerConfig, steps: int) -> Any:
    """RAFT's schedule: a linear rise, then a linear fall; a hundred steps longer than the run, so it never ends at 0."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=steps + 100,
        pct_start=settings.warmup_share,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def constant(optimizer: torch.optim.Optimizer, settings: OptimizerConfig, steps: int) -> Any:
    """A linear rise over warmup_steps, then the same rate until decay_steps before the end, then a linear fall to 0."""

    def share(step: int) -> float:
        rise = (step + 1) / settings.warmup_steps if settings.warmup_steps else 1.0
        fall = (steps - step) / settings.decay_steps if settings.decay_steps else 1.0
        return max(0.0, min(1.0, rise, fall))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


SCHEDULES = {"one_cycle": one_cycle, "constant": constant}
"""How the learning rate goes, by the names of OptimizerConfig.schedule."""


class DrawnRefinements(NamedTuple):
    """How many refinements come before those that are trained."""

    hold: int
    """Leave the flow where it begins: 0..config.hold, each as likely."""
    no_grad_iterations: int
    """Run without gradient: none in half of the steps, else 1..config.no_grad_iterations."""
    coarse_first: bool
    """Whether others come before all of these, on the pictures at half their size."""


def drawn_refinements(config: TrainConfig, step: int) -> DrawnRefinements:
    """The numbers of a step, a function of seed and step."""
    draw = torch.rand(4, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + step))
    hold, most = config.hold, config.no_grad_iterations
    without_gradient = 0 if draw[0] < 0.5 or not most else 1 + int(draw[1] * most)
    held = min(int(draw[2] * (hold + 1)), hold)
    return DrawnRefinements(held, without_gradient, bool(draw[3] < config.coarse_first))

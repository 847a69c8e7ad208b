"""The choice of a way to estimate flow: refinements, initial flow, held refinements, scales and polish."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from flowgru.config.require import MAX_REFINEMENTS, require, require_choices, require_effect, require_refinements
from flowgru.errors import RequestError, counted, stored_text

MAX_SCALES = 6
"""Beyond them a picture of any camera is too small to be refined."""

COMPUTED = ("dis", "zero")
"""Initial flows that need no files."""


@dataclass(frozen=True)
class Way:
    """How a network is used; as it stands here it is the network alone, as RAFT is used."""

    iterations: int = 12
    """Refinements of each flow."""
    initial_flow: Literal["dis", "zero", "given"] = "zero"
    """Where they begin: at OpenCV's DIS flow of the pair, at zero, or at a flow that comes with each pair."""
    hold: int = 0
    """Held refinements before them, which let the hidden state settle and leave the flow as it is."""
    polish: bool = False
    """Whether the network's flow goes through a gate and a variational refinement, see flowgru.data.polish."""
    scales: int = 1
    """At how many sizes of the pictures the flow is refined one after the other, each half as large as the next one."""
    coarse_iterations: int | None = None
    """Refinements at each size but the full one; None for as many as there."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name, value, least in (
            ("iterations", self.iterations, 1),
            ("hold", self.hold, 0),
            ("coarse_iterations", self.iterations_at_smaller_sizes, 1),
        ):
            require_refinements(name, value, least)
        require_scales("scales", self.scales)

    def __str__(self) -> str:
        """The way in one line, in the words of --polish, so that a flow that comes from more than a network says so."""
        begin = {"dis": "initial flow of DIS", "zero": "initial flow zero", "given": "given initial flow"}
        steps = [begin[self.initial_flow], *self._smaller_sizes(), *self._refinements(self.iterations)]
        if not self.polish:
            alone = self == Way(self.iterations)
            return f"the network alone, {steps[-1]}" if alone else " > ".join(steps)
        gate = [] if self.initial_flow == "zero" else ["gate"]
        return " > ".join([*steps, *gate, "variational refinement"])

    @property
    def iterations_at_smaller_sizes(self) -> int:
        """Refinements at each size but the full one."""
        return self.iterations if self.coarse_iterations is None else self.coarse_iterations

    @property
    def most_iterations(self) -> int:
        """Refinements at the size that has most of them."""
        return max(self.iterations, self.iterations_at_smaller_sizes)

    def coarser(self) -> "Way":
        """What is done at half the size of the pictures first, at the same initial flow; for more scales than one."""
        count = self.iterations_at_smaller_sizes
        return replace(self, scales=self.scales - 1, iterations=count, initial_flow="given", polish=False)

    def _refinements(self, count: int) -> list[str]:
        held = [counted(self.hold, "held refinement")] if self.hold else []
        return [*held, counted(count, "refinement")]

    def _smaller_sizes(self) -> list[str]:
        work = " and ".join(self._refinements(self.iterations_at_smaller_sizes))
        return [f"{work} at 1/{2**scale} of the size" for scale in range(self.scales - 1, 0, -1)]


def resolve_way(
    card: Mapping[str, Any] | None,
    *,
    iterations: int | None = None,
    initial_flow: str | None = None,
    hold: int | None = None,
    polish: bool | None = None,
    scales: int | None = None,
    coarse_iterations: int | None = None,
) -> Way:
    """Each setting as it is given, else as the model's card says, else as RAFT has it (12, zero, 0, no polish, 1 scale).

    An initial_flow that is neither dis nor zero stands for given flows. Where an initial flow of zero is asked for, there is
    one scale unless more are asked for, too. Where only one of the card's scales is used, it has as many refinements as the
    card says for any of them, unless a number is asked for. RequestError where the card says no sense, and where
    coarse_iterations has no effect.
    """
    card = card or {}
    said = {name: card.get(name, value) for name, value in asdict(Way()).items()}
    for name, sound, expected in (
        ("iterations", _is_count(said["iterations"], 1), f"a whole number above 0, up to {MAX_REFINEMENTS}"),
        ("initial_flow", said["initial_flow"] in COMPUTED, "dis or zero"),
        ("hold", _is_count(said["hold"], 0), f"a whole number from 0 to {MAX_REFINEMENTS}"),
        ("polish", isinstance(said["polish"], bool), "true or false"),
        ("scales", _is_count(said["scales"], 1, MAX_SCALES), f"a whole number from 1 to {MAX_SCALES}"),
        (
            "coarse_iterations",
            said["coarse_iterations"] is None or _is_count(said["coarse_iterations"], 1),
            f"null, or a whole number above 0, up to {MAX_REFINEMENTS}",
        ),
    ):
        if not sound:
            raise RequestError(f"the model's card has {name} {stored_text(said[name])}: expected {expected}")
    most, scales_of_card = max(said["iterations"], said["coarse_iterations"] or 0), said["scales"]
    if initial_flow is not None:
        said["initial_flow"] = initial_flow if initial_flow in COMPUTED else "given"
        said["scales"] = 1 if initial_flow == "zero" else said["scales"]
    wanted = {
        "iterations": iterations,
        "hold": hold,
        "polish": polish,
        "scales": scales,
        "coarse_iterations": coarse_iterations,
    }
    said |= {name: value for name, value in wanted.items() if value is not None}
    if said["scales"] == 1:
        require_effect(coarse_iterations is None, "coarse_iterations", "where the flow is refined at one scale")
        said["coarse_iterations"] = None
        said["iterations"] = most if iterations is None and scales_of_card > 1 else said["iterations"]
    return Way(**said)


def require_scales(name: str, value: int) -> None:
    """RequestError unless a number of scales is in range."""
    require(1 <= value <= MAX_SCALES, name, value, f"from 1 to {MAX_SCALES}")


def check_way(initial_flow: str | None, *, scales: int | None = None, **counts: int | None) -> None:
    """RequestError, in the words of the command line, for options that make no sense; counts are by their options."""
    if scales is not None:
        require_scales("--scales", scales)
    for name, value in counts.items():
        least = 0 if name == "hold" else 1
        if value is not None:
            require_refinements(f"--{name.replace('_', '-')}", value, least)
    if initial_flow in (None, *COMPUTED):
        return
    if not initial_flow or not Path(initial_flow).is_dir():
        raise RequestError(f"--initial-flow is {initial_flow!r}: expected dis, zero, or a folder of flow files")


def _is_count(value: object, least: int, most: int = MAX_REFINEMENTS) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

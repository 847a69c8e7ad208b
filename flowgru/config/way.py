"""The choice of a way to estimate flow: refinements, initial flow, held refinements and polish."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flowgru.config.require import MAX_REFINEMENTS, require_refinements
from flowgru.errors import RequestError, counted, stored_text

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

    def __post_init__(self) -> None:
        for name, value, least in (("iterations", self.iterations, 1), ("hold", self.hold, 0)):
            require_refinements(name, value, least)

    def __str__(self) -> str:
        """The way in one line, in the words of --polish, so that a flow that comes from more than a network says so."""
        begin = {"dis": "initial flow of DIS", "zero": "initial flow zero", "given": "given initial flow"}
        refinements = counted(self.iterations, "refinement")
        held = [counted(self.hold, "held refinement")] if self.hold else []
        steps = [begin[self.initial_flow], *held, refinements]
        if not self.polish:
            alone = self == Way(self.iterations)
            return f"the network alone, {refinements}" if alone else " > ".join(steps)
        gate = [] if self.initial_flow == "zero" else ["gate"]
        return " > ".join([*steps, *gate, "variational refinement"])


def resolve_way(
    card: Mapping[str, Any] | None,
    *,
    iterations: int | None = None,
    initial_flow: str | None = None,
    hold: int | None = None,
    polish: bool | None = None,
) -> Way:
    """Each setting as it is given, else as the model's card says, else as RAFT has it (12, zero, 0, no polish).

    An initial_flow that is neither dis nor zero stands for given flows. RequestError where the card says no sense.
    """
    card = card or {}
    said = {name: card.get(name, value) for name, value in asdict(Way()).items()}
    for name, sound, expected in (
        ("iterations", _is_count(said["iterations"], 1), f"a whole number above 0, up to {MAX_REFINEMENTS}"),
        ("initial_flow", said["initial_flow"] in COMPUTED, "dis or zero"),
        ("hold", _is_count(said["hold"], 0), f"a whole number from 0 to {MAX_REFINEMENTS}"),
        ("polish", isinstance(said["polish"], bool), "true or false"),
    ):
        if not sound:
            raise RequestError(f"the model's card has {name} {stored_text(said[name])}: expected {expected}")
    if initial_flow is not None:
        said["initial_flow"] = initial_flow if initial_flow in COMPUTED else "given"
    wanted = {"iterations": iterations, "hold": hold, "polish": polish}
    return Way(**{**said, **{name: value for name, value in wanted.items() if value is not None}})


def check_way(initial_flow: str | None, **counts: int | None) -> None:
    """RequestError, in the words of the command line, for options that make no sense; counts are by their options."""
    for name, value in counts.items():
        least = 0 if name == "hold" else 1
        if value is not None:
            require_refinements(f"--{name}", value, least)
    if initial_flow in (None, *COMPUTED):
        return
    if not initial_flow or not Path(initial_flow).is_dir():
        raise RequestError(f"--initial-flow is {initial_flow!r}: expected dis, zero, or a folder of flow files")


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_REFINEMENTS

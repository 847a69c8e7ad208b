"""Which networks a comparison trains: every row in every regime, with the width that the regime gives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flowgru.benchmarking.costs import count_parameters
from flowgru.config import PRESETS, ComparisonConfig, NetworkConfig, Regime, RowConfig, TrainConfig
from flowgru.errors import RequestError, did_you_mean
from flowgru.model.flow_network import FlowNetwork

TOLERANCE = 0.03
"""By this share the parameters of a whole network may differ from the reference's, where they are called equal."""


@dataclass(frozen=True)
class PlannedRow:
    """One row in one regime: the network that is trained once with each seed."""

    regime: Regime
    row: RowConfig
    network: NetworkConfig
    parameters: int
    """Number of parameters of the whole network."""
    operator_parameters: int
    reference_parameters: int
    """Number of parameters of the reference row's whole network."""

    @property
    def width(self) -> int:
        """Channels of the hidden state."""
        return self.network.sizes.hidden_size

    @property
    def folder(self) -> str:
        """Where its runs lie; the two regimes share the runs of a row that has one width in both."""
        regime = "equal_width" if self.network.hidden_size is None else "equal_parameters"
        return f"runs/{regime}/{self.row.name}"

    @property
    def difference(self) -> float:
        """Its parameters' share above the reference's."""
        return self.parameters / self.reference_parameters - 1


def select_rows(config: ComparisonConfig, names: Sequence[str]) -> list[RowConfig]:
    """The rows of these names, all where there are none. RequestError for an unknown one."""
    rows = {row.name: row for row in config.rows}
    for name in names:
        if name not in rows:
            of_operator = [row.name for row in config.rows if row.operator == name]
            named = f"the rows of that operator are called {', '.join(of_operator)}; "
            hint = named if of_operator else did_you_mean(name, rows)
            raise RequestError(f"--operators names the unknown row {name!r}: {hint}known are {', '.join(rows)}")
    return [rows[name] for name in dict.fromkeys(names)] or [*config.rows]


def plan_rows(config: ComparisonConfig, rows: Sequence[RowConfig]) -> list[PlannedRow]:
    """These rows in every regime. RequestError for an operator that cannot be made, or not as large as the reference."""
    base = replace(config.training.network, hidden_size=None)
    reference = next(row for row in config.rows if row.name == config.reference)
    wanted, _ = count_parameters(_network(base, reference))
    planned = []
    for regime in config.regimes:
        for row in rows:
            network = _network(base, row)
            if regime == "equal_parameters":
                network = _as_large_as(wanted, network, row.name)
            planned.append(PlannedRow(regime, row, network, *count_parameters(network), wanted))
    return planned


def reference_network(config: ComparisonConfig) -> NetworkConfig:
    """The network whose initial weights the others share where they fit."""
    reference = next(row for row in config.rows if row.name == config.reference)
    return _network(replace(config.training.network, hidden_size=None), reference)


def weights_by_width(network: NetworkConfig) -> set[str]:
    """The names of the weights whose shape depends on the width of the hidden state."""
    width = network.sizes.hidden_size
    with torch.device("meta"):
        one, wider = (FlowNetwork(replace(network, hidden_size=size)).state_dict() for size in (width, 2 * width))
    return {name for name, value in one.items() if value.shape != wider[name].shape}


def run_config(config: ComparisonConfig, network: NetworkConfig, seed: int, steps: int, initial: Path) -> TrainConfig:
    """The training of one network with one seed, which decides its pairs too; `initial` is the seed's initial weights."""
    training = config.training
    data = replace(training.data, seed=training.data.seed + seed)
    return replace(training, network=network, data=data, seed=seed, steps=steps, init_from=str(initial))


def _network(base: NetworkConfig, row: RowConfig) -> NetworkConfig:
    return replace(base, operator=row.operator, options=row.options)


def _as_large_as(wanted: int, network: NetworkConfig, name: str) -> NetworkConfig:
    """The network with the hidden_size that brings its parameters nearest to `wanted`: a multiple of 4 if one will do."""
    usual = PRESETS[network.preset].hidden_size

    def sized(width: int) -> NetworkConfig:
        return replace(network, hidden_size=None if width == usual else width)

    nearest: dict[int, int] = {}
    for multiple in (4, 1):
        counts = _counts_around(wanted, multiple, 4 * usual, lambda width: count_parameters(sized(width))[0])
        nearest |= counts
        width = min(nearest, key=lambda width: abs(nearest[width] - wanted), default=None)
        if width is not None and abs(nearest[width] / wanted - 1) <= TOLERANCE:
            return sized(width)
    if not nearest:
        count_parameters(network)  # says why there is none
    shown = ", ".join(f"{count:,} with hidden_size {width}" for width, count in sorted(nearest.items()))
    raise RequestError(
        f"no hidden_size gives {name} the reference's {wanted:,} parameters within {TOLERANCE:.0%}: it has {shown}; "
        "leave it out by --operators, or compare by --regimes equal_width alone"
    )


def _counts_around(wanted: int, multiple: int, widest: int, count: Callable[[int], int]) -> dict[int, int]:
    """Parameters by width on both sides of `wanted`, of the multiples that the operator accepts."""

    def accepted(place: int) -> tuple[int, int] | None:
        """The next width from `place` multiples on, and its parameters."""
        for width in range(multiple * place, min(multiple * (place + 16), widest) + 1, multiple):
            try:
                return width, count(width)
            except RequestError:
                continue
        return None

    low, high, found = 1, widest // multiple, {}
    while low <= high:
        middle = (low + high) // 2
        here = accepted(middle)
        if here is not None:
            found[here[0]] = here[1]
        if here is not None and here[1] < wanted:
            low = here[0] // multiple + 1
        else:
            high = middle - 1
    near = sorted(found, key=lambda width: abs(found[width] - wanted))[:2]
    return {width: found[width] for width in near}

"""Times and errors of every scan backend that runs here, interleaved in one process; nothing is timed before it is right.

python benchmarks/scan.py [--rounds 31] [--lengths 16 64 256 1024 4096] [--device cpu] [--threads 2]
python benchmarks/scan.py --threads 1 --clock processor     where other work runs on the machine

Milliseconds are median / quickest of the rounds. The plain loop indexes each step, as a textbook writes it; `sequential`
is the same with all steps taken apart at once. The floor is what the memory allows: forward it reads two tensors and writes
one, as a scan must; forward and backward it reads five and writes three. A backend whose values or gradients are further
than 1e-4 (log_space: 0.1) from float64's is named and not timed, and the exit code is 1; log_space alone may be.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from reporting import arguments, begin, circumstances, parsed, refuse
from torch import Tensor

from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.scan import BACKENDS, linear_scan, preferred_backend, scan_directions

FOUR_WAYS = ((3, False), (3, True), (2, False), (2, True))
PLAIN, FLOOR = "plain loop", "floor (copy)"
COARSE = (1, 128, 55, 128)
"""What conv_min_gru of RAFT's width scans at 440x1024."""
LARGE = (8, 128, 136, 240)
"""A batch at 1080p: long enough that a GPU's memory, not its launches, is what limits."""
LEAST = {"cpu": 0.0, "cuda": 0.005}
"""Seconds for which a backend runs in its turn: a GPU's are short against their start."""


def plain_loop(decay: Tensor, update: Tensor, dim: int) -> Tensor:
    states = [update.select(dim, 0)]
    for t in range(1, update.shape[dim]):
        states.append(decay.select(dim, t) * states[-1] + update.select(dim, t))
    return torch.stack(states, dim)


def backends(update: Tensor) -> list[str]:
    """Those that run on the device of `update`; the others are named with their reason."""
    runnable = []
    for name in BACKENDS:
        try:
            preferred_backend(name, update)
            runnable.append(name)
        except ValueError as reason:
            print(f"({reason})")
    return runnable


def timed(ways: dict[str, Callable[[], object]], given: argparse.Namespace, rounds: int) -> dict[str, list[float]]:
    device = torch.device(given.device)
    return interleaved_seconds(ways, rounds, device, warm_up=2, least=LEAST[device.type], clock=given.clock)


def milliseconds(seconds: list[float]) -> tuple[float, float]:
    """Median and quickest."""
    return 1000 * statistics.median(seconds), 1000 * min(seconds)


def inputs(shape: tuple[int, ...], device: str) -> tuple[Tensor, Tensor]:
    """Gates and updates that log_space is defined for."""
    return (0.01 + 0.98 * torch.rand(shape, device=device), 0.01 + torch.rand(shape, device=device))


def ways_along(
    decay: Tensor, update: Tensor, dim: int, names: list[str], wrong: list[str]
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """Forward, and forward with backward, of every backend whose values and gradients are right; `wrong` gets the others."""
    weight = torch.randn_like(update)
    leaves = decay.clone().requires_grad_(), update.clone().requires_grad_()
    truth_leaves = decay.double().requires_grad_(), update.double().requires_grad_()
    truth = linear_scan(*truth_leaves, dim=dim, backend="sequential")
    truth_grads = torch.autograd.grad(truth, truth_leaves, weight.double())
    forms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        name: lambda a, b, name=name: linear_scan(a, b, dim=dim, backend=name) for name in names
    }
    if update.shape != LARGE:
        forms = {PLAIN: lambda a, b: plain_loop(a, b, dim), **forms}
    forward: dict[str, Callable[[], object]] = {}
    both: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():

        def run(form=form) -> Tensor:
            with torch.inference_mode():
                return form(decay, update)

        def differentiate(form=form) -> tuple[Tensor, ...]:
            return torch.autograd.grad(form(*leaves), leaves, weight)

        tolerance = 1e-1 if name == "log_space" else 1e-4
        try:
            for got, true in zip((run(), *differentiate()), (truth, *truth_grads), strict=True):
                torch.testing.assert_close(got.double(), true, rtol=tolerance, atol=tolerance)
        except AssertionError as error:
            wrong.append(f"{name} over {update.shape[dim]} steps: {str(error).splitlines()[3]}")
            continue
        forward[name], both[name] = run, differentiate
    out, other, third = (torch.empty_like(update) for _ in range(3))

    def copies() -> None:
        torch.add(decay, update, out=out)
        torch.add(decay, out, out=other)
        torch.neg(weight, out=third)  # backward reads decay, states and weight, and writes two gradients

    return forward | {FLOOR: lambda: torch.add(decay, update, out=out)}, both | {FLOOR: copies}


def one_shape(shape: tuple[int, ...], given: argparse.Namespace, wrong: list[str]) -> None:
    """Every backend along the rows and along the columns of one shape."""
    decay, update = inputs(shape, given.device)
    names = backends(update)
    if shape == LARGE:  # what keeps every step apart would take minutes
        names = [name for name in names if name in ("auto", "triton", "blelloch")]
    for dim, axis in ((3, "W (rows)"), (2, "H (columns)")):
        ways = ways_along(decay, update, dim, names, wrong)
        forward, both = (timed(each, given, given.rounds) for each in ways)
        columns = ["backend", "forward, ms", "times as fast as the plain loop (range)", "times the floor"]
        columns += ["forward + backward, ms", "times as fast as the plain loop (range), both", "times the floor, both"]
        table = Table(f"{list(shape)} along {axis}", said(given, str(list(shape))), columns, lines=given.json)
        for name in forward:
            cells = []
            for times in (forward, both):
                reference = times.get(PLAIN)
                ratio = None if reference is None else speed_ratio(reference, times[name])
                cells += [
                    milliseconds(times[name]),
                    ratio,
                    milliseconds(times[name])[0] / milliseconds(times[FLOOR])[0],
                ]
            run = f" = {preferred_backend(name, update, dim)}" if name == "auto" else ""
            table.add(f"{name}{run}", *cells)


def over_lengths(given: argparse.Namespace, wrong: list[str]) -> None:
    """Every backend over sequences of growing length, which lie in memory as rows or as columns."""
    names = [name for name in backends(torch.empty(1, device=given.device)) if name != "auto"]
    for dim, shape_of in ((1, lambda length: (512, length)), (0, lambda length: (length, 512))):
        times = {}
        for length in given.lengths:
            decay, update = inputs(shape_of(length), given.device)
            times[length] = timed(ways_along(decay, update, dim, names, wrong)[1], given, max(5, given.rounds // 4))
        title = f"512 sequences, {'one row' if dim else 'one column'} each, forward + backward, ms"
        columns = ["backend", *map(str, given.lengths)]
        table = Table(title, said(given, "512 sequences", max(5, given.rounds // 4)), columns, lines=given.json)
        for name in (PLAIN, *names, FLOOR):
            table.add(name, *(milliseconds(ways[name]) if name in ways else "wrong" for ways in times.values()))


def four_directions(given: argparse.Namespace) -> None:
    """What conv_min_gru scans in one refinement."""
    decay, update = inputs(COARSE, given.device)

    def separately(form: Callable[[Tensor, Tensor, int, bool], Tensor]) -> Tensor:
        groups = zip(decay.chunk(4, 1), update.chunk(4, 1), FOUR_WAYS, strict=True)
        with torch.inference_mode():
            return torch.cat([form(a, b, dim, reverse) for a, b, (dim, reverse) in groups], 1)

    def blelloch(a: Tensor, b: Tensor, dim: int, reverse: bool) -> Tensor:
        return linear_scan(a, b, dim=dim, reverse=reverse, backend="blelloch")

    def together() -> Tensor:
        with torch.inference_mode():
            return scan_directions(decay, update, FOUR_WAYS)

    torch.testing.assert_close(together(), separately(blelloch))
    apart = "4 x blelloch, concatenated"
    times = timed({apart: lambda: separately(blelloch), "auto": together}, given, given.rounds)
    columns = ["way", "forward, ms", "times as fast as apart (range)"]
    table = Table(
        "Four groups of channels in four directions", said(given, str(list(COARSE))), columns, lines=given.json
    )
    for name, seconds in times.items():
        table.add(name, milliseconds(seconds), speed_ratio(times[apart], seconds))


def accuracy(given: argparse.Namespace) -> None:
    names = [name for name in backends(torch.empty(1, device=given.device)) if name != "auto"]
    title = "Largest |error| over largest |h|, against float64"
    device = torch.device(given.device)
    table = Table(title, circumstances(device, size="64 sequences"), ["gates", "length", *names], lines=given.json)
    gates = {
        "0.01..0.99": lambda x: 0.01 + 0.98 * x,
        "0.9..0.999": lambda x: 0.9 + 0.099 * x,
        "1e-30..0.99": lambda x: 0.99 * 10 ** (-30 * x),
        "0, 1 and between": lambda x: x.clone().masked_fill_(x < 0.2, 0).masked_fill_(x > 0.8, 1),
    }
    for kind, gate in gates.items():
        for length in (128, 1024):
            random = torch.rand(2, 64, length, device=given.device)
            decay, update = gate(random[0]), 0.01 + random[1]
            truth = linear_scan(decay.double(), update.double(), backend="sequential")
            errors = []
            for name in names:
                try:
                    wrong = (linear_scan(decay, update, backend=name).double() - truth).abs().max() / truth.abs().max()
                    errors.append(wrong.item())
                except ValueError:
                    errors.append("refused")
            table.add(kind, length, *errors)


def said(given: argparse.Namespace, size: str, rounds: int | None = None) -> dict[str, str]:
    return conditions(
        torch.device(given.device),
        size=size,
        dtype="float32",
        iterations="one scan",
        correlation="none",
        rounds=rounds or given.rounds,
        warm_up="the check, and two rounds",
        clock=given.clock,
        one_time=f"mean of runs over {least} s" if (least := LEAST[torch.device(given.device).type]) else "one run",
        milliseconds="median / quickest",
    )


def main() -> None:
    parser = arguments(__doc__, rounds=31)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256, 1024, 4096])
    given = parsed(parser)
    wrong: list[str] = []
    shapes = [COARSE, LARGE] if begin(given).type == "cuda" else [COARSE]
    for shape in shapes:
        one_shape(shape, given, wrong)
    four_directions(given)
    over_lengths(given, wrong)
    accuracy(given)
    print("\nNot timed: " + ("; ".join(wrong) or "nothing"))
    refuse([text for text in wrong if not text.startswith("log_space")])


if __name__ == "__main__":
    main()

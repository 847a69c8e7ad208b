"""Times and errors of every scan backend that runs here, interleaved in one process; nothing is timed before it is right.

    OMP_NUM_THREADS=2 python benchmarks/scan.py [--rounds 31] [--lengths 16 64 256 1024 4096] [--device cpu]
    OMP_NUM_THREADS=1 python benchmarks/scan.py --clock processor     where other work runs on the machine

Milliseconds are median / quickest of the rounds, the ratios those of the plain loop to the backend. The plain loop indexes
each step, as a textbook writes it; `sequential` is the same with all steps taken apart at once.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from flowgru.scan import BACKENDS, linear_scan, preferred_backend, scan_directions

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
FOUR_WAYS = ((3, False), (3, True), (2, False), (2, True))


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


def milliseconds(ways: dict[str, Callable[[], object]], rounds: int, clock: str) -> dict[str, tuple[float, float]]:
    """Median and quickest of each way, all ways once in every round, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in [*ways.values()] * 2:
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = CLOCKS[clock]()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(1e3 * (CLOCKS[clock]() - started))
    return {name: (statistics.median(values), min(values)) for name, values in times.items()}


def inputs(shape: tuple[int, ...], device: str) -> tuple[Tensor, Tensor]:
    """Gates and updates that log_space is defined for."""
    return (0.01 + 0.98 * torch.rand(shape, device=device), 0.01 + torch.rand(shape, device=device))


def ways_along(
    decay: Tensor, update: Tensor, dim: int, names: list[str]
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """Forward, and forward with backward, of every backend whose values and gradients are right."""
    weight = torch.randn_like(update)
    leaves = decay.clone().requires_grad_(), update.clone().requires_grad_()
    truth_leaves = decay.double().requires_grad_(), update.double().requires_grad_()
    truth = linear_scan(*truth_leaves, dim=dim, backend="sequential")
    truth_grads = torch.autograd.grad(truth, truth_leaves, weight.double())
    forms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"plain loop": lambda a, b: plain_loop(a, b, dim)}
    forms |= {name: lambda a, b, name=name: linear_scan(a, b, dim=dim, backend=name) for name in names}
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
        except AssertionError as wrong:
            print(f"({name} is not timed over {update.shape[dim]} steps: {str(wrong).splitlines()[3]})")
            continue
        forward[name], both[name] = run, differentiate
    return forward, both


def table_case(device: str, rounds: int, clock: str) -> None:
    shape = (1, 128, 55, 128)
    decay, update = inputs(shape, device)
    names = backends(update)
    for dim, axis in ((3, "W (rows)"), (2, "H (columns)")):
        forward, both = (milliseconds(ways, rounds, clock) for ways in ways_along(decay, update, dim, names))
        print(f"\n{list(shape)} along {axis}, ms\n| backend | forward | ratio | forward + backward | ratio |")
        print("|---|---|---|---|---|")
        for name in forward:
            cells = [
                f"{ms[name][0]:.2f} / {ms[name][1]:.2f} | "
                f"{ms['plain loop'][0] / ms[name][0]:.1f} / {ms['plain loop'][1] / ms[name][1]:.1f}"
                for ms in (forward, both)
            ]
            run = f" = {preferred_backend(name, update, dim)}" if name == "auto" else ""
            print(f"| {name}{run} | {cells[0]} | {cells[1]} |")


def over_lengths(device: str, lengths: list[int], rounds: int, clock: str) -> None:
    names = [name for name in backends(torch.empty(1, device=device)) if name != "auto"]
    for dim, shape_of in ((1, lambda length: (512, length)), (0, lambda length: (length, 512))):
        times = {}
        for length in lengths:
            decay, update = inputs(shape_of(length), device)
            times[length] = milliseconds(ways_along(decay, update, dim, names)[1], max(5, rounds // 4), clock)
        print(f"\n512 sequences, {'one row' if dim else 'one column'} each, forward + backward, ms (median / quickest)")
        print(f"| backend | {' | '.join(map(str, lengths))} |\n|---|{'---|' * len(lengths)}")
        for name in times[lengths[0]]:
            cells = ["{:.2f} / {:.2f}".format(*ms[name]) if name in ms else "wrong" for ms in times.values()]
            print(f"| {name} | {' | '.join(cells)} |")


def four_directions(device: str, rounds: int, clock: str) -> None:
    """What conv_min_gru scans in one refinement."""
    shape = (1, 128, 55, 128)
    decay, update = inputs(shape, device)

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
    times = milliseconds({"4 x blelloch, concatenated": lambda: separately(blelloch), "auto": together}, rounds, clock)
    print(f"\n{list(shape)}, four groups of channels in four directions\n| way | forward, ms |\n|---|---|")
    for name, (median, quickest) in times.items():
        print(f"| {name} | {median:.2f} / {quickest:.2f} |")


def accuracy(device: str) -> None:
    names = [name for name in backends(torch.empty(1, device=device)) if name != "auto"]
    print("\nlargest |error| / largest |h| against float64")
    print(f"| gates | length | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    gates = {
        "0.01..0.99": lambda x: 0.01 + 0.98 * x,
        "0.9..0.999": lambda x: 0.9 + 0.099 * x,
        "1e-30..0.99": lambda x: 0.99 * 10 ** (-30 * x),
        "0, 1 and between": lambda x: x.clone().masked_fill_(x < 0.2, 0).masked_fill_(x > 0.8, 1),
    }
    for kind, gate in gates.items():
        for length in (128, 1024):
            decay, update = gate(torch.rand(64, length, device=device)), 0.01 + torch.rand(64, length, device=device)
            truth = linear_scan(decay.double(), update.double(), backend="sequential")
            errors = []
            for name in names:
                try:
                    wrong = (linear_scan(decay, update, backend=name).double() - truth).abs().max() / truth.abs().max()
                    errors.append(f"{wrong:.1e}")
                except ValueError:
                    errors.append("refused")
            print(f"| {kind} | {length} | {' | '.join(errors)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256, 1024, 4096])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    given = parser.parse_args()
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads, float32, {given.rounds} rounds"
    )
    table_case(given.device, given.rounds, given.clock)
    four_directions(given.device, given.rounds, given.clock)
    over_lengths(given.device, given.lengths, given.rounds, given.clock)
    accuracy(given.device)


if __name__ == "__main__":
    main()

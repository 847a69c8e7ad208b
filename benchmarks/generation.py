"""What a generated pair takes, one by one and in batches: launches on a GPU, its expected time, and this machine's time.

python benchmarks/generation.py [--config configs/gpu.yaml] [--size 256x320] [--batch 16] [--batches 4] [--device cuda]

Launches and expected times are counted without a GPU, with tensors that have no values, as expected_times.py assumes.
What is measured on the CPU is processor time, of one thread unless --threads says otherwise; so are "drawn" and "start of
DIS" on every device. The rows:
one by one        as the processes on a CPU make pairs, and with generate_in_batches: false a GPU;
drawn             what is left for those processes where a GPU paints batches;
painted           what that GPU does then;
start of DIS      the flow of DIS of a pair, which stays on the CPU.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from expected_times import HOST, Costs
from reporting import arguments, begin, circumstances, parsed, size_of
from torch import Tensor
from torch.utils._pytree import tree_leaves

from flowgru.benchmarking.timing import CLOCKS, Table
from flowgru.config import StartShares, SyntheticSettings
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.batched.batch import DrawnBatch, DrawnPairs
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.parser import TaskParser
from flowgru.training.run import train

NOWHERE = torch.device("meta")


class OnDevice(Costs):
    """Counts what is asked of the device without values, and not what happens on the CPU."""

    def note(self, name: str, values: Any, func: Any = None) -> None:
        if any(isinstance(each, Tensor) and each.device == NOWHERE for each in tree_leaves(values)):
            super().note(name, touched(name, *values), func)


def touched(name: str, args: tuple[Any, ...], kwargs: Any, found: Any) -> Any:
    """The tensors that are read and written, where an operation reads or writes only a part of one."""
    if name in ("index_select", "gather", "grid_sampler_2d"):  # reads about as much as it gives
        return args[1:], found, found.detach()
    if name == "index_copy_":
        return args[2:], args[3].detach()
    return args, kwargs, found


class GeneratorOfTheCpu(torch.Generator):
    """There are none for tensors without values."""

    def __new__(cls, device: object = None) -> "GeneratorOfTheCpu":
        return super().__new__(cls, "cpu")  # pyright: ignore[reportCallIssue]


def counted(action: Callable[[], Any]) -> OnDevice:
    """What an action asks of the device without values."""
    action()  # makes the textures
    costs = OnDevice()
    with costs:
        action()
    return costs


def measured(action: Callable[[int], Tensor], number: int, clock: str) -> float:
    """Seconds of one of so many actions, after one that is not counted."""
    action(number).sum().item()
    began = CLOCKS[clock]()
    for turn in range(number):
        last = action(turn)
    last.sum().item()
    return (CLOCKS[clock]() - began) / number


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--config", default="configs/gpu.yaml", help="whose pairs are made")
    parser.add_argument("--size", help="HEIGHTxWIDTH in place of the configuration's")
    parser.add_argument("--num-textures", type=int, help="in place of the configuration's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4, help="that are measured")
    given = parsed(parser)
    device = begin(given)
    settings: SyntheticSettings = (
        TaskParser("flowgru train", train).parse(["--config", given.config, "--output", "unused"])["config"].data
    )
    if given.size:
        height, width = size_of(given.size)
        settings = replace(settings, height=height, width=width)
    settings = replace(settings, num_textures=given.num_textures or settings.num_textures)
    clock = "processor" if device.type == "cpu" else "wall"
    size = f"{settings.height}x{settings.width}"
    said = circumstances(device, clock=clock, config=given.config, size=size, batch=given.batch)
    columns = ["form", "launches a pair", "GPU ms", "host ms", "expected pairs/s", "measured ms", "measured pairs/s"]
    table = Table("A generated pair", said, columns, lines=given.json)

    pairs = SyntheticPairs(settings, device=device)
    drawn = DrawnPairs(pairs, uses=1, shares=StartShares(), seed=0)
    batches = [drawn_batch(drawn, number, given.batch) for number in range(given.batches + 1)]

    def add(form: str, costs: OnDevice | None, seconds: float) -> None:
        """`seconds` of one pair; what was counted is of a batch."""
        expected = [None] * 4
        if costs is not None:
            launches = costs.count.total() / given.batch
            busy, asking = 1e3 * costs.seconds / given.batch, 1e3 * HOST * launches
            expected = [launches, busy, asking, 1e3 / max(busy, asking)]
        table.add(form, *expected, 1e3 * seconds, 1 / seconds)

    with patch("torch.Generator", GeneratorOfTheCpu):
        nowhere = SyntheticPairs(settings, device=NOWHERE)
        alone = counted(lambda: [nowhere[index] for index in range(given.batch)])
        together = counted(lambda: batches[0].painted(NOWHERE))
    add("one by one", alone, measured(lambda turn: pairs[turn].flow[0, 0], given.batches * given.batch, clock))
    began = time.process_time()
    for number in range(given.batches):
        drawn_batch(drawn, number, given.batch)
    add("drawn", None, (time.process_time() - began) / given.batches / given.batch)
    painting = measured(lambda turn: batches[turn].painted(device).flow[0, 0], given.batches, clock) / given.batch
    add("painted", together, painting)
    found = [SyntheticPairs(settings)[index] for index in range(given.batch)]
    add("start of DIS", None, measured(lambda turn: dis_start(*found[turn % len(found)][:2]), given.batch, "processor"))


def drawn_batch(drawn: DrawnPairs, number: int, size: int) -> DrawnBatch:
    return DrawnBatch.of([drawn[number * size + place] for place in range(size)], drawn.pairs.settings)


if __name__ == "__main__":
    main()

"""Time of a model's own way to a flow against 24 refinements from zero, on clips, in turns.

python benchmarks/ways.py CLIP.mp4 ... [--model default] [--frames 5] [--size 440x1024]

Each way sees the same frames in memory, encodes each once, and goes from pair to pair, as `flowgru estimate` does. The
first pair is timed with the others: it encodes two frames.
"""

import statistics
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from reporting import alone, arguments, begin, parsed, size_of

from flowgru import estimate_flow
from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.data.video.reader import VideoReader
from flowgru.model.weight_files.loading import load_model


def frames_of(clip: Path, count: int, size: str | None) -> list[np.ndarray]:
    """The first frames of a clip, uint8 [H, W, 3], brought to the size that is asked for."""
    with VideoReader(clip) as video:
        frames = [frame.image for frame in islice(video, count)]
    if size is not None:
        height, width = size_of(size)
        frames = [cv2.resize(frame, (width, height)) for frame in frames]
    return frames


def rows(clip: Path, given) -> Iterator[tuple]:
    """One row for each way: the clip, its size, seconds for each pair, and how many times as fast as the network alone."""
    network = load_model(given.model, given.device)
    frames = frames_of(clip, given.frames, given.size)
    actions = {
        "network alone, 24 refinements from zero": lambda: list(estimate_flow(frames, network, **alone(24))),
        "the model's way": lambda: list(estimate_flow(frames, network)),
    }
    times = interleaved_seconds(actions, given.rounds, torch.device(given.device), clock=given.clock)
    height, width = frames[0].shape[:2]
    for name, seconds in times.items():
        a_pair = statistics.median(seconds) / (len(frames) - 1)
        yield clip.name, f"{height}x{width}", name, a_pair, 1 / a_pair, speed_ratio(next(iter(times.values())), seconds)


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", help="HEIGHTxWIDTH to which the frames are brought; without it their own")
    given = parsed(parser)
    device = begin(given)
    said = conditions(
        device,
        size="by row",
        dtype="float32",
        iterations="by row",
        correlation="auto",
        rounds=given.rounds,
        warm_up="one round",
        clock=given.clock,
        frames=given.frames,
    )
    columns = ["clip", "size", "way", "s a pair", "frames/s", "times as fast (range)"]
    table = Table("A model's way against the network alone", said, columns, lines=given.json)
    for clip in given.clips:
        for row in rows(clip, given):
            table.add(*row)


if __name__ == "__main__":
    main()

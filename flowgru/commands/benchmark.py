"""`flowgru benchmark`: seconds, frames per second and memory of models and settings on this machine, side by side."""

from flowgru.config.benchmark import BenchmarkSettings


def benchmark(settings: BenchmarkSettings) -> None:
    """Prints seconds for a pair, frames per second of a video and peak memory of models and settings, side by side.

    Options that are lists (a,b) are measured in every combination, and each case's speed is compared with the first one's.
    With --operators: parameters, multiply-adds and milliseconds of one step of update operators.
    """
    from flowgru.benchmarking.cases import Benchmark  # imports torch, which --help does without

    Benchmark(settings).run()

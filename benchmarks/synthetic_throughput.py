"""Generated pairs per second of one core: python benchmarks/synthetic_throughput.py"""

import time

import torch

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic import SyntheticPairs

SIZES = ((192, 256, 200), (440, 1024, 30))


def main() -> None:
    torch.set_num_threads(1)
    for height, width, num_pairs in SIZES:
        pairs = SyntheticPairs(SyntheticSettings(height=height, width=width), length=num_pairs)
        pairs[0]  # builds the texture bank
        start = time.process_time()
        for _ in pairs:
            pass
        seconds = time.process_time() - start
        print(f"{height}x{width}: {num_pairs / seconds:.1f} pairs/s on one core ({num_pairs} pairs)")


if __name__ == "__main__":
    main()

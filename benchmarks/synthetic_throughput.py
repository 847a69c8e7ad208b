"""Generated pairs per second of one core, or of a GPU: python benchmarks/synthetic_throughput.py [--device cuda]

On the CPU it is processor time of one thread that counts, so that other work on the machine matters little.
"""

import argparse
import time

import torch

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.pairs import SyntheticPairs

SIZES = ((192, 256, 200), (440, 1024, 30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    clock, unit = (time.process_time, "one core") if device.type == "cpu" else (time.perf_counter, str(device))
    for height, width, num_pairs in SIZES:
        pairs = SyntheticPairs(SyntheticSettings(height=height, width=width), length=num_pairs, device=device)
        pairs[0]  # builds the texture bank
        start = clock()
        for pair in pairs:
            pair.flow[0, 0, 0].item()  # waits for a GPU to be done
        seconds = clock() - start
        print(f"{height}x{width}: {num_pairs / seconds:.1f} pairs/s on {unit} ({num_pairs} pairs)")


if __name__ == "__main__":
    main()

"""`python train.py [options]` is `flowgru train [options]`."""

import sys

from flowgru.cli import main

sys.exit(main(["train", *sys.argv[1:]]))

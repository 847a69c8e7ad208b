"""`python demo.py [options]` is `flowgru demo [options]`."""

import sys

from flowgru.cli import main

sys.exit(main(["demo", *sys.argv[1:]]))

"""`python -m flowgru` is the command `flowgru`."""

import sys

from flowgru.cli import main

sys.exit(main())

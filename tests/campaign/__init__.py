"""An attack on flowgru that can be repeated: `python -m tests.campaign --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

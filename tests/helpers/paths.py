"""Where the project's own files lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
HELPERS = Path(__file__).parent
"""What processes that tests start import from."""

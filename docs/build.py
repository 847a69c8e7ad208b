"""Builds the site into build/site: python docs/build.py, after pip install -e ".[docs]".

The pages link to one another as files of the repository, and they name files outside docs/ too. So the site has the
repository's folders: the pages are copied to build/pages as they lie here, and zensical, which reads mkdocs.yml, makes
the site of them. A link that leads nowhere ends it with exit code 1. MkDocs reads the same file: once the pages are copied,
`mkdocs build --strict --theme mkdocs --site-dir build/plain` makes a plainer site of them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build/pages"
SHOWN = ("*.md", "LICENSE", "docs", "results", "configs", "datasets/README.md", "datasets/sample")
"""What the pages show or link to, as patterns below the root."""


def main() -> int:
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in (path for pattern in SHOWN for path in ROOT.glob(pattern)):
        target = PAGES / path.relative_to(ROOT)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", ROOT / "mkdocs.yml"]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())

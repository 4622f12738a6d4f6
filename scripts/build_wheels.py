"""Builds the wheel of every distribution into a folder, with what is installed here and nothing from outside."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build; the folder is the only argument."""
    target = Path(sys.argv[1]).resolve()
    for project in sorted(path.parent for path in ROOT.glob("*/*/pyproject.toml")):
        subprocess.run(  # noqa: S603  hatchling, on our own projects
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)], cwd=project, check=True
        )


if __name__ == "__main__":
    main()

"""Pages in a real browser, driven by small programs of Node; the browser itself is one that is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def program(folder: Path, name: str) -> list[str]:
    """Make ready a program of this folder in another; return the command that runs it, up to the browser.

    What is missing on this machine (a browser, npm, or the packages) skips the test.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None or shutil.which("npm") is None:
        pytest.skip("chromium or npm is not installed")
    for needed in ("package.json", "package-lock.json", name):
        shutil.copy(_HERE / needed, folder)
    install = ("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install: {installed.stderr[-300:]}")
    return ["node", name, browser]

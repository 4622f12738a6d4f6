"""OAuth as libraries of others speak it, in Node."""

import shutil
import subprocess
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def run_client(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the client in another folder with its packages; where they cannot be had the test is skipped."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    for needed in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(_HERE / needed, folder)
    install = ("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install: {installed.stderr[-300:]}")
    return subprocess.run(("node", "client.mjs", *arguments), cwd=folder, capture_output=True, text=True, timeout=60, check=False)

"""Clients that are generated from the document compile strictly, and see the code of every refusal."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS

HERE = Path(__file__).parent
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
ITS_OWN = "generated/client.py:"
"""A file that the generator writes whatever the document says; it does not hold under mypy by itself."""


@pytest.fixture
def document(platform, tmp_path) -> Path:
    """Give the document as a file."""
    path = tmp_path / "openapi.json"
    path.write_bytes(httpx.get(f"{platform.gateway}/openapi.json", verify=NO_TLS).content)
    return path


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in the folder."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.timeout(400)
@pytest.mark.soak
def test_typescript_compiles_strictly(document, tmp_path):
    """openapi-typescript and openapi-fetch: no cast, no any, and each refusal with its code."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json", "tsconfig.json", "client.ts"):
        shutil.copy(HERE / "typescript" / name, tmp_path)
    installed = run(tmp_path, "npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    if installed.returncode:
        pytest.skip(f"npm cannot install: {installed.stderr[-300:]}")
    tools = tmp_path / "node_modules" / ".bin"
    # not .d.ts: the compiler leaves those unchecked, the browser's own of 50,000 lines among them
    made = run(tmp_path, str(tools / "openapi-typescript"), document.name, "-o", "schema.ts")
    assert made.returncode == 0, made.stdout + made.stderr
    compiled = run(tmp_path, str(tools / "tsc"), "-p", ".")
    assert compiled.returncode == 0, compiled.stdout


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_python_holds_under_strict_types(document, tmp_path):
    """openapi-python-client: nothing of the document is left out, and what is generated is typed throughout."""
    tool = (sys.executable, "-m", "uv", "tool", "run", "--from", PYTHON_GENERATOR, "openapi-python-client")
    if (asked := run(tmp_path, *tool, "--version")).returncode:
        pytest.skip(f"{PYTHON_GENERATOR} cannot be had: {asked.stderr[-300:]}")
    made = run(tmp_path, *tool, "generate", "--path", document.name, "--output-path", "generated", "--meta", "none")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr, made.stdout[-4000:]
    (tmp_path / "generated" / "py.typed").touch()
    shutil.copy(HERE / "python_client.py", tmp_path / "application.py")
    found = run(tmp_path, sys.executable, "-m", "mypy", "--strict", "--python-executable", sys.executable, "application.py")
    wrong = [line for line in found.stdout.splitlines() if "error:" in line and not line.startswith(ITS_OWN)]
    assert wrong == []
    assert "checked 1 source file" in found.stdout, found.stdout + found.stderr

"""Peers that run on Node: installed from npm by name into a folder that git ignores, where node and npm are there.

``bench/baselines/<name>`` holds ``package.json``, ``package-lock.json`` (versions and checksums, no addresses) and ``server.js``.
``python -m bench.node`` makes the lock files anew.
"""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from stylobate.testing.ports import free_ports

from bench.processes import Processes, running, wait_for
from bench.servers import is_free

_BASELINES = Path(__file__).parent / "baselines"
_CACHE = Path(__file__).parent / ".node"
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_SILENT: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_INSTALL = ("npm", "ci", "--fetch-retries=1", *_QUIET)
_LOCK = ("npm", "install", "--package-lock-only", "--omit-lockfile-registry-resolved", *_QUIET)
_LEFT_OUT = frozenset({"funding", "license", "deprecated", "engines", "bin"})
"""Of an entry in a lock file: what npm does not install by; some hold addresses."""


def install(name: str) -> Path | None:
    """Return the folder of a peer that can be started, installed if need be; None where that cannot be done."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    source, folder = _BASELINES / name, _CACHE / name
    lock = source / "package-lock.json"
    kept = folder / lock.name
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(source / "package.json", folder)
        shutil.copy(lock, kept)
        if subprocess.run(_INSTALL, cwd=folder, check=False, **_SILENT).returncode:
            kept.unlink()  # tried again the next time
            return None
    shutil.copy(source / "server.js", folder)
    return folder


@contextlib.contextmanager
def peer(folder: Path, *arguments: str) -> Iterator[tuple[int, Processes]]:
    """Start what was installed with a port and these arguments; give the port."""
    port = free_ports(1)
    command = ["node", "--expose-gc", "server.js", str(port), *arguments]
    with running(command, cwd=folder, **_SILENT) as child:  # Parse has much to say about its next version
        wait_for(lambda: not is_free(port), child)
        yield port, Processes({"node": psutil.Process(child.pid)})


def lock() -> None:
    """Make the lock files anew from what each package.json asks for, a line per package."""
    for file in _BASELINES.glob("*/package.json"):
        made = file.with_name("package-lock.json")
        made.unlink(missing_ok=True)
        subprocess.run(_LOCK, cwd=file.parent, check=True)
        document = json.loads(made.read_text(encoding="utf-8"))
        packages = {
            name: {key: value for key, value in entry.items() if key not in _LEFT_OUT}
            for name, entry in document["packages"].items()
        }
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in packages.items())
        made.write_text(
            f'{{\n  "lockfileVersion": {document["lockfileVersion"]},\n  "packages": {{\n{lines}\n  }}\n}}\n', encoding="utf-8"
        )


if __name__ == "__main__":
    lock()

"""Peers that run on Node: installed from npm by name into a folder that git ignores, where node and npm are there.

``bench/baselines/<name>`` holds ``package.json``, ``package-lock.json`` (versions and checksums, no addresses) and ``server.js``.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from stylobate.testing.ports import free_ports

from bench.processes import Processes, running, wait_for
from bench.servers import is_free

_HERE = Path(__file__).parent
_CACHE = _HERE / ".node"
_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def install(name: str) -> Path | None:
    """Return the folder of a peer that can be started, installed if need be; None where that cannot be done."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    source, folder = _HERE / "baselines" / name, _CACHE / name
    lock = source / "package-lock.json"
    kept = folder / lock.name
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(source / "package.json", folder)
        shutil.copy(lock, kept)
        if subprocess.run(_INSTALL, cwd=folder, check=False).returncode:
            kept.unlink()  # tried again the next time
            return None
    shutil.copy(source / "server.js", folder)
    return folder


@contextlib.contextmanager
def peer(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[tuple[int, Processes]]:
    """Start what was installed; give its port."""
    port = free_ports(1)
    command = ["node", "--expose-gc", "server.js", str(port)]
    with running(command, cwd=folder, env=environment) as child:
        wait_for(lambda: not is_free(port), child)
        yield port, Processes({"node": psutil.Process(child.pid)})

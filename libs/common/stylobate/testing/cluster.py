"""A database cluster as a first `up` leaves it, made once in a process of tests and copied to each platform."""

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.testing import commands


def give_cluster(data: Path) -> None:
    """Make the data folder of an embedded PostgreSQL (see ``EmbeddedPostgres``) with the platform's schema; it must be absent."""
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(_template()), str(data)], check=True)  # noqa: S603, S607  with owners, which shutil leaves out


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="stylobate-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with ThreadPoolExecutor(max_workers=1) as apart:  # a loop may be running here
        apart.submit(asyncio.run, _make(folder)).result()
    return folder / "data"


async def _make(folder: Path) -> None:
    run = run_folder(folder)
    server = EmbeddedPostgres(folder / "data", run, options={"fsync": "off"})
    try:
        await server.start()
        await server.ready()
        environ = os.environ | {"STYLOBATE_DATABASE_URL": server.url}
        done = await asyncio.to_thread(commands.run, "db", "upgrade", folder=folder, environ=environ)
        if done.returncode:
            raise AssertionError(f"`db upgrade` failed: {done.stderr}")
    finally:
        await server.stop()
        shutil.rmtree(run, ignore_errors=True)

"""A database cluster as a first `up` leaves it, made once in a run of tests and copied to each platform.

It is small, as it is copied often: without the databases that nobody opens, and with a log of short segments. Its servers do not
wait for the disk (``fsync``), as tests kill servers and not machines.
"""

import asyncio
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from secrets import token_hex

from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.launcher.embedded.postgres import programs
from stylobate.launcher.embedded.unprivileged import Unprivileged
from stylobate.testing import commands
from stylobate.testing.databases import drop_unused
from stylobate.testing.shared_folder import one_at_a_time, shared_folder


def give_cluster(data: Path) -> None:
    """Make the data folder of an embedded PostgreSQL (see ``EmbeddedPostgres``) with the platform's schema; it must be absent.

    It is a link into the run's shared folder: a thousand files are made there with a fraction of the work, as they are removed.
    """
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = shared_folder() / f"cluster-{token_hex(8)}"
    subprocess.run(["cp", "-a", str(_template()), str(place)], check=True)  # noqa: S603, S607  with owners, which shutil leaves out
    data.symlink_to(place)


def drop_cluster(data: Path) -> None:
    """Remove what was given, or do nothing where nothing was; else it stays to the end of the run."""
    if data.is_symlink():
        shutil.rmtree(data.readlink(), ignore_errors=True)
        data.unlink()


@cache
def _template() -> Path:
    """Return the one of this run."""
    folder = shared_folder()
    with one_at_a_time(folder):
        if not (folder / "data").exists():
            with ThreadPoolExecutor(max_workers=1) as apart:  # a loop may be running here
                apart.submit(asyncio.run, _make(folder)).result()
    return folder / "data"


async def _make(folder: Path) -> None:
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    run = run_folder(fresh)
    server = EmbeddedPostgres(fresh, run, options={"fsync": "off"})
    try:
        await server.start()
        await server.ready()
        environ = os.environ | {"STYLOBATE_DATABASE_URL": server.url}
        done = await asyncio.to_thread(commands.run, "db", "upgrade", folder=folder, environ=environ)
        if done.returncode:
            raise AssertionError(f"`db upgrade` failed: {done.stderr}")
        await drop_unused(server.url)
    finally:
        await server.stop()
        shutil.rmtree(run, ignore_errors=True)
    _settle(fresh / "cluster")
    fresh.rename(folder / "data")


def _settle(cluster: Path) -> None:
    """Let its log go on in segments of 1 MiB, each of which is made whole when it begins, and its servers not wait."""
    unprivileged = Unprivileged()
    program = [str(programs() / "pg_resetwal"), "--wal-segsize=1", str(cluster)]
    environ = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    subprocess.run([*unprivileged.prefix, *program], check=True, capture_output=True, env=environ, user=unprivileged.user)  # noqa: S603
    with (cluster / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write("fsync = off\nmin_wal_size = 8MB\n")

"""Database clusters that are made once in a run of tests and copied: as a first `up` leaves one, and as a first start does.

They are small, as they are copied often: with a log of short segments, and that of platforms without the databases that nobody
opens. Their servers do not wait for the disk (``fsync``), as tests kill servers and not machines.
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
    place = shared_folder() / f"cluster-{token_hex(8)}"
    _copy(_template("data"), place)
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.symlink_to(place)


def drop_cluster(data: Path) -> None:
    """Remove what was given, or do nothing where nothing was; else it stays to the end of the run."""
    if data.is_symlink():
        shutil.rmtree(data.readlink(), ignore_errors=True)
        data.unlink()


def give_empty_cluster(data: Path) -> None:
    """Make the data folder of an embedded PostgreSQL as its first start would; it must be absent. A tenth of what that costs."""
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy(_template("empty"), data)


def _copy(template: Path, folder: Path) -> None:
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)  # noqa: S603, S607  with owners, which shutil leaves out


@cache
def _template(name: str) -> Path:
    """Return the one of this run: ``data``, ``empty``."""
    made = shared_folder() / name
    if name != "empty":
        _template("empty")
    with one_at_a_time(shared_folder()):
        if not made.exists():
            with ThreadPoolExecutor(max_workers=1) as apart:  # a loop may be running here
                apart.submit(asyncio.run, _make(made)).result()
    return made


async def _make(made: Path) -> None:
    fresh = made.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
    is_empty = made.name == "empty"
    if not is_empty:
        _copy(made.with_name("empty"), fresh)
    run = run_folder(fresh)
    server = EmbeddedPostgres(fresh, run, options={"fsync": "off"})
    try:
        await server.start()
        await server.ready()
        if not is_empty:
            await _fill(server.url, made.parent)
    finally:
        await server.stop()
        shutil.rmtree(run, ignore_errors=True)
    if is_empty:
        _settle(fresh / "cluster")
    fresh.rename(made)


async def _fill(url: str, folder: Path) -> None:
    """Bring up what a platform needs, and drop what it does not open."""
    environ = os.environ | {"STYLOBATE_DATABASE_URL": url}
    done = await asyncio.to_thread(commands.run, "db", "upgrade", folder=folder, environ=environ)
    if done.returncode:
        raise AssertionError(f"`db upgrade` failed: {done.stderr}")
    await drop_unused(url)


def _settle(cluster: Path) -> None:
    """Let its log go on in segments of 1 MiB, each of which is made whole when it begins, and its servers not wait."""
    unprivileged = Unprivileged()
    program = [str(programs() / "pg_resetwal"), "--wal-segsize=1", str(cluster)]
    environ = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    subprocess.run([*unprivileged.prefix, *program], check=True, capture_output=True, env=environ, user=unprivileged.user)  # noqa: S603
    with (cluster / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write("fsync = off\nmin_wal_size = 8MB\n")

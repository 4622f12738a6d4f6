"""A folder that the processes of a run of tests share, in memory where there is room: databases are made by the hundred."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder of our own in it, private
_ROOM = 4 * 1024**3
"""Bytes that must be free there; Docker gives 64 MiB unless told otherwise."""
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
_BEGINNING = f"stylobate-tests-{os.getuid()}-"


@cache
def shared_folder() -> Path:
    """Return the folder of this run, made by whoever comes first and removed by whoever goes last.

    What runs left that were killed is removed as well.
    """
    place = _place()
    with _alone(place):
        for other in place.glob(f"{_BEGINNING}*/"):
            if other.name != f"{_BEGINNING}{_RUN}":
                _remove_unused(other)
        folder = place / f"{_BEGINNING}{_RUN}"
        folder.mkdir(mode=0o711, exist_ok=True)  # servers may run as another user, and find their own in it
        using = _lock(folder / "using")
        fcntl.flock(using, fcntl.LOCK_SH)

    def leave() -> None:
        using.close()
        with _alone(place):
            _remove_unused(folder)

    atexit.register(leave)
    return folder


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep the other processes of the run from doing the same meanwhile."""
    with _lock(folder / "making") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _place() -> Path:
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return Path(tempfile.gettempdir())
    has_room = found.f_bavail * found.f_frsize >= _ROOM and os.access(_MEMORY, os.W_OK)
    return _MEMORY if has_room else Path(tempfile.gettempdir())


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    with _lock(place / f"{_BEGINNING}lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unused(folder: Path) -> None:
    """Remove the folder unless a process uses it."""
    with _lock(folder / "using") as using:
        try:
            fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)


def _lock(file: Path) -> IO[bytes]:
    return file.open("ab")

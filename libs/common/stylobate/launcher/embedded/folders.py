"""Where embedded servers keep things: a short run folder for sockets, data folders that know their version."""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from stylobate.launcher.embedded.process import EmbeddedServerError

_PLAIN = re.compile(r"[A-Za-z0-9._/+-]{1,60}")
SOCKET_PATH_LIMIT = 103
"""Bytes that a unix socket's path may have (107 on Linux, 103 on macOS)."""


def run_folder(project: Path) -> Path:
    """Return the folder for the sockets of a project, made if absent: private (0700) and with a short path.

    It stands in the system's folder for temporary files, named by user and project, so that every process of the same
    user finds the same one. Where that folder's name is long, or holds what an address cannot (letters beyond ASCII,
    spaces, colons, commas), ``/tmp`` is taken.

    :raises EmbeddedServerError: when something that is not ours stands at that path.
    """
    uid = os.getuid()
    name = hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:12]
    system = Path(tempfile.gettempdir())
    if not _PLAIN.fullmatch(str(system)):
        system = Path("/tmp")  # noqa: S108  the folder in it is private, and refused when it is somebody else's
    folder = system / f"stylobate-{uid}-{name}"
    private_folder(folder)
    return folder


def private_folder(folder: Path) -> None:
    """Make the folder if absent, readable by us alone. Raises EmbeddedServerError when it belongs to somebody else."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()  # not stat: a link would lead us into somebody else's folder
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise EmbeddedServerError(f"{folder} exists and is not a folder of this user; remove it") from None
        if stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004  the mode reads best as it is written everywhere
            folder.chmod(0o700)


def socket_path(folder: Path, name: str) -> Path:
    """Return the path of a socket. Raises EmbeddedServerError when the system could not bind it."""
    path = folder / name
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise EmbeddedServerError(f"{path} is too long for a unix socket ({SOCKET_PATH_LIMIT} bytes); use a shorter folder")
    return path

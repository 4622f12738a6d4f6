"""How a server that refuses root is run by root: in a user namespace, else as ``nobody``."""

import os
import shutil
import subprocess
from pathlib import Path

NOBODY = 65534


class Unprivileged:
    """The way of this machine: a command prefix (user namespace), a uid (nobody), or neither when we are not root."""

    def __init__(self) -> None:
        self.prefix: list[str] = []
        self.user: int | None = None
        if os.geteuid() != 0:
            return
        namespace = _namespace()
        if namespace is not None:
            self.prefix = namespace
        else:
            self.user = NOBODY

    def folder(self, folder: Path) -> Path:
        """Return the folder that the server can use in place of ours, which is closed to it when it runs as another user."""
        return folder if self.user is None else folder.with_name(f"{folder.name}-{self.user}")

    def give(self, folder: Path) -> None:
        """Make the folder the server's own where it runs as another user; everything in it too."""
        if self.user is None:
            return
        for place, folders, files in os.walk(folder):
            os.chown(place, self.user, self.user)
            for name in (*folders, *files):
                os.chown(Path(place) / name, self.user, self.user, follow_symlinks=False)


def _namespace() -> list[str] | None:
    """Return the prefix that maps root to nobody in a namespace of its own; None where that is not allowed."""
    tool = shutil.which("unshare")
    if tool is None:
        return None
    prefix = [tool, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    tried = subprocess.run([*prefix, "true"], check=False, capture_output=True, timeout=5)  # noqa: S603  a fixed command
    return prefix if tried.returncode == 0 else None

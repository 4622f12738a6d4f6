"""Listening sockets: bound here, and inherited by the processes that accept on them."""

import errno
import os
import socket
import stat
import struct
from pathlib import Path

BACKLOG = 2048
"""Connections that wait to be accepted."""
_TCP_INFO = struct.Struct("=24xII")
"""Of Linux's ``tcp_info``: ``tcpi_unacked`` and ``tcpi_sacked``, which for a listening socket are these numbers."""


class ListenError(Exception):
    """An address that cannot be listened on; the text is one line for a person."""


class PortInUseError(ListenError):
    """Somebody else listens there already."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another program")
        self.address = address


def bind(address: str) -> socket.socket:
    """Return a socket that listens on ``host:port`` or ``unix:/path``. Raises PortInUseError, ListenError.

    A unix socket that a killed process left behind is replaced; one that answers is in use.
    """
    try:
        return _bind(address)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUseError(address) from error
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ListenError(f"cannot listen on {address}: {why}") from error


def adopt(descriptor: int) -> socket.socket:
    """Return a listening socket that was inherited under the number; closing it does not end the launcher's own."""
    return socket.socket(fileno=os.dup(descriptor))


def waiting(listening: socket.socket) -> tuple[int, int] | None:
    """Return how many connections wait to be accepted, and how many may; None where the system does not say.

    While there are as many as may, the system drops what comes, and who connects tries again after a second or more.
    """
    try:
        found = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        now, most = _TCP_INFO.unpack(found)
    except (AttributeError, OSError, struct.error):  # neither Linux nor TCP
        return None
    return now, most


def _bind(address: str) -> socket.socket:
    if address.startswith("unix:"):
        return _bind_unix(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen(BACKLOG)  # at once: two programs may bind one address, and only the second to listen is refused
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise PortInUseError(f"unix:{path}")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound

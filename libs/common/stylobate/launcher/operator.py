"""Calls of the operator's commands to a running platform, in the name of the command's own service key."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio

from stylobate.app import HostSettings
from stylobate.config import Sources
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.launcher.output import CommandError
from stylobate.launcher.project import Project
from stylobate.rpc import CallerChannel, open_channel
from stylobate.rpc.caller import ServiceTokenRefusedError
from stylobate.rpc.outages import cause_of
from stylobate.service_rights import OPERATOR

R = TypeVar("R")
_OF_TLS = ("handshake", "Socket closed", "certificate", "SSL")
"""What gRPC says where TLS is the matter: also of a server that hangs up for want of it."""
_REFUSED = "Failed to connect"
_ANSWER_S = 2.0
_FOLDER = "STYLOBATE_IDENTITY_FOLDER"


class RunningService:
    """A service of the running platform; ``STYLOBATE_<SERVICE>_ADDRESS`` says of one elsewhere where.

    :param address: the same, and counts before it; empty: not said.
    :param is_here: whether the one of this folder is meant, whatever is said.
    :raises CommandError: nothing runs.
    """

    def __init__(self, name: str, address: str = "", *, is_here: bool = False) -> None:
        self._name = name
        self._setting = f"STYLOBATE_{name.upper()}_ADDRESS"
        if not is_here and (address := address or os.environ.get(self._setting, "")):
            self._target, self._settings = address, HostSettings.load(Sources.of_process())
            self.gateway = ""
            return
        project = Project(Path.cwd())
        running = project.demand(f"set {self._setting} for a platform elsewhere")
        self.gateway = running.endpoints["gateway"]
        """The address of the platform's gateway; empty: not known."""
        self._target = running.endpoints.get(f"grpc {name}") or running.endpoints["grpc"]
        folder = os.environ.get(_FOLDER) or str(project.identity)  # another one where Vault keeps the keys of this platform
        self._settings = HostSettings.load(Sources({_FOLDER: folder}, ()))

    def ask(self, ask: Callable[[grpc.aio.Channel], Awaitable[R]]) -> R:
        """Return what it answers.

        :raises CommandError: it cannot be reached, with the setting that is to blame. :raises StylobateError: what it says.
        """
        return asyncio.run(self.asked(ask))

    async def asked(self, ask: Callable[[grpc.aio.Channel], Awaitable[R]]) -> R:
        """Do as :meth:`ask`, in a loop that runs."""
        folder = Path(self._settings.identity_folder)
        identity = ServiceIdentity.load(OPERATOR, folder / f"{OPERATOR}.pem", folder)
        async with open_channel(self._target, tls=self._settings.tls_of_calls()) as channel:
            try:
                return await ask(CallerChannel(channel, identity.to(self._name)))
            except StylobateError as error:
                if said := await self._astray(error):
                    raise CommandError(said) from error
                raise

    async def _astray(self, error: StylobateError) -> str:
        """Return what is wrong with the way there, and which setting leads there; empty for what the service itself says."""
        cause, name, target = cause_of(error), self._name, self._target
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return f"{self._setting}: what answers at {target} is not {name}"
        if error.reason == ServiceTokenRefusedError.reason:
            return f"{_FOLDER}: {name} does not know the key of `cli` there ({cause})"
        if error.reason != UnavailableError.reason or not cause:
            return ""
        said = cause.rpartition("last error: ")[2]
        if any(word in said for word in _OF_TLS):
            return f"STYLOBATE_TLS_AUTHORITY or STYLOBATE_TLS_CERTIFICATE: no TLS with {name} at {target} ({said})"
        if _REFUSED in said and await _is_listened_on(target):  # at another address of the name than gRPC tried last
            return f"STYLOBATE_TLS_AUTHORITY or STYLOBATE_TLS_CERTIFICATE: no TLS with {name} at {target}"
        return f"{self._setting}: {name} does not answer at {target} ({said})"


async def _is_listened_on(target: str) -> bool:
    """Return whether somebody takes a connection at any address of a target such as ``dns:///localhost:9090``."""
    host, _, port = target.rpartition("/")[2].rpartition(":")
    try:
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError):  # TimeoutError is an OSError
        return False
    writer.close()
    return True

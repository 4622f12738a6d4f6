"""`stylobate users`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import grpc
import typer

from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest, User
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.app import HostSettings
from stylobate.config import Sources
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity import OPERATOR, ServiceIdentity
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import Project
from stylobate.rpc import CallerChannel, open_channel
from stylobate.rpc.caller import ServiceTokenRefusedError
from stylobate.rpc.outages import cause_of

_OF_TLS = ("handshake", "Socket closed", "certificate", "SSL")
"""What gRPC says where TLS is the matter: also of a server that hangs up for want of it."""
_REFUSED = "Failed to connect"
_ANSWER_S = 2.0


users = typer.Typer()


@users.command()
def create(
    email: str,
    admin: Annotated[bool, typer.Option("--admin", help="Give the role `admin`.")] = False,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role beside `user`; may be repeated.")] = None,
    name: Annotated[str, typer.Option("--name", help="What others may see.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
) -> None:
    """Create an account on the running platform, whatever the registration setting says."""
    target, settings = _auth()
    password = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else typer.prompt("password", hide_input=True, confirmation_prompt=True)
    )
    held = [*(role or ()), *(["admin"] if admin else [])]
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    user = asyncio.run(_create(request, target, settings))
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")


def _auth() -> tuple[str, HostSettings]:
    """Return where auth answers and the settings to reach it with."""
    if address := os.environ.get("STYLOBATE_AUTH_ADDRESS"):
        return address, HostSettings.load(Sources.of_process())
    project = Project(Path.cwd())
    running = project.demand("set STYLOBATE_AUTH_ADDRESS for a platform elsewhere")
    local = Sources({"STYLOBATE_IDENTITY_FOLDER": str(project.identity)}, ())
    return running.endpoints.get("grpc auth") or running.endpoints["grpc"], HostSettings.load(local)


async def _create(request: CreateUserRequest, target: str, settings: HostSettings) -> User:
    """Call auth with the command's own service key."""
    folder = Path(settings.identity_folder)
    identity = ServiceIdentity.load(OPERATOR, folder / f"{OPERATOR}.pem", folder)
    async with open_channel(target, tls=settings.tls()) as channel:
        try:
            response = await AuthServiceStub(CallerChannel(channel, identity.to("auth"))).CreateUser(request)
        except StylobateError as error:
            if said := await _astray(error, target):
                raise CommandError(said) from error
            raise
    return response.user


async def _astray(error: StylobateError, target: str) -> str:
    """Return what is wrong with the way to auth, and which setting leads there; empty for what auth itself says."""
    cause = cause_of(error)
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        return f"STYLOBATE_AUTH_ADDRESS: what answers at {target} is not auth"
    if error.reason == ServiceTokenRefusedError.reason:
        return f"STYLOBATE_IDENTITY_FOLDER: auth does not know the key of `cli` there ({cause})"
    if error.reason != UnavailableError.reason or not cause:
        return ""
    said = cause.rpartition("last error: ")[2]
    if any(word in said for word in _OF_TLS):
        return f"STYLOBATE_TLS_AUTHORITY or STYLOBATE_TLS_CERTIFICATE: no TLS with auth at {target} ({said})"
    if _REFUSED in said and await _is_listened_on(target):  # at another address of the name than gRPC tried last
        return f"STYLOBATE_TLS_AUTHORITY or STYLOBATE_TLS_CERTIFICATE: no TLS with auth at {target}"
    return f"STYLOBATE_AUTH_ADDRESS: auth does not answer at {target} ({said})"


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

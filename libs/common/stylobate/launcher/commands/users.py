"""`stylobate users`."""

import asyncio
import os
import sys
from pathlib import Path

import typer

from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest, User
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.app import HostSettings
from stylobate.config import Sources
from stylobate.identity import ServiceIdentity
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.project import Project
from stylobate.rpc import CallerChannel, Outgoing, open_channel


def create(email: str, *, admin: bool, roles: list[str], name: str, password_stdin: bool) -> None:
    """Create the account through this project's platform, or the one at STYLOBATE_AUTH_ADDRESS, and print its id."""
    target, settings = _auth()
    password = sys.stdin.readline().rstrip("\n") if password_stdin else _asked()
    held = [*roles, "admin"] if admin else roles
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    user = asyncio.run(_create(request, target, settings))
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")


def _asked() -> str:
    password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return password


def _auth() -> tuple[str, HostSettings]:
    """Return where auth answers and the settings to reach it with."""
    if address := os.environ.get("STYLOBATE_AUTH_ADDRESS"):
        return address, HostSettings.load(Sources.of_process())
    project = Project(Path.cwd())
    running = project.running()
    if running is None or not running.supervisor.is_running:
        raise CommandError("nothing is running here; `stylobate up` first, or STYLOBATE_AUTH_ADDRESS for a platform elsewhere")
    local = Sources({"STYLOBATE_IDENTITY_FOLDER": str(project.identity)}, ())
    return running.endpoints.get("grpc auth") or running.endpoints["grpc"], HostSettings.load(local)


async def _create(request: CreateUserRequest, target: str, settings: HostSettings) -> User:
    """Call auth with the command's own service key."""
    folder = Path(settings.identity_folder)
    identity = ServiceIdentity.load("cli", folder / "cli.pem", folder)
    async with open_channel(target, tls=settings.tls()) as channel:
        response = await AuthServiceStub(CallerChannel(channel, Outgoing(identity.to("auth")))).CreateUser(request)
    return response.user

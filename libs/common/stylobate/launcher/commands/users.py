"""`stylobate users`."""

import asyncio
import sys
from pathlib import Path

import typer

from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest, User
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.identity import ServiceIdentity
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.project import Project
from stylobate.rpc import CallerChannel, Outgoing, open_channel


def create(email: str, *, admin: bool, roles: list[str], name: str, password_stdin: bool) -> None:
    """Create the account through the running platform and print its id."""
    running = Project(Path.cwd()).running()
    if running is None or not running.supervisor.is_running:
        raise CommandError("nothing is running here; `stylobate up` first")
    password = sys.stdin.readline().rstrip("\n") if password_stdin else _asked()
    held = [*roles, "admin"] if admin else roles
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    target = running.endpoints.get("grpc auth") or running.endpoints["grpc"]
    user = asyncio.run(_create(request, target))
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")


def _asked() -> str:
    password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return password


async def _create(request: CreateUserRequest, target: str) -> User:
    """Call auth with the command's own service key, which `up` made."""
    folder = Project(Path.cwd()).identity
    identity = ServiceIdentity.load("cli", folder / "cli.pem", folder)
    async with open_channel(target) as channel:
        response = await AuthServiceStub(CallerChannel(channel, Outgoing(identity.to("auth")))).CreateUser(request)
    return response.user

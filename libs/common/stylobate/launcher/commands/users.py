"""`stylobate users`."""

import sys
from typing import Annotated

import typer

from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console

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
    auth = RunningService("auth")
    password = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else typer.prompt("password", hide_input=True, confirmation_prompt=True)
    )
    held = [*(role or ()), *(["admin"] if admin else [])]
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    user = auth.ask(lambda channel: AuthServiceStub(channel).CreateUser(request)).user
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")

"""`stylobate users`."""

import sys
from typing import Annotated

import typer

from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.launcher.commands.user_roles import user_roles
from stylobate.launcher.operator import ADDRESS, RunningService
from stylobate.launcher.output import console

users = typer.Typer()
users.add_typer(user_roles, name="roles", help="Which roles an account holds.", no_args_is_help=True)


@users.command()
def create(  # noqa: PLR0917  each an option of the command
    email: str,
    admin: Annotated[bool, typer.Option("--admin", help="Give the role `admin`.")] = False,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role beside `user`; may be repeated.")] = None,
    name: Annotated[str, typer.Option("--name", help="What others may see.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Create an account on the running platform, whatever the registration setting says."""
    auth = RunningService("auth", address)
    password = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else typer.prompt("password", hide_input=True, confirmation_prompt=True)
    )
    held = [*(role or ()), *(["admin"] if admin else [])]
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    user = auth.ask(lambda channel: AuthServiceStub(channel).CreateUser(request)).user
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")

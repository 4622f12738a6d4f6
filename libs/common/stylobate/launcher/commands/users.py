"""`stylobate users`: accounts of people."""

import sys
from pathlib import Path
from typing import Annotated

import grpc.aio
import typer

from stylobate.api.auth.v1 import user_service_pb2 as pb
from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.auth.v1.session_service_pb2 import Session
from stylobate.api.auth.v1.user_password_service_pb2 import SetUserPasswordRequest
from stylobate.api.auth.v1.user_password_service_pb2_grpc import UserPasswordServiceStub
from stylobate.api.auth.v1.user_profile_service_pb2 import SetUserEmailRequest, SetUserNameRequest
from stylobate.api.auth.v1.user_profile_service_pb2_grpc import UserProfileServiceStub
from stylobate.api.auth.v1.user_service_pb2_grpc import UserServiceStub
from stylobate.launcher.commands.options import ADDRESS
from stylobate.launcher.commands.user_export import write_export
from stylobate.launcher.commands.user_roles import user_roles
from stylobate.launcher.first_admin import invite, told
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console, print_line
from stylobate.launcher.times import moment, shown

users = typer.Typer()
users.add_typer(user_roles, name="roles", help="Which roles an account holds.", no_args_is_help=True)

_PASSWORD_STDIN = typer.Option("--password-stdin", help="Read the password from standard input.")
_ID = typer.Argument(help="The account's id, as `users list` tells it.")


@users.command()
def create(  # noqa: PLR0917  each an option of the command
    email: str,
    admin: Annotated[bool, typer.Option("--admin", help="Give the role `admin`.")] = False,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role beside `user`; may be repeated.")] = None,
    name: Annotated[str, typer.Option("--name", help="What others may see.")] = "",
    password_stdin: Annotated[bool, _PASSWORD_STDIN] = False,
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Create an account on the running platform, whatever the registration setting says."""
    auth = RunningService("auth", address)
    password = _password(from_stdin=password_stdin)
    held = [*(role or ()), *(["admin"] if admin else [])]
    request = CreateUserRequest(email=email, password=password, display_name=name, roles=held)
    user = auth.ask(lambda channel: AuthServiceStub(channel).CreateUser(request)).user
    console().print(f"created {user.email} ({user.id}) with the roles {', '.join(user.roles)}")


@users.command("invite-admin")
def invite_admin(address: Annotated[str, ADDRESS] = "") -> None:
    """Make a link by which the first administrator makes its account: once, within an hour, and while there is none."""
    auth = RunningService("auth", address)
    print_line(told(auth.ask(invite), auth.gateway))


@users.command("list")
def list_users(
    email: Annotated[str, typer.Option(help="Only the one with this address.")] = "",
    role: Annotated[str, typer.Option(help="Only those that hold this role.")] = "",
    created_after: Annotated[str, typer.Option(help="Only those made at this time (RFC 3339), `7d` ago, or later.")] = "",
    created_before: Annotated[str, typer.Option(help="Only those made before this time.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """List people's accounts, in the order in which they were made."""
    request = pb.ListUsersRequest(email=email, role=role, page_size=500)
    for option, text in (("created_after", created_after), ("created_before", created_before)):
        if text:
            getattr(request, option).FromDatetime(moment(f"--{option.replace('_', '-')}", text))

    async def ask(channel: grpc.aio.Channel) -> list[pb.UserAccount]:
        stub, found = UserServiceStub(channel), list[pb.UserAccount]()
        while True:
            page = await stub.ListUsers(request)
            found += page.users
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    found = RunningService("auth", address).ask(ask)
    for user in found:
        print_line("  ".join((user.id, user.email, ", ".join(user.roles), _status(user))))
    if not found:
        console().print("no accounts")


@users.command()
def show(id: Annotated[str, _ID], address: Annotated[str, ADDRESS] = "") -> None:  # noqa: A002  as it is called everywhere
    """Show an account."""
    user = RunningService("auth", address).ask(lambda channel: UserServiceStub(channel).GetUser(pb.GetUserRequest(id=id))).user
    if user.HasField("deletion_began_at"):
        print_line(f"{user.id}  {_status(user)}")
        return
    rows = {
        "id": user.id,
        "email": f"{user.email} ({'proven' if user.email_verified else 'not proven'})",
        "name": user.display_name or "none",
        "roles": ", ".join(user.roles) or "none",
        "created": shown(user.created_at),
        "status": _status(user),
    }
    for name, value in rows.items():
        print_line(f"{name:<8} {value}")


@users.command("set-password")
def set_password(
    id: Annotated[str, _ID],  # noqa: A002
    password_stdin: Annotated[bool, _PASSWORD_STDIN] = False,
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Give an account another password, where no mail can be sent for one; every session of it ends within a second."""
    auth = RunningService("auth", address)
    request = SetUserPasswordRequest(id=id, new_password=_password(from_stdin=password_stdin))
    auth.ask(lambda channel: UserPasswordServiceStub(channel).SetUserPassword(request))
    console().print("the password is set, and every session of the account has ended")


@users.command("set-email")
def set_email(
    id: Annotated[str, _ID],  # noqa: A002
    email: Annotated[str, typer.Argument(help="The address; the one that the account has: it counts as proven now.")],
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Give an account another address, at once, and by your word proven; whoever reads the one before is told by mail."""
    request = SetUserEmailRequest(id=id, email=email)
    user = RunningService("auth", address).ask(lambda channel: UserProfileServiceStub(channel).SetUserEmail(request)).user
    console().print(f"the account has the address {user.email}, proven")


@users.command()
def rename(
    id: Annotated[str, _ID],  # noqa: A002
    name: Annotated[str, typer.Argument(help="What others may see; empty: nothing.")],
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Give an account another name."""
    request = SetUserNameRequest(id=id, display_name=name)
    user = RunningService("auth", address).ask(lambda channel: UserProfileServiceStub(channel).SetUserName(request)).user
    console().print(f"the account is called {user.display_name}" if user.display_name else "the account has no name")


@users.command()
def disable(id: Annotated[str, _ID], address: Annotated[str, ADDRESS] = "") -> None:  # noqa: A002
    """Let nobody in to an account any more: its sessions end and its API keys are revoked within a second."""
    RunningService("auth", address).ask(lambda channel: UserServiceStub(channel).DisableUser(pb.DisableUserRequest(id=id)))
    console().print("disabled")


@users.command()
def enable(id: Annotated[str, _ID], address: Annotated[str, ADDRESS] = "") -> None:  # noqa: A002
    """Let an account's owner in again. What was ended stays ended."""
    RunningService("auth", address).ask(lambda channel: UserServiceStub(channel).EnableUser(pb.EnableUserRequest(id=id)))
    console().print("enabled")


@users.command()
def delete(
    id: Annotated[str, _ID],  # noqa: A002
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Delete an account with all that is its own, in every service and module; `users show` tells when that is done."""
    if not yes:
        typer.confirm(f"delete {id} for good?", abort=True)
    request = pb.DeleteUserRequest(id=id)
    RunningService("auth", address).ask(lambda channel: UserServiceStub(channel).DeleteUser(request))
    console().print("deletion has begun")


@users.command()
def export(
    id: Annotated[str, _ID],  # noqa: A002
    to: Annotated[str, typer.Option(help="The file; without it `user-<id>.json` here. One that is there is left alone.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Write all that is kept of an account into a file, from every service and module; ends with 1 where a part is missing."""
    file = Path(to or f"user-{id}.json")
    if file.exists():
        raise CommandError(f"{file} is there already")
    RunningService("auth", address).ask(lambda channel: write_export(channel, id, file))


@users.command()
def sessions(id: Annotated[str, _ID], address: Annotated[str, ADDRESS] = "") -> None:  # noqa: A002
    """List the sessions of an account that live, the newest first."""
    request = pb.ListUserSessionsRequest(id=id, page_size=500)

    async def ask(channel: grpc.aio.Channel) -> list[Session]:
        stub, found = UserServiceStub(channel), list[Session]()
        while True:
            page = await stub.ListUserSessions(request)
            found += page.sessions
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    found = RunningService("auth", address).ask(ask)
    for session in found:
        print_line("  ".join(filter(None, (session.id, f"seen {shown(session.seen_at)}", session.address, session.device))))
    if not found:
        console().print("no sessions")


@users.command("sign-out")
def sign_out(id: Annotated[str, _ID], address: Annotated[str, ADDRESS] = "") -> None:  # noqa: A002
    """End every session of an account, everywhere within a second."""
    request = pb.RevokeUserSessionsRequest(id=id)
    RunningService("auth", address).ask(lambda channel: UserServiceStub(channel).RevokeUserSessions(request))
    console().print("signed out")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))


def _status(user: pb.UserAccount) -> str:
    return pb.UserStatus.Name(user.status).removeprefix("USER_STATUS_").lower()

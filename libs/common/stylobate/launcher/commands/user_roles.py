"""`stylobate users roles`: which roles an account holds."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stylobate.api.auth.v1 import role_service_pb2 as pb
from stylobate.api.auth.v1.role_service_pb2_grpc import RoleServiceStub
from stylobate.launcher.commands.options import ADDRESS
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console, print_line
from stylobate.launcher.times import lasting, shown

user_roles = typer.Typer()

_USER = typer.Argument(help="The id of the account.")
_ROLE = typer.Argument(help="The role's name.")


@user_roles.command()
def add(
    user: Annotated[str, _USER],
    role: Annotated[str, _ROLE],
    lasts: Annotated[str, typer.Option("--for", help="How long it is held: `30m`, `8h`, `90d`. Without it for good.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Give an account a role, or another end to one that it holds: in force everywhere within a second."""
    request = pb.AssignRoleRequest(user_id=user, role=role)
    if lasts:
        request.expires_at.FromDatetime(datetime.now(UTC) + lasting("--for", lasts))
    held = RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).AssignRole(request)).role
    print_line(_line(held))


@user_roles.command()
def remove(user: Annotated[str, _USER], role: Annotated[str, _ROLE], address: Annotated[str, ADDRESS] = "") -> None:
    """Take a role from an account, also for tokens that it has."""
    request = pb.RemoveRoleRequest(user_id=user, role=role)
    RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).RemoveRole(request))
    console().print("removed")


@user_roles.command("list")
def list_roles(user: Annotated[str, _USER], address: Annotated[str, ADDRESS] = "") -> None:
    """List the roles of an account."""
    request = pb.ListUserRolesRequest(user_id=user)
    for held in RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).ListUserRoles(request)).roles:
        print_line(_line(held))


def _line(held: pb.HeldRole) -> str:
    end = f"until {shown(held.expires_at)}" if held.HasField("expires_at") else "without end"
    given = f"given {shown(held.assigned_at)} by {held.assigned_by}" if held.HasField("assigned_at") else "with the account"
    return f"{held.role}  {end}  {given}"

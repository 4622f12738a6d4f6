"""`stylobate roles`: which roles there are, and what they permit."""

from typing import Annotated

import typer

from stylobate.api.auth.v1 import role_service_pb2 as pb
from stylobate.api.auth.v1.role_service_pb2_grpc import RoleServiceStub
from stylobate.launcher.commands.options import ADDRESS
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console, print_line

roles = typer.Typer()

_NAME = typer.Argument(help="The role's name.")


@roles.command("list")
def list_roles(address: Annotated[str, ADDRESS] = "") -> None:
    """List all roles: those of modules, and those in the database."""
    request = pb.ListRolesRequest()
    for role in RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).ListRoles(request)).roles:
        print_line(_line(role))


@roles.command()
def show(name: Annotated[str, _NAME], address: Annotated[str, ADDRESS] = "") -> None:
    """Show a role, with all that it permits."""
    request = pb.GetRoleRequest(name=name)
    role = RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).GetRole(request)).role
    print_line(_line(role))
    for permission in role.effective_permissions:
        print_line(f"  {permission}{'' if permission in role.permissions else '  (inherited)'}")


@roles.command()
def put(
    name: Annotated[str, _NAME],
    permission: Annotated[
        list[str] | None, typer.Option("--permission", help="What it permits: `orders:read`, `orders:*`; may be repeated.")
    ] = None,
    inherits: Annotated[
        list[str] | None, typer.Option("--inherits", help="A role whose permissions it has as well; may be repeated.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Make a role in the database, or replace it: in force everywhere within a second."""
    request = pb.PutRoleRequest(name=name, description=description, permissions=permission or (), inherits=inherits or ())
    print_line(_line(RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).PutRole(request)).role))


@roles.command()
def delete(name: Annotated[str, _NAME], address: Annotated[str, ADDRESS] = "") -> None:
    """Delete a role from the database, and take it from all who hold it."""
    request = pb.DeleteRoleRequest(name=name)
    RunningService("auth", address).ask(lambda channel: RoleServiceStub(channel).DeleteRole(request))
    console().print("deleted")


def _line(role: pb.Role) -> str:
    whose = f"of {', '.join(role.declared_by)}" if role.declared_by else "in the database"
    more = [f"inherits {', '.join(role.inherits)}"] if role.inherits else []
    return "  ".join((role.name, whose, *more, ", ".join(role.permissions) or "no permissions of its own"))

"""`stylobate access`: decisions, explained, and permissions on single resources."""

import shlex
from typing import Annotated

import typer

from stylobate.api.auth.v1.access_service_pb2 import AccessReason, ExplainAccessRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.launcher.commands.grants import grant, list_grants, revoke
from stylobate.launcher.commands.options import ADDRESS
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import print_line

access = typer.Typer()
access.command()(grant)
access.command()(revoke)
access.command("grants")(list_grants)


@access.command()
def explain(
    subject: Annotated[str, typer.Argument(help="The id of an account.")],
    permission: Annotated[str, typer.Argument(help="A permission, such as `orders:create`.")],
    resource: Annotated[str, typer.Argument(help="To what, such as `state/orders/42`; without it to anything.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Say whether an account may do something and why; exit with 1 when it may not."""
    request = ExplainAccessRequest(subject=subject, permission=permission, resource=resource)
    found = RunningService("auth", address).ask(lambda channel: AccessServiceStub(channel).ExplainAccess(request))
    for reason in found.reasons:
        print_line(_line(reason))
    if not found.allowed:
        print_line(f"no: none of the account's roles permits {permission}{', and no grant' if resource else ''}")
        if found.would_permit:
            print_line(f"these roles would: {', '.join(found.would_permit)}")
            print_line(f"  stylobate users roles add {subject} {found.would_permit[0]}")
        if resource:
            print_line(f"  stylobate access grant {subject} {permission} {shlex.quote(resource)}")
        raise typer.Exit(1)


def _line(reason: AccessReason) -> str:
    if reason.resource and not reason.role:
        return f"yes: by a grant: {reason.permission} on {reason.resource}"
    through = f", which inherits it from {' from '.join(reason.through)}" if reason.through else ""
    if reason.resource:
        through = f", through {' through '.join(reason.through)}" if reason.through else ""
        return f"yes: by a grant to the role {reason.role}{through}: {reason.permission} on {reason.resource}"
    return f"yes: by the role {reason.role}{through}: {reason.permission} ({reason.source})"

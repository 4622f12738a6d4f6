"""`stylobate access grant`, `revoke` and `grants`: permissions on single resources."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stylobate.api.auth.v1 import grant_service_pb2 as pb
from stylobate.api.auth.v1.grant_service_pb2_grpc import GrantServiceStub
from stylobate.launcher.commands.options import ADDRESS
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console, print_line
from stylobate.launcher.times import lasting, shown
from stylobate.paging import MAX_SIZE

_SUBJECT = typer.Argument(help="The id of an account, or `role:` and the name of a role.")
_PERMISSION = typer.Argument(help="A permission, such as `orders:read`.")
_RESOURCE = typer.Argument(help="`state/orders/42`; `state/orders/` for all objects of the namespace.")


def grant(
    subject: Annotated[str, _SUBJECT],
    permission: Annotated[str, _PERMISSION],
    resource: Annotated[str, _RESOURCE],
    lasts: Annotated[str, typer.Option("--for", help="How long it is held: `30m`, `8h`, `90d`. Without it for good.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Give a permission on a resource, or another end to one given: in force everywhere within a second."""
    request = pb.PutGrantRequest(subject=subject, permission=permission, resource=resource)
    if lasts:
        request.expires_at.FromDatetime(datetime.now(UTC) + lasting("--for", lasts))
    print_line(_line(RunningService("auth", address).ask(lambda channel: GrantServiceStub(channel).PutGrant(request)).grant))


def revoke(
    subject: Annotated[str, _SUBJECT],
    permission: Annotated[str, _PERMISSION],
    resource: Annotated[str, _RESOURCE],
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Take a permission on a resource away, also for tokens issued before."""
    request = pb.DeleteGrantRequest(subject=subject, permission=permission, resource=resource)
    RunningService("auth", address).ask(lambda channel: GrantServiceStub(channel).DeleteGrant(request))
    console().print("removed")


def list_grants(
    subject: Annotated[str, typer.Option(help="Only those of this account, or `role:` and a name.")] = "",
    permission: Annotated[str, typer.Option(help="Only those of this permission.")] = "",
    resource: Annotated[str, typer.Option(help="Only those on this; with `/` at its end also what lies in it.")] = "",
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """List grants."""
    service = RunningService("auth", address)
    request = pb.ListGrantsRequest(
        subject=subject, everyone=not subject, permission=permission, resource=resource, page_size=MAX_SIZE
    )
    while True:
        found = service.ask(lambda channel: GrantServiceStub(channel).ListGrants(request))
        for one in found.grants:
            print_line(_line(one))
        if not found.next_page_token:
            return
        request.page_token = found.next_page_token


def _line(one: pb.Grant) -> str:
    end = f"until {shown(one.expires_at)}" if one.HasField("expires_at") else "without end"
    return f"{one.subject}  {one.permission}  {one.resource}  {end}  given {shown(one.granted_at)} by {one.granted_by}"
